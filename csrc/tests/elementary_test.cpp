// How exact the kernels' tanh and logistic function are on one instruction set, vectors and scalars.
//
//   srn_elementary_test_<isa> [STRIDE]   every STRIDE-th float32, by default a prime; 1 is all 2^32, in some minutes
//
// Also a million doubles and, in both types, NaN, infinities, zeros and their neighbours. Errors are in units in the
// last place (ulp) of the result. Status 77 says that this processor does not have the instruction set.
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "cpu/numeric.h"
#include "tests/draw.h"

namespace srn {
namespace test {
namespace {

namespace isa = srn::SRN_ISA;
using isa::bits_as;
using isa::sign_bit;

constexpr double kMostUlp = 3;
constexpr uint64_t kStride = 127;
constexpr int kDoubles = 1 << 20;

template <typename E>
using Limits = std::numeric_limits<E>;

// What is exact enough to compare with.
template <typename E>
using Wider = std::conditional_t<sizeof(E) == 4, double, long double>;

template <typename W>
W exact_sigmoid(W x) {
  return 1 / (1 + std::exp(-x));
}

template <typename E>
double ulp_error(E result, Wider<E> exact) {
  int exponent;
  std::frexp(exact, &exponent);  // |exact| in [2^(exponent - 1), 2^exponent)
  if (exact == 0 || exponent < Limits<E>::min_exponent) exponent = Limits<E>::min_exponent;  // of subnormal numbers
  return double(std::ldexp(std::fabs(Wider<E>(result) - exact), Limits<E>::digits - exponent));
}

// The largest error of a function so far, and whether every result was within bounds.
template <typename E>
class Record {
 public:
  explicit Record(const char* name) : name_(name) {}

  // A result that should be `exact`; where that is less than any normal number, any result from 0 to the smallest
  // normal number will do, except for tanh near zero.
  void add(E x, E result, Wider<E> exact, bool exact_when_subnormal) {
    ++count_;
    if (std::isnan(x)) {
      if (!std::isnan(result)) fail(x, result, exact);
      return;
    }
    if (!exact_when_subnormal && exact < Limits<E>::min()) {
      if (!(result >= 0 && result <= Limits<E>::min())) fail(x, result, exact);
      return;
    }
    const double error = ulp_error(result, exact);
    if (!(error <= kMostUlp) || std::fabs(result) > 1) fail(x, result, exact);
    if (error > largest_) largest_ = error, at_ = x;
  }

  void fail(E x, E result, Wider<E> exact) {
    if (failures_++ < 10) {
      printf("%s(%a) is %a, should be %a\n", name_, double(x), double(result), double(exact));
    }
  }

  bool report() const {
    printf("%-24s %10" PRId64 " numbers, %" PRId64 " failures, largest error %.3f ulp at %.9g\n", name_, count_,
           failures_, largest_, double(at_));
    return failures_ == 0;
  }

 private:
  const char* name_;
  int64_t count_ = 0, failures_ = 0;
  double largest_ = 0;
  E at_ = 0;
};

// Both functions of one type, of vectors and of scalars.
template <typename E>
class Functions {
  using V = isa::Vector<E>;
  using W = Wider<E>;
  static constexpr int lanes = isa::kLanes<E>;

 public:
  void add(E x) {
    waiting_[filled_++] = x;
    if (filled_ == lanes) flush();
  }

  bool report() {
    while (filled_ > 0) add(E(0));
    const bool fine[] = {vector_tanh_.report(), vector_sigmoid_.report(), scalar_tanh_.report(),
                         scalar_sigmoid_.report()};
    return fine[0] && fine[1] && fine[2] && fine[3];
  }

 private:
  void flush() {
    filled_ = 0;
    const V x = isa::load(waiting_), t = isa::tanh(x), s = isa::sigmoid(x);
    for (int i = 0; i < lanes; ++i) {
      const W tanh = std::tanh(W(x[i])), sigmoid = exact_sigmoid(W(x[i]));
      add_tanh(vector_tanh_, x[i], t[i], tanh);
      add_tanh(scalar_tanh_, x[i], isa::tanh<E>(x[i]), tanh);
      vector_sigmoid_.add(x[i], s[i], sigmoid, false);
      scalar_sigmoid_.add(x[i], isa::sigmoid<E>(x[i]), sigmoid, false);
    }
  }

  static void add_tanh(Record<E>& record, E x, E result, W exact) {
    record.add(x, result, exact, true);
    if (!std::isnan(x) && std::signbit(x) != std::signbit(result)) record.fail(x, result, exact);
  }

  static constexpr bool kFloat = sizeof(E) == 4;
  Record<E> vector_tanh_{kFloat ? "tanh, float vector" : "tanh, double vector"};
  Record<E> vector_sigmoid_{kFloat ? "sigmoid, float vector" : "sigmoid, double vector"};
  Record<E> scalar_tanh_{kFloat ? "tanh, float" : "tanh, double"};
  Record<E> scalar_sigmoid_{kFloat ? "sigmoid, float" : "sigmoid, double"};
  E waiting_[lanes];
  int filled_ = 0;
};

// Zeros, subnormal numbers, the ends of the range, infinities and NaN of every kind, of both signs.
template <typename E>
void add_special(Draw& draw, Functions<E>& functions) {
  using Int = typename isa::Lanes<E>::Int;
  const auto both = [&](Int bits) {
    functions.add(bits_as<E>(bits));
    functions.add(bits_as<E>(Int(bits | sign_bit<E>())));
  };
  const Int smallest_normal = bits_as<Int>(Limits<E>::min()), infinity = bits_as<Int>(Limits<E>::infinity());
  for (Int i = 0; i < 1000; ++i) {
    both(i);
    both(smallest_normal - 500 + i);
    both(Int(draw.bits()) % smallest_normal);
    both(infinity - i);
    both(infinity + i);
    both(infinity | Int(draw.bits()));  // NaN, except one in millions
  }
}

bool test_floats(uint64_t stride) {
  Functions<float> functions;
  Draw draw(1);
  add_special(draw, functions);
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride) functions.add(bits_as<float>(uint32_t(bits)));
  return functions.report();
}

bool test_doubles() {
  Functions<double> functions;
  Draw draw(2);
  add_special(draw, functions);
  for (int i = 0; i < kDoubles; i += 4) {
    functions.add(draw.uniform(1));
    functions.add(draw.uniform(25));   // where tanh reaches 1
    functions.add(draw.uniform(760));  // where sigmoid reaches 0
    functions.add(bits_as<double>(draw.bits()));
  }
  return functions.report();
}

// Asked before anything that may use the instruction set.
bool usable() {
#if defined(__AVX512BF16__)
  if (!__builtin_cpu_supports("avx512bf16")) return false;
#endif
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return true;
#endif
}

}  // namespace
}  // namespace test
}  // namespace srn

int main(int argc, char** argv) {
  constexpr int kNotOnThisProcessor = 77;  // ctest's "skipped"
  if (!srn::test::usable()) {
    fprintf(stderr, "this processor does not have the instruction set\n");
    return kNotOnThisProcessor;
  }
  const uint64_t stride = argc > 1 ? strtoull(argv[1], nullptr, 10) : srn::test::kStride;
  if (stride == 0) {
    fprintf(stderr, "the stride should be a whole number, 1 or more; it is \"%s\"\n", argv[1]);
    return EXIT_FAILURE;
  }
  const bool floats = srn::test::test_floats(stride), doubles = srn::test::test_doubles();
  return floats && doubles ? EXIT_SUCCESS : EXIT_FAILURE;
}
