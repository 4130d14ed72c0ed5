// Programmatic dependent launch, as far as a kernel takes part in it. Nothing happens below compute capability 9.0, or
// where the launch did not ask for it.
#pragma once

namespace moe_act::cuda {

// The next kernel may start as soon as every CTA of this one has come here; it waits for this one's results itself.
__device__ __forceinline__ void let_dependents_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Every thread waits before it returns: a grid that ended earlier would let its dependents overtake its producers.
__device__ __forceinline__ void wait_for_producers() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace moe_act::cuda
