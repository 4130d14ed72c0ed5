// The kernel: which warp does what, by schedule. What it does there is lanes.cuh's. threadIdx: x = lane, y and z = warp
// of the CTA. A row that is not there costs its warp nothing but the look at its map entry, and cannot influence
// another row.
#pragma once

#include "cuda/conventions.cuh"
#include "cuda/dependent_launch.cuh"
#include "cuda/lanes.cuh"
#include "cuda/live_lists.cuh"

namespace moe_act::cuda {

inline constexpr int min_ctas_per_sm = 2;  // of that size: 64 registers a thread

// Registers of general kernels: of 16-bit and fp32 input occupancy is worth more than what spills, of e4m3, 16 columns
// a lane, it is not. 32768 rows, H 2880 and 2048, bf16: 202, 221, 284 us with 64, 80, 104 registers; e4m3: 217, 183,
// 165 (H100, 2026-11-26).
constexpr int general_registers(Format input) {
  return is_scaled(input) ? 104 : 64;
}

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors>
struct Kernel {
  using Work = Lanes<input, output, columns, vectors>;

  // sparse.
  static constexpr bool by_chunk = shares_chunks(input, columns);
  using Lists = LiveLists<sparse_warps(input, columns)>;

  static constexpr bool may_be_marked = vectors > 1 && !has_marked_kernel(input);

  // What a schedule reads before it waits: under metadata_ready that is legal, and hides their latency. The total comes
  // first, and nothing may be computed from it before the map entry is asked for, too: the first use of a load holds up
  // the loads after it.
  static __device__ __forceinline__ std::int32_t read_total(const KernelArguments& arguments) {
    return arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
  }
  // All metadata is asked for, and parameters are fetched, none is used yet.
  template <typename... LookedUp>
  static __device__ __forceinline__ void metadata_is_read(const KernelArguments& arguments, std::int32_t& total,
                                                          LookedUp&... looked_up) {
    keep_behind(total);
    (keep_behind(looked_up), ...);
    start_if_metadata_is_ready(arguments.pdl);
  }

  static __device__ __forceinline__ std::uint32_t unit_of_warp() { return blockIdx.x * blockDim.z + threadIdx.z; }
  static __device__ __forceinline__ std::uint32_t first_column() {
    return Work::chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y);
  }

  // rows: y = chunk of the row, z = row. The grid covers everything, one chunk a warp. Nothing but the chain of loads
  // and arithmetic that has to be: at a few rows that chain is the whole time, and every instruction on the way shows.
  static __device__ __forceinline__ void run_rows(const KernelArguments& arguments) {
    if constexpr (columns < 16)
      if (arguments.entries_per_cta == 0) return run_dense_rows(arguments);
    if (waits_first(arguments.pdl)) wait_and_let_dependents_start(arguments.pdl);
    if constexpr (may_be_marked)
      if (arguments.marks != nullptr) return run_marked_rows(arguments);
    const std::uint32_t unit = unit_of_warp();
    std::int32_t total = read_total(arguments);
    std::int32_t looked_up = arguments.source.look_up(unit);
    const std::uint32_t first = first_column();
    typename Work::FirstRow first_row(arguments, first);
    if constexpr (Work::is_for_few_rows)
      first_row.fetch(arguments);
    else
      fetch_parameters(arguments);
    metadata_is_read(arguments, total, looked_up);
    if (!arguments.source.is_live(looked_up) || first >= arguments.columns) return;
    const Strides strides(arguments, total);
    run_row(arguments, strides, arguments.source.row_of(unit, looked_up), first, first_row);
  }

  // Dense rows that wait for no kernel, by code of their own: 3.0 instead of 3.25 us for 256 rows, 9.3 instead of 9.5
  // for 2048. Lanes of 16 columns are for more rows, and their maps would lose, 6.9 instead of 6.8 us (H100,
  // 2026-11-26, the rows alone of rows/valid_prefix/bf16/256 and bf16/2048, cold; routed/512 with metadata read early).
  static __device__ __forceinline__ void run_dense_rows(const KernelArguments& arguments) {
    const std::uint32_t row = unit_of_warp(), first = first_column();
    if (row >= arguments.source.units || first >= arguments.columns) return;
    run_row(arguments, Strides(arguments), row, first, typename Work::FirstRow(arguments, first));
  }

  static __device__ __forceinline__ void run_row(const KernelArguments& arguments, const Strides& strides,
                                                 std::uint32_t row, std::uint32_t first,
                                                 const typename Work::FirstRow& first_row) {
    if constexpr (Work::is_for_few_rows)
      Work::run(arguments,
                typename Work::OnlyVector(arguments, strides, Work::start_of(arguments, strides, row), row, first_row));
    else
      Work::run_chunk(arguments, strides, Work::start_of(arguments, strides, row), first);
  }

  // Those rows of all that an entry names: loaded where the mark says so, stored where the entry does.
  static __device__ __forceinline__ void run_marked_rows(const KernelArguments& arguments) {
    const std::uint32_t row = unit_of_warp(), first = first_column();
    const bool is_row = row < MarkedLaunch::rows(arguments);
    std::int32_t total = read_total(arguments);
    const MarkedLaunch launch(arguments);
    const std::uint32_t mark = is_row ? arguments.marks->marks()[row] : 0;
    fetch_parameters(arguments);
    if ((row | first | threadIdx.x) == 0) launch.finish(arguments);
    const std::uint32_t entry = entry_of(mark, launch.number);
    if (!launch.is_in_use(entry) || !is_row || first >= arguments.columns) return;
    const NamedRow named(arguments.entries, entry);
    const Strides strides(arguments, total);
    Work::template run_chunk<Work::template AlongMarkedRow>(arguments, strides, Work::start_of(arguments, strides, row),
                                                            first, row, named);
  }

  // tiles: y = block of columns. A warp does one block of several consecutive rows.
  static __device__ __forceinline__ void run_tiles(const KernelArguments& arguments) {
    const std::int64_t tile = std::int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
    const std::int64_t row = tile * Work::rows_per_tile + threadIdx.x / Work::lanes_per_block;
    const std::uint32_t first_column = block_columns * (blockIdx.x * blockDim.y + threadIdx.y);
    std::int32_t total = read_total(arguments);
    if (arguments.marks != nullptr) {
      const MarkedLaunch launch(arguments);
      fetch_parameters(arguments);
      if ((row | first_column | threadIdx.x) == 0) launch.finish(arguments);
      if (first_column >= arguments.columns) return;
      return Work::run(arguments,
                       typename Work::DownMarkedRows(arguments, Strides(arguments, total), row, first_column, launch));
    }
    fetch_parameters(arguments);
    metadata_is_read(arguments, total);
    if (first_column >= arguments.columns) return;
    Work::run(arguments,
              typename Work::DownRows(arguments, Strides(arguments, total), row, first_column, arguments.source.units));
  }

  // sparse: few map entries are live. A CTA looks at up to 512 of them, each of its warps at its share, and its warps
  // then share out the live rows, y = chunk of the row, z = row, and so do the CTAs of the grid's z, which look at the
  // same entries; by_chunk: the grid's y = further along the row, else each CTA does whole rows. The more entries share
  // CTAs, the more even is what falls to each multiprocessor: with 64, looked at by every warp, 3.3 instead of 3.0 us,
  // and 9.9 instead of 9.2 (H100, 2026-11-28, parallel-8/512 and 4096, in L2).
  static __device__ __forceinline__ void run_sparse(const KernelArguments& arguments) {
    __shared__ std::int32_t live_rows[max_sparse_entries];
    __shared__ alignas(16) int live_counts[Lists::warps];
    std::int32_t total = read_total(arguments);
    Lists lists(arguments);
    const std::uint32_t first = by_chunk ? first_column() : Work::chunk_columns * threadIdx.y;
    typename Work::FirstRow first_row(arguments, first);
    if constexpr (by_chunk)
      first_row.fetch(arguments);
    else
      fetch_parameters(arguments);
    // All are on their way before the first is used.
    keep_behind(total);
    lists.share(arguments, live_rows, live_counts);
    // Not before: all this hides behind the kernel that is waited for, 2.6 instead of 3.1 us (H100, 2026-11-28,
    // parallel-8/512 with metadata read early, in L2).
    start_if_metadata_is_ready(arguments.pdl);
    lists.read(live_counts);

    const Strides strides(arguments, total);
    if (by_chunk && first >= arguments.columns) return;
    for (auto rank = static_cast<int>(blockIdx.z * blockDim.z + threadIdx.z); rank < lists.all;
         rank += static_cast<int>(gridDim.z * blockDim.z)) {
      const auto row = static_cast<std::uint32_t>(live_rows[lists.place_of(rank)]);
      if constexpr (by_chunk) {
        run_row(arguments, strides, row, first, first_row);
      } else {
        const typename Work::RowStart start = Work::start_of(arguments, strides, row);
        const std::uint32_t step = Work::chunk_columns * blockDim.y;
        for (std::uint32_t chunk = first; chunk < arguments.columns; chunk += step)
          Work::run_chunk(arguments, strides, start, chunk);
      }
    }
  }

  // loop: y = chunk of the row, z = row. Warps loop over the columns that the grid does not cover.
  static __device__ __forceinline__ void run_loop(const KernelArguments& arguments) {
    const std::uint32_t unit = blockIdx.x * blockDim.z + threadIdx.z;
    std::int32_t total = read_total(arguments);
    std::int32_t looked_up = arguments.source.look_up(unit);
    fetch_parameters(arguments);
    metadata_is_read(arguments, total, looked_up);
    if (!arguments.source.is_live(looked_up)) return;
    const Strides strides(arguments, total);
    const std::uint32_t row = arguments.source.row_of(unit, looked_up);
    const std::uint32_t step = Work::chunk_columns * blockDim.y * gridDim.y;
    for (std::uint32_t first = Work::chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y); first < arguments.columns;
         first += step)
      Work::run_chunk(arguments, strides, Work::start_of(arguments, strides, row), first);
  }

  static __device__ __forceinline__ void run(const KernelArguments& arguments) {
    // rows decide for themselves.
    if (schedule != Schedule::rows && waits_first(arguments.pdl)) wait_and_let_dependents_start(arguments.pdl);
    if constexpr (schedule == Schedule::rows)
      run_rows(arguments);
    else if constexpr (schedule == Schedule::tiles)
      run_tiles(arguments);
    else if constexpr (schedule == Schedule::sparse)
      run_sparse(arguments);
    else
      run_loop(arguments);
  }
};

// The parameters are the members of a KernelKey, one by one: nvcc 13.0 cannot name a kernel whose template parameter is
// a struct, and profilers show them.
template <Format input, OutputKind output, Schedule schedule, int columns, int vectors>
__global__ void __launch_bounds__(warp_lanes* max_warps_per_cta, min_ctas_per_sm)
    gated_act_quant(const __grid_constant__ KernelArguments arguments) {
  Kernel<input, output, schedule, columns, vectors>::run(arguments);
}

// Nine CTAs of four warps at once instead of eight, and no load behind the first use of another: 281 instead of 288 us
// for rows by two vectors a lane, which were marked ones, 5.41 instead of 5.73 for few live ones, when CTAs looked at
// 64 entries; not for those by two vectors, of which scales came behind arithmetic (H100, 2026-11-27, routed/16384 and
// parallel-8/1024, cold).
constexpr int registers_for_nine_ctas = 56;
constexpr bool has_nine_ctas(const KernelKey& key) {
  if (!is_scaled(key.input)) return false;
  return key.schedule == Schedule::rows
             ? key.vectors_per_lane > 1
             : key.schedule == Schedule::sparse && key.output == OutputKind::scaled && key.vectors_per_lane == 1 &&
                   key.columns_per_lane * bytes_per_element(key.input) == 16;
}
template <Format input, OutputKind output, Schedule schedule, int columns, int vectors>
__global__ void __maxnreg__(registers_for_nine_ctas)
    gated_act_quant_by_nine_ctas(const __grid_constant__ KernelArguments arguments) {
  Kernel<input, output, schedule, columns, vectors>::run(arguments);
}

// Ten, as all loads are kept before the first use of one: 75.5 us for marked rows with 48 registers, 76.2 with 56, when
// none were brought into L2 beforehand (H100, 2026-11-28, routed/4096 cold).
template <Format input, OutputKind output, int columns, int vectors>
__global__ void __maxnreg__(48) gated_act_quant_of_marked_rows(const __grid_constant__ KernelArguments arguments) {
  wait_and_let_dependents_start(arguments.pdl);
  Kernel<input, output, Schedule::rows, columns, vectors>::run_marked_rows(arguments);
}

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors, Reach reach>
__global__ void __launch_bounds__(warp_lanes* max_warps_per_cta, min_ctas_per_sm)
    gated_act_quant_of_any_rows(const __grid_constant__ KernelArguments arguments) {
  ConventionKernel<input, output, schedule, columns, vectors, reach>::run(arguments);
}

// All CTAs at once, or nearly so, as most have nothing to do: 2.65 us with 48 registers, 2.58 with 32, of e4m3 2.67
// with 48, 2.58 with 40; with 32 its arithmetic waits for registers, 2.7 (H100, 2026-11-27, rows/row_to_expert/bf16/256
// and rows/row_to_expert/e4m3/256 in L2).
// In any scale layout as few as spill nothing.
constexpr int registers_of_entries(Format input, Reach reach) {
  if (reach != Reach::plain) return is_scaled(input) ? 56 : 40;
  return is_scaled(input) ? 40 : 32;
}
template <Format input, OutputKind output, int columns, int vectors, Reach reach>
__global__ void __maxnreg__(registers_of_entries(input, reach))
    gated_act_quant_of_entries(const __grid_constant__ KernelArguments arguments) {
  ConventionKernel<input, output, Schedule::entry, columns, vectors, reach>::run(arguments);
}

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors>
__global__ void __maxnreg__(general_registers(input))
    gated_act_quant_general(const __grid_constant__ KernelArguments arguments) {
  ConventionKernel<input, output, schedule, columns, vectors, Reach::models>::run(arguments);
}

}  // namespace moe_act::cuda
