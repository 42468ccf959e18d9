// Random numbers that are the same with every compiler and library, unlike those of <random>'s distributions.
#pragma once

#include <cstdint>
#include <random>

namespace srn {
namespace test {

class Draw {
 public:
  explicit Draw(uint64_t seed) : bits_(seed) {}

  uint64_t bits() { return bits_(); }
  int64_t between(int64_t least, int64_t most) { return least + int64_t(bits() % uint64_t(most - least + 1)); }
  bool one_in(int64_t count) { return between(1, count) == 1; }
  double uniform(double bound) { return (double(bits() >> 11) * 0x1p-52 - 1) * bound; }  // in [-bound, bound)

 private:
  std::mt19937_64 bits_;
};

}  // namespace test
}  // namespace srn
