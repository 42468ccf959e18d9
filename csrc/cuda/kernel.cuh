// The kernels themselves: a pass on the device's blocks.
#pragma once

#include "cuda/backward.h"
#include "cuda/device_block.cuh"
#include "cuda/forward.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

// A multiprocessor is one block's, with all its registers: they hold the weights.
template <typename Element, int kRows, int N>
__global__ void __launch_bounds__(kWarps * 32, 1)
    forward_kernel(const __grid_constant__ ForwardCall call, const __grid_constant__ Plan plan,
                   const __grid_constant__ ForwardShared<Element, kRows, N> shared) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800  // older ones lack the instructions, and are refused before
  using Block = DeviceBlock<Element, kRows>;
  const Block block;
  ForwardPass<Block, N>(block, plan, call, shared).run();
#endif
}

template <typename Element, int kRows, int N>
__global__ void __launch_bounds__(kWarps * 32, 1)
    backward_kernel(const __grid_constant__ BackwardCall call, const __grid_constant__ Plan plan,
                    const __grid_constant__ BackwardShared<Element, kRows, N> shared) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Block = DeviceBlock<Element, kRows>;
  const Block block;
  BackwardPass<Block, N>(block, plan, call, shared).run();
#endif
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
