// One buffer of a call, in separate memory that ends where the contract says that the buffer ends.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "srn.h"
#include "tests/memory.h"

namespace srn {
namespace test {

// float16 as a number, by its definition.
inline double half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
  const double size = exponent == 31  ? (mantissa == 0 ? HUGE_VAL : std::nan(""))
                      : exponent == 0 ? std::ldexp(mantissa, -24)
                                      : std::ldexp(mantissa + 1024, exponent - 25);
  return bits >> 15 ? -size : size;
}

// The nearest float16, ties to even.
inline uint16_t half_of(double number) {
  const double size = std::fabs(number);
  const int exponent = std::max(std::ilogb(size), -14);
  const double mantissa = std::nearbyint(std::ldexp(size, 10 - exponent));  // 1024 where it is normal
  const int bits = int(mantissa) + (exponent + 14) * 1024;
  return uint16_t(std::min(bits, 31 << 10) | (std::signbit(number) ? 0x8000 : 0));
}

// bfloat16: the upper half of a float, rounded to nearest, ties to even.
inline double load(DType dtype, const unsigned char* from) {
  if (dtype == DType::kFloat64) {
    double value;
    memcpy(&value, from, sizeof(value));
    return value;
  }
  uint32_t bits = 0;
  if (dtype == DType::kFloat16) {
    uint16_t half_bits;
    memcpy(&half_bits, from, sizeof(half_bits));
    return half(half_bits);
  }
  if (dtype == DType::kFloat32) {
    memcpy(&bits, from, 4);
  } else {
    uint16_t upper;
    memcpy(&upper, from, sizeof(upper));
    bits = uint32_t(upper) << 16;
  }
  float value;
  memcpy(&value, &bits, sizeof(value));
  return double(value);
}

inline void store(DType dtype, unsigned char* to, double number) {
  if (dtype == DType::kFloat64) {
    memcpy(to, &number, sizeof(number));
    return;
  }
  if (dtype == DType::kFloat16) {
    const uint16_t half_bits = half_of(number);
    memcpy(to, &half_bits, sizeof(half_bits));
    return;
  }
  const float value = float(number);
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  if (dtype == DType::kFloat32) {
    memcpy(to, &bits, sizeof(bits));
  } else {
    const uint16_t upper = uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    memcpy(to, &upper, sizeof(upper));
  }
}

inline int64_t size_of(DType dtype) { return dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 2; }

// (rows, blocks, columns), dense in the last dimension. Every element starts as NaN, including gaps between rows.
class Tensor {
 public:
  Tensor() = default;  // a null buffer, which reads as zeros

  Tensor(DType dtype, Guard guard, int64_t rows, int64_t columns)
      : Tensor(dtype, guard, rows, 1, columns, columns, columns) {}

  Tensor(DType dtype, Guard guard, int64_t rows, int64_t blocks, int64_t columns, int64_t row_stride,
         int64_t block_stride)
      : dtype_(dtype),
        rows_(rows),
        blocks_(blocks),
        columns_(columns),
        row_stride_(row_stride),
        block_stride_(block_stride) {
    const bool empty = rows == 0 || blocks == 0 || columns == 0;
    count_ = empty ? 0 : (rows - 1) * row_stride + (blocks - 1) * block_stride + columns;
    memory_ = Memory(size_t(bytes()), guard);
  }

  bool null() const { return memory_.get() == nullptr; }
  int64_t rows() const { return rows_; }
  int64_t blocks() const { return blocks_; }
  int64_t columns() const { return columns_; }
  int64_t row_stride() const { return row_stride_; }
  int64_t block_stride() const { return block_stride_; }
  void* data() { return memory_.get(); }
  const void* data() const { return memory_.get(); }

  // All elements, dense; (rows, columns) zeros for a null buffer.
  std::vector<double> numbers(int64_t rows, int64_t columns) const {
    std::vector<double> all(size_t(rows * columns), 0);
    if (null()) return all;
    for (int64_t i = 0; i < rows * columns; ++i) {
      all[size_t(i)] = load(dtype_, address(index(i / columns, i % columns / columns_, i % columns_)));
    }
    return all;
  }

  void set(int64_t row, int64_t block, int64_t column, double value) {
    store(dtype_, address(index(row, block, column)), value);
  }

  bool same_bits(const Tensor& other) const {
    return null() == other.null() && count_ == other.count_ &&
           (null() || memcmp(memory_.get(), other.memory_.get(), size_t(bytes())) == 0);
  }

  // How many elements are no longer the NaN that they started as.
  int64_t written() const {
    int64_t count = 0;
    for (int64_t i = 0; i < count_; ++i) {
      const unsigned char* element = address(i);
      count += std::any_of(element, element + size_of(dtype_), [](unsigned char byte) { return byte != kUnwritten; });
    }
    return count;
  }

 private:
  int64_t bytes() const { return count_ * size_of(dtype_); }
  int64_t index(int64_t row, int64_t block, int64_t column) const {
    return row * row_stride_ + block * block_stride_ + column;
  }
  unsigned char* address(int64_t i) const { return memory_.get() + i * size_of(dtype_); }

  DType dtype_ = DType::kFloat32;
  int64_t rows_ = 0, blocks_ = 0, columns_ = 0, row_stride_ = 0, block_stride_ = 0, count_ = 0;
  Memory memory_;
};

}  // namespace test
}  // namespace srn
