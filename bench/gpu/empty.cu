// A kernel that does nothing: what a launch inside a graph costs by itself.
#include "contender.hpp"

namespace bench {
namespace {

struct Nothing {};

__global__ void empty_kernel(Nothing) {}

class Empty : public Contender {
 public:
  std::string name() const override { return "empty"; }
  bool computes() const override { return false; }
  // It depends on no workload; once is enough.
  bool handles(const Workload& workload, const Device&) const override { return workload.name == "routed/1"; }
  void prepare(const Workload&, const Device&) override {}
  void launch(const Buffers&, cudaStream_t stream) override {
    launch_kernel(empty_kernel, dim3(1), dim3(32), Nothing{}, stream);
  }
};

}  // namespace

void add_empty(Contenders& contenders) {
  contenders.push_back(std::make_unique<Empty>());
}

}  // namespace bench
