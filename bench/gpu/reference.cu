// The reference's algorithm: 1, 2 or 4 tokens per CTA, whose maxima one packed block reduction finds together, and a
// launch that follows the number of SMs. Written from its description alone; compiled with fast math.
#include <cuda_fp8.h>

#include <algorithm>
#include <cfloat>
#include <cub/block/block_reduce.cuh>

#include "contender.hpp"

namespace bench {
namespace {

constexpr int threads = 128;  // one per column of a block

struct ReferenceArguments {
  Buffers buffers;
  std::int64_t tokens;
  std::int64_t columns;
  std::int64_t top_k;
};

// One value per token, reduced as one item.
template <int count>
struct alignas(count * sizeof(float)) Packed {
  float values[count];
};

template <int count>
struct Larger {
  __device__ Packed<count> operator()(const Packed<count>& left, const Packed<count>& right) const {
    Packed<count> larger;
#pragma unroll
    for (int i = 0; i < count; ++i) larger.values[i] = fmaxf(left.values[i], right.values[i]);
    return larger;
  }
};

// blockIdx: x = output block, y = group of tokens, z = k, each with a grid-stride loop. Every thread reaches every
// barrier: a token that is past the end or lives elsewhere contributes 0 and stores nothing. Each pass over the tokens
// ends at the last one of its own accord: the published figures are those of such passes, which are up to 10 % slower
// than others (bench/NOTES.md).
template <int tokens_per_cta>
__global__ void __launch_bounds__(threads) reference_kernel(const ReferenceArguments arguments) {
  using Reduce = cub::BlockReduce<Packed<tokens_per_cta>, threads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ float shared_scale[tokens_per_cta];

  const Buffers& buffers = arguments.buffers;
  const std::int64_t total = *buffers.total;
  const std::int64_t columns = arguments.columns;
  const std::int64_t top_k = arguments.top_k;
  const std::int64_t tokens = arguments.tokens;
  for (std::int64_t k = blockIdx.z; k < top_k; k += gridDim.z) {
    for (std::int64_t first = blockIdx.y * tokens_per_cta; first < tokens; first += gridDim.y * tokens_per_cta) {
      for (std::int64_t column = blockIdx.x * threads + threadIdx.x; column < columns; column += gridDim.x * threads) {
        int row[tokens_per_cta];
        float up[tokens_per_cta], gate[tokens_per_cta], up_scale[tokens_per_cta], gate_scale[tokens_per_cta];
#pragma unroll
        for (int i = 0; i < tokens_per_cta; ++i) {
          row[i] = -1;
          up[i] = gate[i] = up_scale[i] = gate_scale[i] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < tokens_per_cta; ++i) {
          row[i] = first + i < tokens ? buffers.row_index[(first + i) * top_k + k] : -1;
          if (row[i] < 0) continue;
          const auto* x =
              reinterpret_cast<const __nv_fp8_e4m3*>(buffers.x) + std::int64_t{row[i]} * 2 * columns + column;
          const std::int64_t block = column / threads;
          up_scale[i] = buffers.x_scale[row[i] + total * block];
          gate_scale[i] = buffers.x_scale[row[i] + total * (columns / threads + block)];
          up[i] = static_cast<float>(x[0]);
          gate[i] = static_cast<float>(x[columns]);
        }
        float value[tokens_per_cta];
        Packed<tokens_per_cta> magnitude;
#pragma unroll
        for (int i = 0; i < tokens_per_cta; ++i) {
          const float scaled_gate = gate_scale[i] * gate[i];
          value[i] = scaled_gate / (1.0f + expf(-scaled_gate)) * (up_scale[i] * up[i]);
          magnitude.values[i] = fabsf(value[i]);
        }
        const Packed<tokens_per_cta> amax = Reduce(storage).Reduce(magnitude, Larger<tokens_per_cta>{});
        if (threadIdx.x == 0) {
#pragma unroll
          for (int i = 0; i < tokens_per_cta; ++i) {
            if (first + i >= tokens) break;
            if (row[i] < 0) continue;
            shared_scale[i] = fmaxf(amax.values[i] / 448.0f, FLT_MIN);
            buffers.out_scale[row[i] + total * (column / threads)] = shared_scale[i];
          }
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < tokens_per_cta; ++i) {
          if (first + i >= tokens) break;
          if (row[i] < 0) continue;
          const __nv_fp8_e4m3 code(value[i] / shared_scale[i]);
          buffers.out[std::int64_t{row[i]} * columns + column] = code.__x;
        }
        __syncthreads();
      }
    }
  }
}

class Reference : public Contender {
 public:
  std::string name() const override { return "reference"; }
  std::string geometry() const override { return std::to_string(tokens_per_cta_) + " tokens per CTA"; }
  bool handles(const Workload& workload, const Device&) const override {
    return workload.mapped() && workload.input == Input::e4m3 && workload.columns % block_columns == 0;
  }
  void prepare(const Workload& workload, const Device& device) override {
    const std::int64_t ctas = workload.out_blocks() * workload.tokens * workload.top_k;
    tokens_per_cta_ = ctas > 32 * device.multiprocessors ? 4 : ctas > 4 * device.multiprocessors ? 2 : 1;
    arguments_.tokens = workload.tokens;
    arguments_.columns = workload.columns;
    arguments_.top_k = workload.top_k;
    const std::int64_t groups = ceil_div(workload.tokens, tokens_per_cta_);
    grid_ = dim3(static_cast<unsigned>(workload.out_blocks()),
                 static_cast<unsigned>(std::min<std::int64_t>(groups, 8192)), static_cast<unsigned>(workload.top_k));
  }
  void launch(const Buffers& buffers, cudaStream_t stream) override {
    arguments_.buffers = buffers;
    const auto kernel = tokens_per_cta_ == 4   ? reference_kernel<4>
                        : tokens_per_cta_ == 2 ? reference_kernel<2>
                                               : reference_kernel<1>;
    launch_kernel(kernel, grid_, dim3(threads), arguments_, stream);
  }

 private:
  ReferenceArguments arguments_{};
  int tokens_per_cta_ = 1;
  dim3 grid_;
};

}  // namespace

void add_reference(Contenders& contenders) {
  contenders.push_back(std::make_unique<Reference>());
}

}  // namespace bench
