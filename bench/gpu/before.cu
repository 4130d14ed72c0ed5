// The state before the reference's optimization: one token per CTA, one output column per thread, a block reduction in
// shared memory for every row. Compiled with fast math.
#include <cuda_fp8.h>

#include <algorithm>
#include <cfloat>
#include <cub/block/block_reduce.cuh>

#include "contender.hpp"

namespace bench {
namespace {

constexpr int threads = 128;  // one per column of a block

struct BeforeArguments {
  Buffers buffers;
  std::int64_t tokens;
  std::int64_t columns;
};

struct Larger {
  __device__ float operator()(float left, float right) const { return fmaxf(left, right); }
};

// blockIdx: x = block, y = k, z = token. As many blocks as the input has: there is nothing to do for the second half of
// them, and starting them is what the time goes into. Whether a row is valid is the same for the whole CTA, so that all
// its threads meet at every barrier or none does.
__global__ void __launch_bounds__(threads) before_kernel(const BeforeArguments arguments) {
  using Reduce = cub::BlockReduce<float, threads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ float shared_scale;

  const Buffers& buffers = arguments.buffers;
  const std::int64_t column = std::int64_t{blockIdx.x} * threads + threadIdx.x;
  if (column >= arguments.columns) return;
  const std::int64_t total = *buffers.total;
  for (std::int64_t token = blockIdx.z; token < arguments.tokens; token += gridDim.z) {
    const std::int64_t row = buffers.row_index[token * gridDim.y + blockIdx.y];
    if (row < 0) continue;
    const auto* x = reinterpret_cast<const __nv_fp8_e4m3*>(buffers.x) + row * 2 * arguments.columns + column;
    const float up_scale = buffers.x_scale[row + total * blockIdx.x];
    const float gate_scale = buffers.x_scale[row + total * (arguments.columns / threads + blockIdx.x)];
    const float up = up_scale * static_cast<float>(x[0]);
    const float gate = gate_scale * static_cast<float>(x[arguments.columns]);
    const float value = gate / (1.0f + expf(-gate)) * up;

    const float amax = Reduce(storage).Reduce(fabsf(value), Larger{});
    if (threadIdx.x == 0) {
      shared_scale = fmaxf(amax / 448.0f, FLT_MIN);
      buffers.out_scale[row + total * blockIdx.x] = shared_scale;
    }
    __syncthreads();
    // The next write of shared_scale comes after the next reduction's barrier, hence after every read of this one.
    const __nv_fp8_e4m3 code(value / shared_scale);
    buffers.out[row * arguments.columns + column] = code.__x;
  }
}

class Before : public Contender {
 public:
  std::string name() const override { return "before"; }
  bool handles(const Workload& workload, const Device&) const override {
    return workload.mapped() && workload.input == Input::e4m3 && workload.columns % block_columns == 0;
  }
  void prepare(const Workload& workload, const Device&) override {
    arguments_.tokens = workload.tokens;
    arguments_.columns = workload.columns;
    grid_ = dim3(static_cast<unsigned>(2 * workload.out_blocks()), static_cast<unsigned>(workload.top_k),
                 static_cast<unsigned>(std::min<std::int64_t>(workload.tokens, 65535)));
  }
  void launch(const Buffers& buffers, cudaStream_t stream) override {
    arguments_.buffers = buffers;
    launch_kernel(before_kernel, grid_, dim3(threads), arguments_, stream);
  }

 private:
  BeforeArguments arguments_{};
  dim3 grid_;
};

}  // namespace

void add_before(Contenders& contenders) {
  contenders.push_back(std::make_unique<Before>());
}

}  // namespace bench
