// Between flat rows and matrices as callers keep them: rows of numbers, in another type perhaps.
#pragma once

#include "cpu/views.h"

namespace srn {
namespace SRN_ISA {

// One row of a group, as it is stored or as it is computed with. Whole groups, nearly all, go in whole vectors.
template <typename T, typename X = Compute<T>>
SRN_INLINE void gather_row(const T* from, int64_t valid, X* to) {
  const auto number = [](T value) {
    if constexpr (std::is_same_v<T, X>) {
      return value;
    } else {
      return widen(value);
    }
  };
  if (__builtin_expect(valid >= kGroup, 1)) {
    X row[kGroup];
    for (int c = 0; c < kGroup; ++c) row[c] = number(from[c]);
    memcpy(to, row, sizeof(row));
  } else {
    for (int c = 0; c < kGroup; ++c) to[c] = c < valid ? number(from[c]) : X{};
  }
}

template <typename T>
SRN_INLINE void scatter_row(const Compute<T>* from, int64_t valid, T* to) {
  if (__builtin_expect(valid >= kGroup, 1)) {
    T row[kGroup];
    for (int c = 0; c < kGroup; ++c) row[c] = narrow<T>(from[c]);
    memcpy(to, row, sizeof(row));
  } else {
    for (int c = 0; c < valid; ++c) to[c] = narrow<T>(from[c]);
  }
}

// Asks for `columns` columns of `rows` rows that will soon be written: rows lie too far apart for the processor to ask
// by itself.
template <typename T>
void prefetch_rows(const T* from, int64_t stride, int64_t rows, int64_t columns) {
  constexpr int64_t kLine = 64 / int64_t(sizeof(T));
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = from + r * stride;
    for (int64_t c = 0; c < columns; c += kLine) __builtin_prefetch(row + c, 1, 2);
    __builtin_prefetch(row + columns - 1, 1, 2);
  }
}

// Reads kGroup columns of `rows` rows, of which `valid` columns exist; the others are zeros. Null is all zeros.
template <typename T>
void gather(const T* from, int64_t stride, int64_t rows, int64_t valid, Compute<T>* flat) {
  using A = Compute<T>;
  if (from == nullptr) {
    for (int64_t i = 0; i < rows * kGroup; ++i) flat[i] = A(0);
  } else if (std::is_same_v<T, A> && stride == kGroup && valid == kGroup) {
    memcpy(flat, from, sizeof(A) * rows * kGroup);
  } else {
    for (int64_t r = 0; r < rows; ++r) gather_row(from + r * stride, valid, flat + r * kGroup);
  }
}

// The same for all rows of a call, and zeros for the lanes that its last strip may have too many.
template <typename T>
void initial_rows(const T* from, int64_t stride, int64_t rows, int64_t valid, Compute<T>* flat) {
  gather(from, stride, rows, valid, flat);
  gather<T>(nullptr, 0, padded_rows<Compute<T>>(rows) - rows, 0, flat + rows * kGroup);
}

template <typename T>
void scatter(const Compute<T>* flat, int64_t rows, int64_t valid, T* to, int64_t stride) {
  if (std::is_same_v<T, Compute<T>> && stride == kGroup && valid == kGroup) {
    memcpy(to, flat, sizeof(T) * rows * kGroup);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) scatter_row(flat + r * kGroup, valid, to + r * stride);
}

// Several blocks of columns (gates, memories) of a part's unit groups, `columns` of each existing, row by row: a row's
// memory is touched once.
template <typename T>
void gather_part(const MatrixBlocks<const T>& from, int64_t rows, int64_t blocks, int64_t columns,
                 const PartRows<Compute<T>>& to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < blocks; ++b) {
      for (int64_t g = 0; g * kGroup < columns; ++g) {
        gather_row(from(r, b) + g * kGroup, columns - g * kGroup, to(b, g, r));
      }
    }
  }
}

template <typename T>
void scatter_part(const PartRows<Compute<T>>& from, int64_t rows, int64_t blocks, int64_t columns,
                  const MatrixBlocks<T>& to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < blocks; ++b) {
      for (int64_t g = 0; g * kGroup < columns; ++g) {
        scatter_row(from(b, g, r), columns - g * kGroup, to(r, b) + g * kGroup);
      }
    }
  }
}

// Zeroes the columns past the valid ones, whatever they hold.
template <typename A>
void clear_columns(A* flat, int64_t rows, int64_t valid) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = valid; c < kGroup; ++c) flat[r * kGroup + c] = A(0);
  }
}

}  // namespace SRN_ISA
}  // namespace srn
