// The CUDA backend where CUDA is not compiled in: the same symbols, so that nothing else has to ask.
#include "core/backend.hpp"
#include "core/error.hpp"

namespace moe_act::cuda {
namespace {

[[noreturn]] void unsupported() {
  fail(MOE_ACT_UNSUPPORTED, "device", "this build of moe_act has no CUDA; rebuild with MOE_ACT_CUDA=ON");
}

}  // namespace

const char* build_text() {
  return "CUDA not compiled in";
}

int device_count() {
  unsupported();
}

DeviceInfo device_info(int) {
  unsupported();
}

void launch(const Plan&, const KernelArguments&, void*, void*) {
  unsupported();
}

void copy_to_host(void*, const void*, std::size_t, int, void*) {
  unsupported();
}

}  // namespace moe_act::cuda
