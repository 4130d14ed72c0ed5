// As many bytes as the workload moves, in its mix of reads and writes, but in a stream: what the memory can do.
#include "contender.hpp"

namespace bench {
namespace {

struct StreamArguments {
  const uint4* in;
  uint4* out;
  std::int64_t count;  // of vectors written; `reads` times as many are read
};

template <int reads, int vectors, bool whole>
__device__ __forceinline__ void stream_vectors(const StreamArguments& arguments, std::int64_t first) {
  uint4 in[vectors][reads];
#pragma unroll
  for (int v = 0; v < vectors; ++v) {
    const std::int64_t i = first + v * blockDim.x;
#pragma unroll
    for (int r = 0; r < reads; ++r)
      if (whole || i < arguments.count) in[v][r] = __ldg(arguments.in + r * arguments.count + i);
  }
#pragma unroll
  for (int v = 0; v < vectors; ++v) {
    const std::int64_t i = first + v * blockDim.x;
    if (!whole && i >= arguments.count) continue;
    uint4 sum = in[v][0];
#pragma unroll
    for (int r = 1; r < reads; ++r)
      sum = {sum.x ^ in[v][r].x, sum.y ^ in[v][r].y, sum.z ^ in[v][r].z, sum.w ^ in[v][r].w};
    arguments.out[i] = sum;
  }
}

template <int reads, int vectors>
__global__ void __launch_bounds__(512) stream_kernel(const StreamArguments arguments) {
  const std::int64_t cta_vectors = std::int64_t{blockDim.x} * vectors;
  const std::int64_t begin = blockIdx.x * cta_vectors;
  if (begin + cta_vectors <= arguments.count)
    stream_vectors<reads, vectors, true>(arguments, begin + threadIdx.x);
  else
    stream_vectors<reads, vectors, false>(arguments, begin + threadIdx.x);
}

template <int vectors, int threads>
class Stream : public Contender {
 public:
  std::string name() const override { return "stream"; }
  std::string geometry() const override {
    return std::to_string(vectors) + " vectors x " + std::to_string(threads) + " threads";
  }
  bool computes() const override { return false; }
  bool takes_rows_alone() const override { return true; }
  bool handles(const Workload&, const Device&) const override { return true; }
  void prepare(const Workload& workload, const Device&) override {
    arguments_.count = workload.stream_vectors();
    switch (workload.stream_reads()) {
      case 2: kernel_ = stream_kernel<2, vectors>; break;
      case 4: kernel_ = stream_kernel<4, vectors>; break;
      default: kernel_ = stream_kernel<8, vectors>;
    }
  }
  void launch(const Buffers& buffers, cudaStream_t stream) override {
    arguments_.in = reinterpret_cast<const uint4*>(buffers.x);
    arguments_.out = reinterpret_cast<uint4*>(buffers.out);
    const auto ctas = static_cast<unsigned>(ceil_div(arguments_.count, vectors * threads));
    launch_kernel(kernel_, dim3(ctas), dim3(threads), arguments_, stream);
  }

 private:
  StreamArguments arguments_{};
  void (*kernel_)(StreamArguments) = nullptr;
};

}  // namespace

void add_stream(Contenders& contenders) {
  contenders.push_back(std::make_unique<Stream<1, 128>>());
  contenders.push_back(std::make_unique<Stream<1, 256>>());
  contenders.push_back(std::make_unique<Stream<1, 512>>());
  contenders.push_back(std::make_unique<Stream<2, 128>>());
  contenders.push_back(std::make_unique<Stream<2, 256>>());
  contenders.push_back(std::make_unique<Stream<4, 128>>());
  contenders.push_back(std::make_unique<Stream<4, 256>>());
}

}  // namespace bench
