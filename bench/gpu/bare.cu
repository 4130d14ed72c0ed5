// The bare launch within the process that bench/host.py times Python's calls in: from process to process one and the
// same launch takes a quarter more or less.
#include "bare.hpp"

// Nanoseconds per call of a batch, negative where CUDA refuses one. grid, block: [3].
extern "C" __attribute__((visibility("default"))) double moe_act_bench_bare_launch(const unsigned* grid,
                                                                                   const unsigned* block, void* stream,
                                                                                   int calls) {
  bench::BareLaunch launch({grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]},
                           static_cast<cudaStream_t>(stream));
  bool refused = false;
  const double nanoseconds = bench::nanoseconds_per_call(calls, [&] { refused |= launch() != cudaSuccess; });
  return refused ? -1.0 : nanoseconds;
}
