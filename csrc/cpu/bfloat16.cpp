// The CPU kernels of an instruction set with products of bfloat16: compiled once for each, as kernels.cpp is.
// Everything but bfloat16's forward pass is AVX-512's.
#include <type_traits>

#include "cpu/ceiling.h"
#include "cpu/forward.h"
#include "cpu/kernels.h"

namespace srn {
namespace avx512 {
extern const CpuKernels kKernels;
}

namespace SRN_ISA {
namespace {

static_assert(std::is_same_v<Operand<BFloat16Bits>, BFloat16Bits>,
              "compiled with the flags of such an instruction set");

// Products take pairs of weights, so rows with an odd number of them are left to AVX-512.
bool applies(const Shape& shape) {
  return shape.dtype == DType::kBFloat16 && shape.input % 2 == 0 && shape.state % 2 == 0 && shape.hidden % 2 == 0;
}

template <typename F>
auto with_tasks(int tasks, const F& f) {
  switch (tasks) {
    case 1:
      return f(static_cast<Forward<BFloat16Bits, 1>*>(nullptr));
    case 2:
      return f(static_cast<Forward<BFloat16Bits, 2>*>(nullptr));
    case 3:
      return f(static_cast<Forward<BFloat16Bits, 3>*>(nullptr));
    default:
      static_assert(kMaxTasks == 4, "a case for every number of tasks");
      return f(static_cast<Forward<BFloat16Bits, 4>*>(nullptr));
  }
}

void forward(const ForwardParams& params) {
  if (!applies(params.shape)) return avx512::kKernels.forward(params);
  with_tasks(params.shape.tasks, [&](auto* recurrence) { recurrence->run(params); });
}

size_t forward_workspace(const Shape& shape) {
  if (!applies(shape)) return avx512::kKernels.forward_workspace(shape);
  return with_tasks(shape.tasks, [&](auto* recurrence) { return recurrence->workspace(shape); });
}

void backward(const BackwardParams& params) { avx512::kKernels.backward(params); }

size_t backward_workspace(const Shape& shape) { return avx512::kKernels.backward_workspace(shape); }

bool sums_over_rows(const Shape& shape) { return avx512::kKernels.sums_over_rows(shape); }

}  // namespace

#define SRN_NAME_OF(isa) #isa
#define SRN_NAME(isa) SRN_NAME_OF(isa)

extern const CpuKernels kKernels;
const CpuKernels kKernels = {SRN_NAME(SRN_ISA),  forward,        backward,     forward_workspace,
                             backward_workspace, sums_over_rows, multiply_adds};

}  // namespace SRN_ISA
}  // namespace srn
