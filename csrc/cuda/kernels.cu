// Takes each call to the kernels of its dtype.
#include "cuda/kernels.h"
#include "cuda/launcher.h"

namespace srn {
namespace persistent {
namespace {

using namespace srn::SRN_ISA::persistent;

// f(Launcher of the dtype and the pass).
template <typename Call, typename F>
auto with_launcher(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kBFloat16:
      return f(Launcher<BFloat16, Call>());
    case DType::kFloat16:
      return f(Launcher<Float16, Call>());
    default:
      return f(Launcher<TensorFloat32, Call>());
  }
}

}  // namespace

Plan plan_pass(Pass pass, const Sizes& sizes, int device, std::string& reason) {
  const auto plan = [&](auto launcher) { return launcher.plan(sizes, device, reason); };
  return pass == Pass::kForward ? with_launcher<ForwardCall>(sizes.dtype, plan)
                                : with_launcher<BackwardCall>(sizes.dtype, plan);
}

void forward(const Plan& plan, const ForwardCall& call, int device, void* stream) {
  with_launcher<ForwardCall>(call.sizes.dtype, [&](auto launcher) { launcher.launch(plan, call, device, stream); });
}

void backward(const Plan& plan, const BackwardCall& call, int device, void* stream) {
  with_launcher<BackwardCall>(call.sizes.dtype, [&](auto launcher) { launcher.launch(plan, call, device, stream); });
}

}  // namespace persistent
}  // namespace srn
