// Takes each call to the kernels of its dtype and its plan's exchange.
#include "cuda/kernels.h"
#include "cuda/launcher.h"

namespace srn {
namespace persistent {
namespace {

using namespace srn::SRN_ISA::persistent;

template <typename Call, Exchange kExchange, typename F>
void with_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kBFloat16:
      return f(Launcher<BFloat16, Call, kExchange>());
    case DType::kFloat16:
      return f(Launcher<Float16, Call, kExchange>());
    default:
      return f(Launcher<TensorFloat32, Call, kExchange>());
  }
}

// f(Launcher of the dtype, the pass and the exchange). Without a kernel for clusters there is no plan for one either.
template <typename Call, typename F>
void with_launcher(DType dtype, Exchange exchange, const F& f) {
  if (exchange == Exchange::kMailbox) return with_dtype<Call, Exchange::kMailbox>(dtype, f);
#if defined(SRN_HAVE_CLUSTERS)
  with_dtype<Call, Exchange::kCluster>(dtype, f);
#endif
}

}  // namespace

Plan plan_pass(Pass pass, const Sizes& sizes, Exchange exchange, int device, std::string& reason) {
  reason = "this build has no kernels for clusters: it was made for older GPUs alone (TORCH_CUDA_ARCH_LIST)";
  Plan plan;
  const auto make = [&](auto launcher) {
    reason.clear();
    plan = launcher.plan(sizes, device, reason);
  };
  pass == Pass::kForward ? with_launcher<ForwardCall>(sizes.dtype, exchange, make)
                         : with_launcher<BackwardCall>(sizes.dtype, exchange, make);
  return plan;
}

void forward(const Plan& plan, const ForwardCall& call, int device, void* stream) {
  with_launcher<ForwardCall>(call.sizes.dtype, plan.exchange,
                             [&](auto launcher) { launcher.launch(plan, call, device, stream); });
}

void backward(const Plan& plan, const BackwardCall& call, int device, void* stream) {
  with_launcher<BackwardCall>(call.sizes.dtype, plan.exchange,
                              [&](auto launcher) { launcher.launch(plan, call, device, stream); });
}

}  // namespace persistent
}  // namespace srn
