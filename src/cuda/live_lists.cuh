// The live rows among a CTA's map entries: each of its warps looks at its share of them and leaves the live ones in
// shared memory, as a list of its own; together they are one list.
#pragma once

#include "cuda/lane_values.cuh"

namespace moe_act::cuda {

template <int warps_>
struct LiveLists {
  static constexpr int warps = warps_;
  static constexpr int room = max_sparse_entries / warps;  // for a warp's entries
  static constexpr int groups = room / warp_lanes;

  std::int32_t entry[groups];  // that this lane looks at
  int counts[warps];
  int begins[warps];  // live rows before those of each list
  int all = 0;

  // Asks for the entries.
  explicit __device__ __forceinline__ LiveLists(const KernelArguments& arguments) {
    const std::uint32_t first_entry = blockIdx.x * static_cast<std::uint32_t>(arguments.entries_per_cta);
    const int begin = warp() * room + lane();
    // From this lane's first entry to the end of the CTA's, or of all.
    const int left = min(arguments.entries_per_cta, static_cast<int>(arguments.source.units - first_entry)) - begin;
    const std::int32_t* map = arguments.source.map + first_entry + begin;
#pragma unroll
    for (int group = 0; group < groups; ++group)
      entry[group] = group * warp_lanes < left ? map[group * warp_lanes] : -1;
  }

  // Leaves the live ones in rows, [warps, room], and how many they are in counts, [warps].
  __device__ __forceinline__ void share(const KernelArguments& arguments, std::int32_t* rows, int* live_counts) {
#pragma unroll
    for (std::int32_t& each : entry) keep_behind(each);
    // Each warp has a list of its own, whose address is worked out once: it takes a special register.
    std::int32_t* list = rows + warp() * room;
    asm volatile("" : "+l"(list));
    __builtin_assume(__isShared(list));
    int count = 0;
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      const bool is_live = arguments.source.is_live(entry[group]);
      const unsigned live = __ballot_sync(all_lanes, is_live);
      if (is_live) list[count + __popc(live & ((1u << lane()) - 1u))] = entry[group];
      count += __popc(live);
    }
    if (lane() == 0) live_counts[warp()] = count;
    __syncthreads();
  }

  __device__ __forceinline__ void read(const int* live_counts) {
#pragma unroll
    for (int first = 0; first < warps; first += 4) {
      const int4 four = *reinterpret_cast<const int4*>(live_counts + first);
      counts[first] = four.x;
      counts[first + 1] = four.y;
      counts[first + 2] = four.z;
      counts[first + 3] = four.w;
    }
#pragma unroll
    for (int list = 0; list < warps; ++list) {
      begins[list] = all;
      all += counts[list];
    }
  }

  // Where the row lies before which `rank` others do.
  __device__ __forceinline__ int place_of(int rank) const {
    int place = rank;
#pragma unroll
    for (int list = 1; list < warps; ++list)
      if (rank >= begins[list]) place += room - counts[list - 1];
    return place;
  }

 private:
  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x); }
  static __device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.z * blockDim.y + threadIdx.y); }
};

}  // namespace moe_act::cuda
