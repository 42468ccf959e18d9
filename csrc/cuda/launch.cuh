// One pass in one dtype and with one exchange: a plan's kernel, whether the device can run it, and its launch.
#pragma once

#include "cuda/kernel.cuh"
#include "cuda/launcher.h"
#include "cuda/planning.h"
#include "cuda/runtime.cuh"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::has_kernel;
using srn::persistent::kLeastTasks;
using srn::persistent::kMostMembers;
using srn::persistent::kMostTasks;

// Where the passes differ: layout of shared memory, kernel.
template <typename Element, typename Call, Exchange kExchange>
struct KernelsOf;

template <typename Element, Exchange kExchange>
struct KernelsOf<Element, ForwardCall, kExchange> {
  static constexpr Pass kPass = Pass::kForward;
  template <int kRows, int N>
  using Shared = ForwardShared<Element, kRows, N>;
  template <int kRows, int N>
  static auto kernel() {
    return forward_kernel<Element, kRows, N, kExchange>;
  }
};

template <typename Element, Exchange kExchange>
struct KernelsOf<Element, BackwardCall, kExchange> {
  static constexpr Pass kPass = Pass::kBackward;
  template <int kRows, int N>
  using Shared = BackwardShared<Element, kRows, N>;
  template <int kRows, int N>
  static auto kernel() {
    return backward_kernel<Element, kRows, N, kExchange>;
  }
};

// f(rows, tasks), as integral constants, for sizes that have a kernel.
template <Exchange kExchange, typename F>
void with_sizes(int rows, int tasks, const F& f) {
  static_assert(kLeastTasks == 2 && kMostTasks == 3, "a case for every number of tasks");
  static_assert(!has_kernel(kExchange, 16, 2) && has_kernel(kExchange, 8, 3), "a case for every kernel");
  if constexpr (has_kernel(kExchange, 8, 2)) {
    if (tasks == 2) return f(Index<8>(), Index<2>());
  }
  if constexpr (has_kernel(kExchange, 16, 3)) {
    if (rows == 16) return f(Index<16>(), Index<3>());
  }
  f(Index<8>(), Index<3>());
}

// Whether a CUDA error means that this build's code will never run on this GPU or driver.
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

// Lets a kernel have all the shared memory that a block can have, `shared` less what the kernel has anyway, and
// clusters of any size; keeps the planner to that. These are limits of the kernel, not of a launch, and every thread
// sets the same ones, so that none lowers them before another's launch. Returns the reason if the kernel cannot run on
// the device.
template <typename Kernel>
std::string prepare(Kernel kernel, Exchange exchange, int64_t shared, Gpu& gpu) {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (is_final(error)) {
    cudaGetLastError();
    return std::string("this build has no kernel that runs on the GPU (") + cudaGetErrorString(error) + ")";
  }
  check(error, "cudaFuncGetAttributes");
  if (attributes.ptxVersion < oldest(exchange)) {  // what is compiled for less is an empty kernel, on newer GPUs too
    return "this build has code for older GPUs only, without what these kernels need (TORCH_CUDA_ARCH_LIST)";
  }
  const int64_t dynamic = shared - int64_t(attributes.sharedSizeBytes);
  gpu.shared_per_block = std::min(gpu.shared_per_block, dynamic);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(dynamic)),
        "cudaFuncSetAttribute, shared memory");
  if (exchange == Exchange::kCluster) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          "cudaFuncSetAttribute, blocks of a cluster");
  }
  return "";
}

// A launch of a plan's blocks: all at once, or in clusters. It holds a pointer into itself.
class Launch {
 public:
  Launch(const Plan& plan, int directions, cudaStream_t stream) {
    config_.gridDim = dim3(unsigned(plan.blocks(directions)));
    config_.blockDim = dim3(kWarps * 32);
    config_.dynamicSmemBytes = size_t(plan.shared_bytes);
    config_.stream = stream;
    if (plan.exchange == Exchange::kCluster) {
      attribute_.id = cudaLaunchAttributeClusterDimension;
      attribute_.val.clusterDim = {unsigned(plan.members), 1, 1};
    } else {
      attribute_.id = cudaLaunchAttributeCooperative;
      attribute_.val.cooperative = 1;
    }
    config_.attrs = &attribute_;
    config_.numAttrs = 1;
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  const cudaLaunchConfig_t& config() const { return config_; }

 private:
  cudaLaunchConfig_t config_ = {};
  cudaLaunchAttribute attribute_ = {};
};

// Fits the plan to what the device runs at once, or says why it cannot run. With a mailbox, all blocks of the teams
// wait for each other; a cluster waits for its own blocks only, so there are as many teams as the device runs clusters,
// and each takes several row groups with the weights that it has loaded once.
template <typename Kernel>
std::string fit(Kernel kernel, int directions, const Gpu& gpu, Plan& plan) {
  int at_once = 0;
  if (plan.exchange == Exchange::kCluster) {
    const Launch launch(plan, directions, nullptr);
    const cudaError_t error = cudaOccupancyMaxActiveClusters(&at_once, kernel, &launch.config());
    if (error == cudaErrorInvalidClusterSize) {  // as some GPUs say it, though they have clusters of other sizes
      cudaGetLastError();
      at_once = 0;
    } else {
      check(error, "cudaOccupancyMaxActiveClusters");
    }
    if (at_once == 0) return "the GPU runs no cluster of " + std::to_string(plan.members) + " blocks";
    plan.teams = std::min(plan.teams, std::max(1, at_once / directions));
    return "";
  }
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, kernel, kWarps * 32, size_t(plan.shared_bytes)),
        "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  const int blocks = plan.blocks(directions), most = at_once * gpu.processors;
  if (most >= blocks) return "";
  return std::to_string(blocks) + " blocks would have to run at once, the GPU runs " + std::to_string(most);
}

template <typename Element, typename Call, Exchange kExchange>
Plan Launcher<Element, Call, kExchange>::plan(const Sizes& sizes, int device, std::string& reason) {
  using Kernels = KernelsOf<Element, Call, kExchange>;
  if (!driver_serves(reason)) return {};
  const DeviceGuard guard(device);
  const int capability =
      10 * attribute(cudaDevAttrComputeCapabilityMajor, device) + attribute(cudaDevAttrComputeCapabilityMinor, device);
  if (capability < oldest(kExchange)) {
    reason = "it needs a GPU of compute capability " + std::to_string(oldest(kExchange) / 10) + ".0 or later";
    return {};
  }
  if (kExchange == Exchange::kMailbox && attribute(cudaDevAttrCooperativeLaunch, device) == 0) {
    reason = "the GPU cannot run all blocks of a launch at once (no cooperative launch)";
    return {};
  }
  if (kExchange == Exchange::kCluster && attribute(cudaDevAttrClusterLaunch, device) == 0) {
    reason = "the GPU launches no clusters of blocks";
    return {};
  }
  if (!has_kernel(kExchange, 8, sizes.tasks)) {
    reason = "the kernels for clusters serve three tasks, these are " + std::to_string(sizes.tasks);
    return {};
  }

  const int64_t shared = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  Gpu gpu = {attribute(cudaDevAttrMultiProcessorCount, device), shared};
  const auto with_kernel = [&](int rows, const auto& f) {
    with_sizes<kExchange>(rows, sizes.tasks, [&](auto rows, auto tasks) {
      f(Kernels::template kernel<decltype(rows)::value, decltype(tasks)::value>());
    });
  };
  for (const int rows : {8, 16}) {
    if (!has_kernel(kExchange, rows, sizes.tasks)) continue;
    with_kernel(rows, [&](auto kernel) { reason = prepare(kernel, kExchange, shared, gpu); });
    if (!reason.empty()) return {};
  }
  Plan plan;
  with_sizes<kExchange>(8, sizes.tasks, [&](auto, auto tasks) {
    plan = choose_plan<Element, decltype(tasks)::value>(Kernels::kPass, sizes, gpu, kExchange, reason);
  });
  if (plan.rows == 0) return plan;
  with_kernel(plan.rows, [&](auto kernel) { reason = fit(kernel, sizes.directions, gpu, plan); });
  return reason.empty() ? plan : Plan{};
}

template <typename Element, typename Call, Exchange kExchange>
void Launcher<Element, Call, kExchange>::launch(const Plan& plan, const Call& call, int device, void* stream) {
  using Kernels = KernelsOf<Element, Call, kExchange>;
  const DeviceGuard guard(device);
  const int directions = call.sizes.directions;
  const Launch launch(plan, directions, static_cast<cudaStream_t>(stream));
  if (const int64_t words = plan.mailbox_words(directions)) {
    check(cudaMemsetAsync(call.mailbox, 0xff, size_t(words) * sizeof(uint32_t), launch.config().stream),
          "cudaMemsetAsync of the mailbox");
  }
  with_sizes<kExchange>(plan.rows, call.sizes.tasks, [&](auto rows, auto tasks) {
    constexpr int kRows = decltype(rows)::value, N = decltype(tasks)::value;
    check(cudaLaunchKernelEx(&launch.config(), Kernels::template kernel<kRows, N>(), call, plan,
                             typename Kernels::template Shared<kRows, N>(plan)),
          "launch of the persistent kernel");
  });
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
