// The kernels themselves: a pass on the device's blocks.
#pragma once

#include "cuda/backward.h"
#include "cuda/device_block.cuh"
#include "cuda/forward.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::Exchange;

// The oldest GPUs, by compute capability times ten, with the instructions of an exchange: for older ones the kernels
// are empty, and refused beforehand.
SRN_PLAN constexpr int oldest(Exchange exchange) { return exchange == Exchange::kCluster ? 90 : 80; }

#if defined(__CUDA_ARCH__)
constexpr int kPresent = __CUDA_ARCH__ / 10;
#else
constexpr int kPresent = 0;
#endif

// A block has a multiprocessor to itself, with all its registers: they hold the weights.
template <typename Element, int kRows, int N, Exchange kExchange>
__global__ void __launch_bounds__(kWarps * 32, 1)
    forward_kernel(const __grid_constant__ ForwardCall call, const __grid_constant__ Plan plan,
                   const __grid_constant__ ForwardShared<Element, kRows, N> shared) {
  if constexpr (kPresent >= oldest(kExchange)) {
    using Block = DeviceBlock<Element, kRows, kExchange>;
    const Block block;
    ForwardPass<Block, N>(block, plan, call, shared).run();
  }
}

template <typename Element, int kRows, int N, Exchange kExchange>
__global__ void __launch_bounds__(kWarps * 32, 1)
    backward_kernel(const __grid_constant__ BackwardCall call, const __grid_constant__ Plan plan,
                    const __grid_constant__ BackwardShared<Element, kRows, N> shared) {
  if constexpr (kPresent >= oldest(kExchange)) {
    using Block = DeviceBlock<Element, kRows, kExchange>;
    const Block block;
    BackwardPass<Block, N>(block, plan, call, shared).run();
  }
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
