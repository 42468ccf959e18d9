// How weights are packed, and how columns and rows are shared out.
//
// A packed matrix is cut into panels of at most kTileVectors vectors of columns; a panel stores its columns side by side
// for each k, so that the inner loop of a product reads weights as one forward stream. Columns come in groups of kGroup,
// which is how hidden units are handed out; columns past the end of the last group are zeros.
#pragma once

#include <utility>

#include "cpu/numeric.h"

namespace srn {
namespace SRN_ISA {

constexpr int kGroup = 16;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
SRN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// A half-open range, and the part of `count` things that falls to a thread.
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

SRN_INLINE Range share(int64_t count, int thread, int threads) {
  return {count * thread / threads, count * (thread + 1) / threads};
}

// Widths of the panels that `vectors` vectors of columns are cut into: as even as can be, so that none is thin.
struct Panels {
  int64_t vectors, count;
  explicit Panels(int64_t v) : vectors(v), count(ceil_div(v, kTileVectors)) {}
  int64_t begin(int64_t panel) const { return vectors * panel / count; }
};

// Transposes a square of vectors in registers: log2(lanes) rounds, each swapping blocks of `step` columns between pairs.
template <typename E, int step, int... lane>
SRN_INLINE void swap_blocks(Vector<E>& a, Vector<E>& b, std::integer_sequence<int, lane...>) {
  constexpr int lanes = kLanes<E>;
#if defined(__clang__)
  const Vector<E> low = __builtin_shufflevector(a, b, ((lane & step) ? lanes + lane - step : lane)...);
  b = __builtin_shufflevector(a, b, ((lane & step) ? lanes + lane : lane + step)...);
#else
  using Mask = typename Lanes<Vector<E>>::Int;
  const Vector<E> low = __builtin_shuffle(a, b, Mask{((lane & step) ? lanes + lane - step : lane)...});
  b = __builtin_shuffle(a, b, Mask{((lane & step) ? lanes + lane : lane + step)...});
#endif
  a = low;
}

template <typename E, int step = 1>
SRN_INLINE void transpose(Vector<E> (&rows)[kLanes<E>]) {
  if constexpr (step < kLanes<E>) {
    unrolled<0, kLanes<E>>([&](auto row) SRN_INLINE_LAMBDA {
      if constexpr ((row.value & step) == 0) {
        swap_blocks<E, step>(rows[row.value], rows[row.value + step], std::make_integer_sequence<int, kLanes<E>>{});
      }
    });
    transpose<E, 2 * step>(rows);
  }
}

// Packs a block of one vector of columns, `count` of which exist, by `lanes` rows of k. Column c is stored from
// columns + c * column_stride on, k by k.
template <typename T>
SRN_INLINE void pack_square(const T* columns, int64_t column_stride, int64_t count, int64_t width, Compute<T>* out) {
  using A = Compute<T>;
  Vector<A> rows[kLanes<A>];
  for (int c = 0; c < kLanes<A>; ++c) rows[c] = c < count ? load_widened(columns + c * column_stride) : Vector<A>{};
  transpose<A>(rows);
  for (int k = 0; k < kLanes<A>; ++k) store(out + k * width, rows[k]);
}

// Packs K x (groups * kGroup) numbers. Column c of group j at row k is source(j)[k * k_stride + c * column_stride], one
// of the two strides being 1; valid(j) columns of group j exist.
template <typename T, typename Source, typename Valid>
void pack(int64_t K, int64_t groups, const Source& source, const Valid& valid, int64_t k_stride, int64_t column_stride,
          Compute<T>* packed) {
  using A = Compute<T>;
  constexpr int64_t lanes = kLanes<A>;
  const Panels panels(groups * kGroup / lanes);
  for (int64_t panel = 0; panel < panels.count; ++panel) {
    const int64_t begin = panels.begin(panel), end = panels.begin(panel + 1);
    const int64_t width = (end - begin) * lanes;
    for (int64_t v = begin; v < end; ++v) {
      const int64_t group = v * lanes / kGroup, first = v * lanes % kGroup;
      const int64_t exist = valid(group) - first;
      const int64_t count = exist < 0 ? 0 : smaller(exist, lanes);
      const T* in = source(group) + first * column_stride;
      A* out = packed + begin * lanes * K + (v - begin) * lanes;
      int64_t k = 0;
      if (k_stride == 1) {
        for (; k + lanes <= K; k += lanes) pack_square(in + k, column_stride, count, width, out + k * width);
      } else if (count == lanes) {
        for (; k < K; ++k) store(out + k * width, load_widened(in + k * k_stride));
      }
      for (; k < K; ++k) {
        for (int64_t c = 0; c < lanes; ++c) {
          out[k * width + c] = c < count ? widen(in[k * k_stride + c * column_stride]) : A(0);
        }
      }
    }
  }
}

}  // namespace SRN_ISA
}  // namespace srn
