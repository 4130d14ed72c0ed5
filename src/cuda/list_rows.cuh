// Lists: a CTA looks at up to 32 entries and shares out the live ones, or each row of its warps looks at entries of its
// own. entry: a CTA looks at one, once.
#pragma once

#include "cuda/convention_work.cuh"

namespace moe_act::cuda {

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors, Reach reach>
struct ListRows : ConventionWork<input, output, schedule, columns, vectors, reach> {
  using Base = ConventionWork<input, output, schedule, columns, vectors, reach>;
  using Base::counts_far;
  using Base::metadata_is_read;
  using Base::run;
  using Base::wide;
  using typename Base::List;
  using typename Base::Number;
  using typename Base::Work;
  static constexpr bool own_entries = has_own_entries({input, output, schedule, columns, vectors, reach});

  struct ListedRow {
    Number entry, row;  // row negative: none
  };

  // CTAs that start side by side look at entries gridDim.z CTAs' worth apart: live ones come in runs, the first rows of
  // every tile, and would fall to a few of the multiprocessors, 3.90 instead of 3.62 us (H100, 2026-11-26,
  // rows/row_to_expert/e4m3/256).
  static __device__ __forceinline__ Number cta_of_entries() {
    return static_cast<Number>(blockIdx.x) * static_cast<Number>(gridDim.z) + static_cast<Number>(blockIdx.z);
  }

  // Of each row of warps its own entry.
  static __device__ __forceinline__ ListedRow own_entry(const KernelArguments& arguments, Number& in_use) {
    const Number entry = cta_of_entries() * static_cast<Number>(blockDim.z) + static_cast<Number>(threadIdx.z);
    // Both are asked for before either is used.
    const Number value = entry < List::units_of(arguments) ? List::value_of(arguments, entry) : 0;
    in_use = List::read_in_use(arguments);
    metadata_is_read(arguments);
    if constexpr (counts_far)  // which may divide and look once more
      return {entry, List::is_in_use(arguments, entry, in_use) ? List::row_named(arguments, entry, value) : -1};
    const Number named = List::row_named(arguments, entry, value);  // without a jump around it
    return {entry, List::is_in_use(arguments, entry, in_use) ? named : -1};
  }

  // The live rows among a CTA's entries, shared out to its rows of warps, then among those behind the grid's.
  struct SharedEntries {
    Number base, in_use, mine;  // mine: the row of the entry that this lane looks at
    unsigned live;              // lanes whose entries are
    int rank;                   // of the next row among them

    __device__ __forceinline__ ListedRow first(const KernelArguments& arguments) {
      base = static_cast<Number>(blockIdx.x) * arguments.entries_per_cta;
      const Number value = looks(arguments) ? List::value_of(arguments, own()) : 0;
      in_use = List::read_in_use(arguments);
      metadata_is_read(arguments);
      look(arguments, value);
      return next(arguments);
    }
    __device__ __forceinline__ ListedRow next(const KernelArguments& arguments) {
      for (const Number step = static_cast<Number>(gridDim.x) * arguments.entries_per_cta;;) {
        // The lane whose entry is live with `rank` live ones before it.
        const bool wanted = mine >= 0 && __popc(live & ((1u << threadIdx.x) - 1u)) == rank;
        const unsigned found = __ballot_sync(all_lanes, wanted);
        if (found != 0) {
          rank += static_cast<int>(blockDim.z);
          const int lane = __ffs(static_cast<int>(found)) - 1;
          return {base + lane, __shfl_sync(all_lanes, mine, lane)};
        }
        base += step;
        if (!List::is_in_use(arguments, base, in_use)) return {0, -1};
        look(arguments, looks(arguments) ? List::value_of(arguments, own()) : 0);
      }
    }

   private:
    __device__ __forceinline__ Number own() const { return base + static_cast<Number>(threadIdx.x); }
    __device__ __forceinline__ bool looks(const KernelArguments& arguments) const {
      return static_cast<std::int32_t>(threadIdx.x) < arguments.entries_per_cta && own() < List::units_of(arguments);
    }
    __device__ __forceinline__ void look(const KernelArguments& arguments, Number value) {
      const bool in = looks(arguments) && List::is_in_use(arguments, own(), in_use);
      mine = in ? List::row_named(arguments, own(), value) : -1;
      live = __ballot_sync(all_lanes, mine >= 0);
      rank = static_cast<int>(threadIdx.z);
    }
  };

  static __device__ __forceinline__ void run_list(const KernelArguments& arguments, std::int32_t total) {
    const auto run_listed = [&](const ListedRow& listed) {
      const std::int64_t row = wide(listed.row);
      run(arguments, Work::row_at(arguments, 0, row, row), listed.entry, 0, row, total);
    };
    const bool looks_once = arguments.entries_per_cta == 0;
    Number in_use;
    // Straight code where entries are looked at once: 2.8 instead of 3.0 us (H100, 2026-11-26,
    // out_scale/row_major-32/256).
    if constexpr (own_entries) {
      ListedRow listed = own_entry(arguments, in_use);
      if (looks_once) {
        if (listed.row >= 0) run_listed(listed);
        return;
      }
      for (const Number step = static_cast<Number>(gridDim.x) * blockDim.z;; listed.entry += step) {
        if (listed.row >= 0) run_listed(listed);
        const Number next = listed.entry + step;
        if (!List::is_in_use(arguments, next, in_use)) return;
        listed.row = List::row_named(arguments, next, List::value_of(arguments, next));
      }
    } else {
      SharedEntries shared;
      ListedRow listed = looks_once ? own_entry(arguments, in_use) : shared.first(arguments);
      while (listed.row >= 0) {  // one place for both: the code of a row is long
        run_listed(listed);
        if (looks_once) return;
        listed = shared.next(arguments);
      }
    }
  }

  // A CTA looks at one entry. Most may be for nothing: whatever those do that find nothing is counted in instructions.
  static __device__ __forceinline__ void run_entry(const KernelArguments& arguments) {
    const EntryRule& rule = arguments.entries;
    const std::int32_t entry = cta_of_entries();
    const std::int32_t group = entry >> rule.shift;
    // Both are asked for before either is used.
    const std::int32_t value = entry < rule.units ? static_cast<const std::int32_t*>(rule.values)[group] : INT32_MIN;
    const std::int32_t groups_in_use = rule.groups_in_use<false>();
    metadata_is_read(arguments);
    if (!((group < groups_in_use) & rule.names_row(entry, value))) return;
    const std::uint32_t first = Work::first_column();
    if (first >= arguments.columns) return;
    const auto row = static_cast<std::uint32_t>(rule.row_of_live(entry, value));
    if constexpr (vectors == 1)
      Work::run_first_chunk(arguments, 0, row, typename Work::FirstRow(arguments, first));
    else
      Work::run_chunk(arguments, row, first);
  }
};

}  // namespace moe_act::cuda
