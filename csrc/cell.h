// The pointwise mathematics of one hidden unit, forward and backward: the only copy, for host and device.
//
// Everything is branch-free code, templated on the number of tasks and on the arithmetic type: a GPU thread runs it
// with a scalar for one hidden unit, the host with a vector of units (GCC's vector extension). Equation numbers are the
// paper's.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define SRN_INLINE __host__ __device__ __forceinline__
#define SRN_CONSTEXPR __host__ __device__ constexpr
#define SRN_INLINE_LAMBDA
#else
#define SRN_INLINE inline __attribute__((always_inline))
#define SRN_CONSTEXPR constexpr
#define SRN_INLINE_LAMBDA __attribute__((always_inline))
#endif

// Host code is compiled once per instruction set: each copy lives in its own namespace, so that the linker can never
// merge a function compiled for one processor with its twin for another.
#if !defined(SRN_ISA)
#define SRN_ISA portable
#endif

namespace srn {
namespace SRN_ISA {

// -- elementary functions ---------------------------------------------------------------------------------------------

template <typename To, typename From>
SRN_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "a change of type, not of size");
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

// The element type of a vector of units, and the unsigned integers of the same width and count; a scalar is its own
// element. Unsigned, because the bits of a NaN may overflow.
template <typename A>
struct Lanes;
template <>
struct Lanes<float> {
  using Element = float;
  using Int = uint32_t;
};
template <>
struct Lanes<double> {
  using Element = double;
  using Int = uint64_t;
};
template <typename A>
using Element = typename Lanes<A>::Element;

SRN_CONSTEXPR double factorial(int n) { return n < 2 ? 1.0 : n * factorial(n - 1); }

template <typename E>
struct ExpTraits;

template <>
struct ExpTraits<float> {
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  static constexpr int kMantissa = 23;
  static constexpr int kBias = 127;
  static constexpr float kLn2High = 0.693359375f;  // few enough bits that n * kLn2High is exact
  static constexpr float kLn2Low = -2.12194440e-4f;
  static constexpr float kLimit = 88.0f;  // round(kLimit / ln 2) = 127: the bits of 2^-n are 0, as they should be
  static constexpr int kTerms = 6;
  // Of (e^r - 1 - r) / r^2, minimising the largest relative error of e^r - 1 over |r| <= ln 2 / 2: 2^-26.
  static SRN_CONSTEXPR double coefficient(int term) {
    return term == 2   ? 0x1.fffffep-2
           : term == 3 ? 0x1.5554aep-3
           : term == 4 ? 0x1.555676p-5
           : term == 5 ? 0x1.1228e6p-7
                       : 0x1.6bebcep-10;
  }
};

template <>
struct ExpTraits<double> {
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int kMantissa = 52;
  static constexpr int kBias = 1023;
  static constexpr double kLn2High = 6.93147180369123816490e-01;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kLimit = 709.0;  // round(kLimit / ln 2) = 1023
  static constexpr int kTerms = 14;
  static SRN_CONSTEXPR double coefficient(int term) { return 1.0 / factorial(term); }  // Taylor's: to half a unit
};

// e^-a - 1 = scale * p + (scale - 1) with scale = 2^-n, |n ln 2 - a| <= ln 2 / 2 and p = e^(n ln 2 - a) - 1.
template <typename A>
struct Expm1Parts {
  A scale, p;
};

// The polynomial by Horner's rule, unrolled at compile time.
template <typename A, int term, int last>
SRN_INLINE A exp_series(A r) {
  const Element<A> coefficient = Element<A>(ExpTraits<Element<A>>::coefficient(term));
  if constexpr (term == last) {
    return A{} + coefficient;
  } else {
    return coefficient + r * exp_series<A, term + 1, last>(r);
  }
}

// a is in [0, kLimit], and kLimit has scale 0; or a is NaN, and then so is p.
template <typename A>
SRN_INLINE Expm1Parts<A> expm1_of_minus(A a) {
  using E = Element<A>;
  using Traits = ExpTraits<E>;
  using Int = typename Lanes<A>::Int;
  const A shifted = Traits::kRound - a * E(1.44269504088896340736);
  const A n = shifted - Traits::kRound;
  const A r = (-a - n * Traits::kLn2High) - n * Traits::kLn2Low;
  const A p = r + r * r * exp_series<A, 2, Traits::kTerms>(r);
  const Int exponent = bits_as<Int>(shifted) - (bits_as<typename Lanes<E>::Int>(Traits::kRound) - Traits::kBias);
  return {bits_as<A>(Int(exponent << Traits::kMantissa)), p};
}

template <typename E>
SRN_INLINE constexpr typename Lanes<E>::Int sign_bit() {
  return typename Lanes<E>::Int(1) << (sizeof(E) * 8 - 1);
}

// |x|, but at most `limit`. NaN, which compares false, passes through.
template <typename A>
SRN_INLINE A magnitude(A x, Element<A> limit) {
  using Int = typename Lanes<A>::Int;
  const A a = bits_as<A>(Int(bits_as<Int>(x) & ~sign_bit<Element<A>>()));
  const A most = A{} + limit;
  return most < a ? most : a;
}

// a / b for b in [1, 2]. Specialised where the processor has something better than division.
template <typename A>
struct Quotient {
  static SRN_INLINE A of(A a, A b) { return a / b; }
};

// e / (1 + e) with e = e^-|x|, so that nothing overflows; for x > 0, 1 minus that. Exact to 3 units in the last place
// where the result is normal, and 0 elsewhere.
template <typename A>
SRN_INLINE A sigmoid(A x) {
  using E = Element<A>;
  const Expm1Parts<A> parts = expm1_of_minus<A>(magnitude(x, ExpTraits<E>::kLimit));
  const A e = parts.scale + parts.scale * parts.p;
  const A q = Quotient<A>::of(e, E(1) + e);
  return x > A{} ? E(1) - q : q;
}

// (1 - e) / (1 + e) with e = e^-2|x|, with the sign of x; 1 - 2e / (1 + e) where that is large. Computed from e - 1
// itself, so it is exact near zero too, to 3 units in the last place.
template <typename A>
SRN_INLINE A tanh(A x) {
  using E = Element<A>;
  using Int = typename Lanes<A>::Int;
  const E end = sizeof(E) == 4 ? E(10) : E(20);  // tanh rounds to 1 well before
  const A a = magnitude(x, end);
  const Expm1Parts<A> parts = expm1_of_minus<A>(a + a);
  const A scaled = parts.scale * parts.p, minus_m = (E(1) - parts.scale) - scaled, e = parts.scale + scaled;
  const A half = A{} + E(0.5);
  const A q = Quotient<A>::of(a > half ? e + e : minus_m, E(1) + e);
  const A size = a > half ? E(1) - q : q;
  return bits_as<A>(Int(bits_as<Int>(size) | (bits_as<Int>(x) & sign_bit<E>())));
}

// A cell's functions, unless it is given others.
struct Exact {
  template <typename A>
  static SRN_INLINE A sigmoid(A x) {
    return SRN_ISA::sigmoid(x);
  }
  template <typename A>
  static SRN_INLINE A tanh(A x) {
    return SRN_ISA::tanh(x);
  }
};

// -- subsets of tasks -------------------------------------------------------------------------------------------------

SRN_CONSTEXPR int gate_blocks(int tasks) { return 3 + 2 * tasks; }
SRN_CONSTEXPR int memory_count(int tasks) { return (1 << tasks) - 1; }

enum Gate { kForget = 0, kOutput = 1, kCandidate = 2, kFirstMaster = 3 };

SRN_CONSTEXPR int bit_count(int mask) { return mask == 0 ? 0 : (mask & 1) + bit_count(mask >> 1); }

// Whether subset a (bit i: task i) comes before b: the smaller comes first; of equal sizes, the one that holds the
// lowest task in which they differ, which is lexicographic order.
SRN_CONSTEXPR bool comes_before(int a, int b) {
  return bit_count(a) != bit_count(b) ? bit_count(a) < bit_count(b) : (a & ((a ^ b) & -(a ^ b))) != 0;
}

// The subset behind memory `index` of `tasks` tasks: the one preceded by exactly `index` others.
SRN_CONSTEXPR int subset_of(int tasks, int index) {
  for (int mask = 1; mask < (1 << tasks); ++mask) {
    int before = 0;
    for (int other = 1; other < (1 << tasks); ++other) before += other != mask && comes_before(other, mask);
    if (before == index) return mask;
  }
  return 0;
}

// -- the cell ---------------------------------------------------------------------------------------------------------

// Compile-time loop: calls f(std::integral_constant-like Index<i>) for i = 0..count-1, so that masks are constants.
template <int i>
struct Index {
  static constexpr int value = i;
};

template <int i, int count, typename F>
SRN_INLINE void unrolled(const F& f) {
  if constexpr (i < count) {
    f(Index<i>{});
    unrolled<i + 1, count>(f);
  }
}

template <typename A, int N, typename Functions = Exact>
struct Cell {
  static constexpr int G = gate_blocks(N);
  static constexpr int M = memory_count(N);
  static constexpr Element<A> kOne = 1;

  // Eq. 1, 3: activates the gates.
  static SRN_INLINE void activate(const A (&z)[G], A (&gate)[G]) {
    unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA {
      constexpr int i = decltype(g)::value;
      gate[i] = i == kCandidate ? Functions::tanh(z[i]) : Functions::sigmoid(z[i]);
    });
  }

  // Eq. 4, 5: the gate of memory m from the master gates; inclusive for several tasks, exclusive for one.
  template <int m, int skip = -1>
  static SRN_INLINE A mask_gate(const A* master) {
    constexpr int mask = subset_of(N, m);
    A product = A{} + kOne;
    unrolled<0, N>([&](auto task) SRN_INLINE_LAMBDA {
      constexpr int i = decltype(task)::value;
      if constexpr (i != skip) {
        if constexpr ((mask >> i) & 1) {
          product *= master[i];
        } else if constexpr (bit_count(mask) == 1) {
          product *= kOne - master[i];
        }
      }
    });
    return product;
  }

  // Eq. 2, 6, 7: the memories before tanh.
  static SRN_INLINE void memories(const A (&gate)[G], A c_prev, A (&s)[M]) {
    const A history = gate[kForget] * c_prev;
    unrolled<0, M>([&](auto memory) SRN_INLINE_LAMBDA {
      constexpr int m = decltype(memory)::value;
      s[m] = mask_gate<m>(gate + kFirstMaster + N) * history + mask_gate<m>(gate + kFirstMaster) * gate[kCandidate];
    });
  }

  // What Eq. 8 adds up, held to +-clip. With NaN for a clip no comparison is true, and nothing is held.
  static SRN_INLINE A clipped(A sum, Element<A> clip) {
    const A high = A{} + clip, low = A{} - clip, held = sum > high ? high : sum;
    return held < low ? low : held;
  }

  // Eq. 9.
  static SRN_INLINE A hidden(A output_gate, A c) { return output_gate * Functions::tanh(c); }

  // Backward of Eq. 9: from the gradient of h (before a projection) and of c, the whole gradient of c, or of the sum that
  // was clipped to it: none, where it is at its bound.
  static SRN_INLINE A cell_gradient(A output_gate, A c, A dh, A dc, Element<A> clip) {
    const A t = Functions::tanh(c), high = A{} + clip, low = A{} - clip;
    const A whole = dc + dh * output_gate * (kOne - t * t);
    const A below = c >= high ? A{} : whole;
    return c <= low ? A{} : below;
  }

  // Backward of Eq. 1-7: from the gradients of the memories, ds, to those of the gates before activation, dz. `dh` and
  // `c`, the gradient of h and the new cell state, are for the output gate. Returns the gradient of c_prev.
  static SRN_INLINE A backward(const A (&gate)[G], A c_prev, A c, A dh, const A (&ds)[M], A (&dz)[G]) {
    const A history = gate[kForget] * c_prev;
    A d_candidate{}, d_history{};
    A d_master[2][N] = {};
    unrolled<0, M>([&](auto memory) SRN_INLINE_LAMBDA {
      constexpr int m = decltype(memory)::value;
      constexpr int mask = subset_of(N, m);
      d_candidate += mask_gate<m>(gate + kFirstMaster) * ds[m];
      d_history += mask_gate<m>(gate + kFirstMaster + N) * ds[m];
      unrolled<0, N>([&](auto task) SRN_INLINE_LAMBDA {
        constexpr int i = decltype(task)::value;
        if constexpr ((mask >> i) & 1) {
          d_master[0][i] += mask_gate<m, i>(gate + kFirstMaster) * ds[m];
          d_master[1][i] += mask_gate<m, i>(gate + kFirstMaster + N) * ds[m];
        } else if constexpr (bit_count(mask) == 1) {
          d_master[0][i] -= mask_gate<m, i>(gate + kFirstMaster) * ds[m];
          d_master[1][i] -= mask_gate<m, i>(gate + kFirstMaster + N) * ds[m];
        }
      });
    });
    dz[kForget] = d_history * c_prev * slope(gate[kForget]);
    dz[kOutput] = dh * Functions::tanh(c) * slope(gate[kOutput]);
    dz[kCandidate] = d_candidate * (kOne - gate[kCandidate] * gate[kCandidate]);
    unrolled<0, N>([&](auto task) SRN_INLINE_LAMBDA {
      constexpr int i = decltype(task)::value;
      dz[kFirstMaster + i] = d_master[0][i] * gate[kCandidate] * slope(gate[kFirstMaster + i]);
      dz[kFirstMaster + N + i] = d_master[1][i] * history * slope(gate[kFirstMaster + N + i]);
    });
    return d_history * gate[kForget];
  }

  // Derivative of the logistic function where its value is y.
  static SRN_INLINE A slope(A y) { return y * (kOne - y); }
};

}  // namespace SRN_ISA
}  // namespace srn
