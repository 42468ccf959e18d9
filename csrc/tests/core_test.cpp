// Calls the CPU kernels with shapes drawn at random and compares every result with plain loops in double.
//
//   srn_core_test [SHAPES [FIRST]]   the shapes numbered FIRST to FIRST + SHAPES - 1; 480 and 0 by default
//
// A shape is drawn from its number alone, so `srn_core_test 1 NUMBER` repeats one that failed. SRN_KERNELS_ISA chooses
// the instruction set.
//
// Each buffer is a separate allocation of just the size that srn.h names (memory.h); workspace and results are NaN
// beforehand. So accesses outside a buffer, results that are not written and reads before a write come to light. Each
// call is made with one, two and three threads, and then again: all must agree bit for bit.
#include <array>
#include <cfloat>
#include <cstdlib>
#include <stdexcept>

#include "cpu/kernels.h"
#include "tests/reference.h"

namespace srn {
namespace test {
namespace {

double roundoff(DType dtype) {
  return dtype == DType::kFloat64 ? DBL_EPSILON / 2 : dtype == DType::kFloat32 ? FLT_EPSILON / 2 : 0x1p-8;
}

// How far a result may be from the exact one, besides the rounding of what is stored: `count` roundings of what is
// computed, relative to the largest number of its kind. Sums are of up to 600 numbers, in recurrences of up to 9 steps.
struct Allowed {
  double unit, count;
};
constexpr double kRoundings = 32;        // of the arithmetic; measured: 19
constexpr double kOperandRoundings = 1;  // where products multiply numbers rounded to bfloat16; measured: 0.4

enum { kOutput, kLastH, kLastC, kMemories, kGates, kCells };
constexpr std::array<const char*, 6> kForwardNames = {"output", "h_n", "c_n", "memories", "gates", "cells"};
enum { kDz, kDc, kS, kDh, kM, kGradH0, kGradC0, kInput, kIh, kHh, kB, kMc, kBMc, kHr };
constexpr std::array<const char*, 14> kBackwardNames = {"dz",      "dc",      "s",          "dh",      "m",
                                                        "grad_h0", "grad_c0", "grad_input", "grad_ih", "grad_hh",
                                                        "grad_b",  "grad_mc", "grad_b_mc",  "grad_hr"};
using ForwardResults = std::array<Tensor, 6>;
using BackwardResults = std::array<Tensor, 14>;  // those that the kernels do not leave are null

// How a call is made: on how many threads, and whether with memories and with gates for a backward pass.
struct Run {
  int threads;
  bool memories, gates;
};

class CoreTest {
 public:
  explicit CoreTest(const CpuKernels& kernels) : kernels_(kernels) {}

  void test(uint64_t number) {
    const Case call(number);
    number_ = number, call_ = &call, failed_ = false;
    forward_and_backward();
    ++shapes_, failures_ += failed_;
  }

  int failures() const { return failures_; }

  void summary() const {
    printf("%s: %d shapes, %d failures; %d shared by threads, largest error %.1f of %g roundings", kernels_.isa,
           shapes_, failures_, shared_, worst_, kRoundings);
    if (worst_operand_ > 0) printf(", of bfloat16 products %.1f of %g", worst_operand_, kOperandRoundings);
    printf("\n");
  }

 private:
  void forward_and_backward() {
    const ForwardResults saved = forward({1, true, true});
    const ForwardReference expected(*call_);
    const Numbers gates = kept_gates(*call_, expected.gates);
    const Numbers* numbers[] = {&expected.output,   &expected.h_n, &expected.c_n,
                                &expected.memories, &gates,        &expected.cells};
    for (size_t i = 0; i < saved.size(); ++i) compare(kForwardNames[i], saved[i], *numbers[i], allowed(true));
    for (const Run& run : {Run{2, true, true}, Run{3, true, true}, Run{3, false, true}, Run{2, true, false},
                           Run{1, false, false}, Run{1, true, true}}) {
      compare_bits(kForwardNames, saved, forward(run), run);
    }

    const BackwardResults gradients = backward({1, true, true}, saved);
    const Numbers saved_gates = saved[kGates].numbers(call_->shape.rows, call_->gates * call_->shape.hidden);
    const BackwardReference expected_gradients(*call_, kept_gates(*call_, saved_gates, true), saved[kCells]);
    const GradientReference products(*call_, expected_gradients, saved[kOutput]);
    const Numbers* more[] = {&expected_gradients.dz,
                             &expected_gradients.dc,
                             &expected_gradients.s,
                             &expected_gradients.dh,
                             &expected_gradients.m,
                             &expected_gradients.grad_h0,
                             &expected_gradients.grad_c0,
                             &products.input,
                             &products.ih,
                             &products.hh,
                             &products.b,
                             &products.mc,
                             &products.b_mc,
                             &products.hr};
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].null()) compare(kBackwardNames[i], gradients[i], *more[i], allowed(false));
    }
    for (const Run& run : {Run{2, true, true}, Run{3, true, true}, Run{1, true, true}}) {
      compare_bits(kBackwardNames, gradients, backward(run, saved), run);
    }
  }

  Shape shape_for(const Run& run) const {
    Shape shape = call_->shape;
    shape.threads = run.threads;
    return shape;
  }

  ForwardResults forward(const Run& run) {
    Draw strides(~number_);  // the same in each call
    const Shape shape = shape_for(run);
    ForwardResults out;
    out[kOutput] = call_->rows_like(strides, shape.state);
    out[kLastH] = Tensor(shape.dtype, call_->guard, shape.batch, shape.state);
    out[kLastC] = Tensor(shape.dtype, call_->guard, shape.batch, shape.hidden);
    if (run.memories) out[kMemories] = call_->memories_like(strides);
    if (run.gates) out[kGates] = Tensor(shape.dtype, call_->guard, shape.rows, call_->gates * shape.hidden);
    if (run.gates) out[kCells] = Tensor(shape.dtype, call_->guard, shape.rows, shape.hidden);
    const size_t size = kernels_.forward_workspace(shape);
    const Memory workspace(size, call_->guard, kAlignment);
    // A larger workspace, with pieces for each thread, tells that there are several.
    if (run.threads == 2 && run.gates) shared_ += size > kernels_.forward_workspace(shape_for({1, true, true}));
    kernels_.forward(
        {{call_->pointers(), call_->h0.data(), call_->c0.data(), out[kOutput].data(), out[kOutput].row_stride(),
          out[kLastH].data(), out[kLastC].data(), out[kMemories].data(), out[kMemories].row_stride(),
          out[kMemories].block_stride(), out[kGates].data(), out[kCells].data(), call_->cell_clip},
         shape,
         call_->input.data(),
         workspace.get()});
    return out;
  }

  BackwardResults backward(const Run& run, const ForwardResults& saved) {
    const Shape shape = shape_for(run);
    BackwardResults out;
    const auto make = [&](int which, int64_t rows, int64_t columns) {
      out[size_t(which)] = Tensor(shape.dtype, call_->guard, rows, columns);
    };
    const int64_t gates = call_->gates * shape.hidden, memories = call_->memories * shape.hidden;
    if (kernels_.sums_over_rows(shape)) {
      // Whatever a caller needs: nothing, only the input's gradient, only those of the weights, with and without biases.
      if (!call_->b_ih.null()) make(kInput, shape.rows, shape.input);
      if (!call_->b_hh.null()) {
        make(kIh, gates, shape.input);
        make(kHh, gates, shape.state);
        make(kMc, shape.hidden, memories);
        if (!call_->b_mc.null()) make(kB, 1, gates), make(kBMc, 1, shape.hidden);
        if (shape.projection) make(kHr, shape.state, shape.hidden);
      }
    } else {
      make(kDz, shape.rows, gates);
      make(kDc, shape.rows, shape.hidden);
      make(kS, shape.rows, memories);
      if (shape.projection) make(kDh, shape.rows, shape.state), make(kM, shape.rows, shape.hidden);
    }
    make(kGradH0, shape.batch, shape.state);
    make(kGradC0, shape.batch, shape.hidden);
    const Memory workspace(kernels_.backward_workspace(shape), call_->guard, kAlignment);
    const Tensor &grad_output = call_->grad_output, &grad_memories = call_->grad_memories;
    kernels_.backward({{call_->pointers(), call_->c0.data(), saved[kGates].data(), saved[kCells].data(),
                        grad_output.data(), grad_output.row_stride(), call_->grad_h_n.data(), call_->grad_c_n.data(),
                        grad_memories.data(), grad_memories.row_stride(), grad_memories.block_stride(), out[kDz].data(),
                        out[kDc].data(), out[kS].data(), out[kGradH0].data(), out[kGradC0].data(), call_->cell_clip},
                       shape,
                       out[kDh].data(),
                       out[kM].data(),
                       call_->input.data(),
                       call_->h0.data(),
                       saved[kOutput].data(),
                       saved[kOutput].row_stride(),
                       out[kInput].data(),
                       out[kIh].data(),
                       out[kHh].data(),
                       out[kB].data(),
                       out[kMc].data(),
                       out[kBMc].data(),
                       out[kHr].data(),
                       workspace.get()});
    return out;
  }

  // bfloat16 is computed in float, but some instruction sets multiply it as it is, in pairs, in the forward pass.
  Allowed allowed(bool forward) const {
    const Shape& shape = call_->shape;
    if (shape.dtype != DType::kBFloat16) return {roundoff(shape.dtype), kRoundings};
    const std::string isa = kernels_.isa;
    const bool pairs = shape.input % 2 == 0 && shape.hidden % 2 == 0 && shape.state % 2 == 0;
    if (forward && pairs && (isa == "avx512bf16" || isa == "amx")) return {roundoff(shape.dtype), kOperandRoundings};
    return {roundoff(DType::kFloat32), kRoundings};
  }

  void compare(const char* name, const Tensor& result, const Numbers& expected, const Allowed& allowed) {
    const int64_t count = result.rows() * result.blocks() * result.columns();
    if (count != int64_t(expected.size())) return fail(std::string(name) + " has the wrong size");
    if (result.written() != count) fail(std::string(name) + " is written in part, or between its rows");
    double largest = 1;
    for (double number : expected) largest = std::max(largest, std::fabs(number));
    const Numbers numbers = result.numbers(result.rows(), count == 0 ? 0 : count / result.rows());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double stored = roundoff(call_->shape.dtype) * std::fabs(expected[i]);
      const double error = std::fabs(numbers[i] - expected[i]);
      const double roundings = (error - stored) / (allowed.unit * largest);
      if (!(roundings <= allowed.count)) {
        char text[160];
        snprintf(text, sizeof(text), "%s, element %d: %.9g, should be %.9g", name, int(i), numbers[i], expected[i]);
        return fail(text);
      }
      double& worst = allowed.count == kRoundings ? worst_ : worst_operand_;
      worst = std::max(worst, roundings);
    }
  }

  // Gaps between rows included: they were the same NaN before.
  template <size_t kCount>
  void compare_bits(const std::array<const char*, kCount>& names, const std::array<Tensor, kCount>& first,
                    const std::array<Tensor, kCount>& again, const Run& run) {
    for (size_t i = 0; i < first.size(); ++i) {
      if (again[i].null() || again[i].same_bits(first[i])) continue;
      fail(std::string(names[i]) + " is not what it was before, now with " + std::to_string(run.threads) +
           " threads, memories " + (run.memories ? "on" : "off") + ", gates " + (run.gates ? "on" : "off"));
    }
  }

  // Tells the first failure of a shape; later ones say little more.
  void fail(const std::string& what) {
    constexpr int kMostTold = 20;
    if (!failed_ && failures_ < kMostTold) {
      printf("shape %llu, %s: %s\n", static_cast<unsigned long long>(number_), call_->text().c_str(), what.c_str());
    }
    failed_ = true;
  }

  const CpuKernels& kernels_;
  const Case* call_ = nullptr;
  uint64_t number_ = 0;
  bool failed_ = false;
  int shapes_ = 0, failures_ = 0, shared_ = 0;
  double worst_ = 0, worst_operand_ = 0;
};

int run(uint64_t count, uint64_t first) {
  CoreTest test(cpu_kernels());
  for (uint64_t number = first; number < first + count; ++number) test.test(number);
  test.summary();
  return test.failures() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace test
}  // namespace srn

int main(int argc, char** argv) {
  constexpr int kNotOnThisProcessor = 77;  // ctest's "skipped"
  try {
    return srn::test::run(argc > 1 ? strtoull(argv[1], nullptr, 10) : 480,
                          argc > 2 ? strtoull(argv[2], nullptr, 10) : 0);
  } catch (const std::runtime_error& error) {
    fprintf(stderr, "%s\n", error.what());
    return kNotOnThisProcessor;
  }
}
