// Aligned pieces of a call's workspace.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/lanes.h"
#include "srn.h"

namespace srn {
namespace SRN_ISA {

// Hands out pieces one after the other; with a null base it only measures, so one plan serves both.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

  template <typename X>
  X* take(int64_t count) {
    X* piece = base_ == nullptr ? nullptr : reinterpret_cast<X*>(base_ + used_);
    used_ += size_t(round_up(count * int64_t(sizeof(X)), int64_t(kAlignment)));
    return piece;
  }

  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

}  // namespace SRN_ISA
}  // namespace srn
