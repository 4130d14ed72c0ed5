// Time of one launch within a CUDA graph that launches many times in a row.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace bench {

// Issues the i-th launch of a row.
using Launch = std::function<void(std::int64_t)>;

struct Chain {
  Launch launch;
  std::int64_t count = 0;
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void synchronize() const;

 private:
  cudaStream_t stream_ = nullptr;
};

double median(std::vector<double> values);

// Roughly the microseconds of one launch. Also what loads the kernel, which must not happen during a capture.
double estimate_microseconds(const Stream& stream, const Launch& launch);

// Microseconds of one launch of each chain, the chain replayed as a graph: medians over `repetitions` rounds. Every
// round replays each chain once and begins with another, so that no chain always follows the same neighbour.
std::vector<double> median_microseconds(const Stream& stream, const std::vector<Chain>& chains, int repetitions);

}  // namespace bench
