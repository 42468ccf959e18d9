// Between flat rows and matrices as callers keep them: rows of numbers, perhaps of another type.
#pragma once

#include "cpu/views.h"

namespace srn {
namespace SRN_ISA {

// One row of a group, as it is stored or computed with. Nearly all groups are whole, and move as whole vectors.
template <typename T, typename X = Compute<T>>
SRN_INLINE void gather_row(const T* from, int64_t valid, X* to) {
  const auto number = [](T value) {
    if constexpr (std::is_same_v<T, X>) {
      return value;
    } else {
      return widen(value);
    }
  };
  if (__builtin_expect(valid >= kUnitGroup, 1)) {
    X row[kUnitGroup];
    for (int c = 0; c < kUnitGroup; ++c) row[c] = number(from[c]);
    memcpy(to, row, sizeof(row));
  } else {
    for (int c = 0; c < kUnitGroup; ++c) to[c] = c < valid ? number(from[c]) : X{};
  }
}

// A whole group of one row, converted as vectors where the types differ.
template <typename T>
SRN_INLINE void store_row(const T* from, T* to) {
  memcpy(to, from, sizeof(T) * kUnitGroup);
}
SRN_INLINE void store_row(const float* from, BFloat16Bits* to) {
  typedef uint32_t Words __attribute__((vector_size(4 * kUnitGroup)));
  typedef uint16_t Halves __attribute__((vector_size(2 * kUnitGroup)));
  Words bits;
  memcpy(&bits, from, sizeof(bits));
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words nan = Words((bits & 0x7fffffff) > 0x7f800000);
  const Halves row = __builtin_convertvector((rounded & ~nan) | (nan & 0x7fc0), Halves);
  memcpy(to, &row, sizeof(row));
}

template <typename T>
SRN_INLINE void scatter_row(const Compute<T>* from, int64_t valid, T* to) {
  if (__builtin_expect(valid >= kUnitGroup, 1)) {
    store_row(from, to);
  } else {
    for (int c = 0; c < valid; ++c) to[c] = narrow<T>(from[c]);
  }
}

// Prefetches `columns` columns of `rows` rows that will soon be written: rows lie too far apart for the processor to do
// so by itself.
template <typename T>
void prefetch_rows(const T* from, int64_t stride, int64_t rows, int64_t columns) {
  constexpr int64_t kLine = 64 / int64_t(sizeof(T));
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = from + r * stride;
    for (int64_t c = 0; c < columns; c += kLine) __builtin_prefetch(row + c, 1, 2);
    __builtin_prefetch(row + columns - 1, 1, 2);
  }
}

// Reads kUnitGroup columns of `rows` rows; `valid` of them exist, the others are zeros. Null is all zeros.
template <typename T>
void gather(const T* from, int64_t stride, int64_t rows, int64_t valid, Compute<T>* flat) {
  using A = Compute<T>;
  if (from == nullptr) {
    for (int64_t i = 0; i < rows * kUnitGroup; ++i) flat[i] = A(0);
  } else if (std::is_same_v<T, A> && stride == kUnitGroup && valid == kUnitGroup) {
    memcpy(flat, from, sizeof(A) * rows * kUnitGroup);
  } else {
    for (int64_t r = 0; r < rows; ++r) gather_row(from + r * stride, valid, flat + r * kUnitGroup);
  }
}

// The same for all rows of a call, and zeros for the lanes of its last strip that have no row.
template <typename T>
void initial_rows(const T* from, int64_t stride, int64_t rows, int64_t valid, Compute<T>* flat) {
  gather(from, stride, rows, valid, flat);
  gather<T>(nullptr, 0, padded_rows<Compute<T>>(rows) - rows, 0, flat + rows * kUnitGroup);
}

template <typename T>
void scatter(const Compute<T>* flat, int64_t rows, int64_t valid, T* to, int64_t stride) {
  if (std::is_same_v<T, Compute<T>> && stride == kUnitGroup && valid == kUnitGroup) {
    memcpy(to, flat, sizeof(T) * rows * kUnitGroup);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) scatter_row(flat + r * kUnitGroup, valid, to + r * stride);
}

// Several blocks (gates, memories) of a part's unit groups, `columns` existing columns of each, row by row: a row's
// memory is touched once.
template <typename T>
void gather_part(const MatrixBlocks<const T>& from, int64_t rows, int64_t blocks, int64_t columns,
                 const PartRows<Compute<T>>& to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < blocks; ++b) {
      for (int64_t g = 0; g * kUnitGroup < columns; ++g) {
        gather_row(from(r, b) + g * kUnitGroup, columns - g * kUnitGroup, to(b, g, r));
      }
    }
  }
}

template <typename T>
void scatter_part(const PartRows<Compute<T>>& from, int64_t rows, int64_t blocks, int64_t columns,
                  const MatrixBlocks<T>& to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t b = 0; b < blocks; ++b) {
      for (int64_t g = 0; g * kUnitGroup < columns; ++g) {
        scatter_row(from(b, g, r), columns - g * kUnitGroup, to(r, b) + g * kUnitGroup);
      }
    }
  }
}

// Zeroes the columns past the valid ones, whatever they hold.
template <typename A>
void clear_columns(A* flat, int64_t rows, int64_t valid) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = valid; c < kUnitGroup; ++c) flat[r * kUnitGroup + c] = A(0);
  }
}

}  // namespace SRN_ISA
}  // namespace srn
