// One pass in one dtype: which kernel a plan takes, whether the device can run it, and its launch.
#pragma once

#include "cuda/kernel.cuh"
#include "cuda/launcher.h"
#include "cuda/planning.h"
#include "cuda/runtime.cuh"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::kLeastTasks;
using srn::persistent::kMostTasks;

// The parts in which the passes differ: layout of shared memory, kernel.
template <typename Element, typename Call>
struct KernelsOf;

template <typename Element>
struct KernelsOf<Element, ForwardCall> {
  static constexpr Pass kPass = Pass::kForward;
  template <int kRows, int N>
  using Shared = ForwardShared<Element, kRows, N>;
  template <int kRows, int N>
  static auto kernel() {
    return forward_kernel<Element, kRows, N>;
  }
};

template <typename Element>
struct KernelsOf<Element, BackwardCall> {
  static constexpr Pass kPass = Pass::kBackward;
  template <int kRows, int N>
  using Shared = BackwardShared<Element, kRows, N>;
  template <int kRows, int N>
  static auto kernel() {
    return backward_kernel<Element, kRows, N>;
  }
};

// f(kernel, shared) of the plan's rows and so many tasks.
template <typename Kernels, typename F>
void with_kernel(const Plan& plan, int tasks, const F& f) {
  const auto with = [&](auto rows, auto tasks) {
    constexpr int kRows = decltype(rows)::value, N = decltype(tasks)::value;
    f(Kernels::template kernel<kRows, N>(), typename Kernels::template Shared<kRows, N>(plan));
  };
  static_assert(kLeastTasks == 2 && kMostTasks == 3, "a case for every number of tasks");
  static_assert(!srn::persistent::has_rows(16, 2), "a case for every kernel");
  if (plan.rows == 16) {
    with(Index<16>(), Index<3>());
  } else {
    tasks == 2 ? with(Index<8>(), Index<2>()) : with(Index<8>(), Index<3>());
  }
}

// Lets a kernel have as much shared memory as a block can have. A limit of the kernel, not of a launch: it is the same
// whoever sets it, so that no thread takes it away from another's launch.
template <typename Kernel>
void allow_shared(Kernel kernel, const cudaFuncAttributes& attributes, const Gpu& gpu) {
  const int64_t most = gpu.shared_per_block - int64_t(attributes.sharedSizeBytes);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(most)), "cudaFuncSetAttribute");
}

// Whether an error of CUDA's means that a build's code is not for this GPU or driver, whatever comes later.
inline bool is_final(cudaError_t error) {
  switch (error) {
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorJitCompilerNotFound:
      return true;
    default:
      return false;
  }
}

// Why the device cannot run all of the plan's blocks at once, or nothing.
template <typename Kernel>
std::string refusal(Kernel kernel, const Plan& plan, int blocks, const Gpu& gpu) {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (is_final(error)) {
    cudaGetLastError();
    return std::string("this build has no kernel that runs on the GPU (") + cudaGetErrorString(error) + ")";
  }
  check(error, "cudaFuncGetAttributes");
  constexpr int kOldestPtx = 80;  // what is compiled for less is an empty kernel (kernel.cuh), on newer GPUs too
  if (attributes.ptxVersion < kOldestPtx) {
    return "this build has code for older GPUs only, without their tensor cores (TORCH_CUDA_ARCH_LIST)";
  }
  allow_shared(kernel, attributes, gpu);
  int at_once = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, kernel, kWarps * 32, size_t(plan.shared_bytes)),
        "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  if (at_once * gpu.processors >= blocks) return "";
  return std::to_string(blocks) + " blocks would have to run at once, the GPU runs " +
         std::to_string(at_once * gpu.processors);
}

inline Gpu gpu_of(int device) {
  return {attribute(cudaDevAttrMultiProcessorCount, device),
          attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device)};
}

template <typename Element, typename Call>
Plan Launcher<Element, Call>::plan(const Sizes& sizes, int device, std::string& reason) {
  using Kernels = KernelsOf<Element, Call>;
  if (!driver_serves(reason)) return {};
  const DeviceGuard guard(device);
  if (attribute(cudaDevAttrComputeCapabilityMajor, device) < 8) {
    reason = "it needs a GPU of compute capability 8.0 or later";
    return {};
  }
  if (attribute(cudaDevAttrCooperativeLaunch, device) == 0) {
    reason = "the GPU cannot run all blocks of a launch at once (no cooperative launch)";
    return {};
  }
  const Gpu gpu = gpu_of(device);
  const Plan plan = sizes.tasks == 2 ? choose_plan<Element, 2>(Kernels::kPass, sizes, gpu, reason)
                                     : choose_plan<Element, 3>(Kernels::kPass, sizes, gpu, reason);
  if (plan.rows == 0) return plan;
  with_kernel<Kernels>(plan, sizes.tasks, [&](auto kernel, const auto&) {
    reason = refusal(kernel, plan, plan.blocks(sizes.directions), gpu);
  });
  return reason.empty() ? plan : Plan{};
}

template <typename Element, typename Call>
void Launcher<Element, Call>::launch(const Plan& plan, const Call& call, int device, void* stream) {
  const DeviceGuard guard(device);
  const cudaStream_t own = static_cast<cudaStream_t>(stream);
  const int directions = call.sizes.directions;
  const size_t mailbox = size_t(plan.mailbox_words(directions)) * sizeof(uint32_t);
  check(cudaMemsetAsync(call.mailbox, 0xff, mailbox, own), "cudaMemsetAsync of the mailbox");
  with_kernel<KernelsOf<Element, Call>>(plan, call.sizes.tasks, [&](auto kernel, auto shared) {
    void* arguments[] = {const_cast<Call*>(&call), const_cast<Plan*>(&plan), &shared};
    check(cudaLaunchCooperativeKernel(kernel, dim3(unsigned(plan.blocks(directions))), dim3(kWarps * 32), arguments,
                                      size_t(plan.shared_bytes), own),
          "launch of the persistent kernel");
  });
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
