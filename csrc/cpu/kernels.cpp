// The CPU kernels of one instruction set: compiled once for each, with that set's flags and SRN_ISA as its name.
#include "cpu/kernels.h"

#include "cpu/backward.h"
#include "cpu/ceiling.h"
#include "cpu/forward.h"

namespace srn {
namespace SRN_ISA {
namespace {

// Calls f(Recurrence<T, N>) for the call's dtype and number of tasks.
template <template <typename, int> class Recurrence, typename T, typename F>
auto with_tasks(int tasks, const F& f) {
  switch (tasks) {
    case 1:
      return f(static_cast<Recurrence<T, 1>*>(nullptr));
    case 2:
      return f(static_cast<Recurrence<T, 2>*>(nullptr));
    case 3:
      return f(static_cast<Recurrence<T, 3>*>(nullptr));
    default:
      static_assert(kMaxTasks == 4, "a case for every number of tasks");
      return f(static_cast<Recurrence<T, 4>*>(nullptr));
  }
}

template <template <typename, int> class Recurrence, typename F>
auto with_recurrence(const Shape& shape, const F& f) {
  switch (shape.dtype) {
    case DType::kFloat64:
      return with_tasks<Recurrence, double>(shape.tasks, f);
    case DType::kBFloat16:
      return with_tasks<Recurrence, BFloat16Bits>(shape.tasks, f);
    default:
      return with_tasks<Recurrence, float>(shape.tasks, f);
  }
}

void forward(const ForwardParams& params) {
  with_recurrence<Forward>(params.shape, [&](auto* recurrence) { recurrence->run(params); });
}

void backward(const BackwardParams& params) {
  with_recurrence<Backward>(params.shape, [&](auto* recurrence) { recurrence->run(params); });
}

size_t forward_workspace(const Shape& shape) {
  return with_recurrence<Forward>(shape, [&](auto* recurrence) { return recurrence->workspace(shape); });
}

size_t backward_workspace(const Shape& shape) {
  return with_recurrence<Backward>(shape, [&](auto* recurrence) { return recurrence->workspace(shape); });
}

bool sums_over_rows(const Shape& shape) {
  return shape.dtype == DType::kFloat32   ? kSumsOverRows<float>
         : shape.dtype == DType::kFloat64 ? kSumsOverRows<double>
                                          : kSumsOverRows<BFloat16Bits>;
}

}  // namespace

#define SRN_NAME_OF(isa) #isa
#define SRN_NAME(isa) SRN_NAME_OF(isa)

extern const CpuKernels kKernels;
const CpuKernels kKernels = {SRN_NAME(SRN_ISA),  forward,        backward,     forward_workspace,
                             backward_workspace, sums_over_rows, multiply_adds};

}  // namespace SRN_ISA
}  // namespace srn
