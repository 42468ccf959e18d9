// A Python module with the binding of the persistent GPU kernels (python/cuda.cpp) over their body on the host, so that
// the Python backend can be tested whole without a GPU. It plans for a GPU of a few small multiprocessors.
#include <pybind11/pybind11.h>

#include "cuda/kernels.h"
#include "python/bindings.h"
#include "tests/host_launch.h"

namespace srn {
namespace persistent {
namespace {

using namespace srn::SRN_ISA::persistent;
using srn::SRN_ISA::Index;

constexpr Gpu kGpu = {12, 160 * 1024};
constexpr int kThreads = 2;  // of a block

// f(element, rows, tasks), the latter two as integral constants.
template <typename Element, typename F>
void with_sizes(int rows, int tasks, const F& f) {
  if (rows == 16) {
    f(Element(), Index<16>(), Index<3>());
  } else {
    tasks == 2 ? f(Element(), Index<8>(), Index<2>()) : f(Element(), Index<8>(), Index<3>());
  }
}

template <typename F>
void with_all(const Sizes& sizes, int rows, const F& f) {
  switch (sizes.dtype) {
    case DType::kBFloat16:
      return with_sizes<BFloat16>(rows, sizes.tasks, f);
    case DType::kFloat16:
      return with_sizes<Float16>(rows, sizes.tasks, f);
    default:
      return with_sizes<TensorFloat32>(rows, sizes.tasks, f);
  }
}

}  // namespace

Plan plan_pass(Pass pass, const Sizes& sizes, Exchange exchange, int, std::string& reason) {
  Plan plan;
  if (!has_kernel(exchange, 8, sizes.tasks)) {
    reason = "the kernels for clusters serve three tasks";
    return plan;
  }
  with_all(sizes, 8, [&](auto element, auto, auto tasks) {
    plan = choose_plan<decltype(element), decltype(tasks)::value>(pass, sizes, kGpu, exchange, reason);
  });
  return plan;
}

void forward(const Plan& plan, const ForwardCall& call, int, void*) {
  with_all(call.sizes, plan.rows, [&](auto element, auto rows, auto tasks) {
    test::forward_on_host<decltype(element), decltype(rows)::value, decltype(tasks)::value>(plan, call, kThreads,
                                                                                            test::Guard::kHeap);
  });
}

void backward(const Plan& plan, const BackwardCall& call, int, void*) {
  with_all(call.sizes, plan.rows, [&](auto element, auto rows, auto tasks) {
    test::backward_on_host<decltype(element), decltype(rows)::value, decltype(tasks)::value>(plan, call, kThreads,
                                                                                             test::Guard::kHeap);
  });
}

}  // namespace persistent
}  // namespace srn

PYBIND11_MODULE(srn_persistent_host, m) { srn::bind_cuda(m); }
