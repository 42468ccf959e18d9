// How the blocks of a team leave numbers for each other in global memory: a mailbox whose words tell themselves whether
// they are there.
//
// The lowest bit of a float's mantissa is its *phase*. A slot is used in every other exchange, and its phase changes from
// use to use, so a reader that waits for the present phase cannot take what was there before. No flag, no fence, no
// order between words: each is one relaxed load or store of 32 bits. What is lost is the last bit of a sum, 2^-23 of it.
//
// Nothing is overwritten too early. A member that writes exchange k has read exchange k - 1 (of either channel, the one
// last used) from every member, and each of them had read exchange k - 2 from its slot before it wrote that.
#pragma once

#include "cuda/block.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using Word = uint32_t;

// NaN stays NaN, as arithmetic only makes quiet ones, and infinity is itself again after `decode`.
SRN_INLINE Word encode(float value, Word phase) { return (bits_as<Word>(value) & ~Word(1)) | phase; }
SRN_INLINE float decode(Word word) { return bits_as<float>(word & ~Word(1)); }

// Exchanges of one kind so far. Memory starts with every bit set: no exchange has phase 1 first.
class Channel {
 public:
  SRN_BODY int slot() const { return count_ & 1; }
  SRN_BODY Word phase() const { return count_ >> 1 & 1; }
  SRN_BODY void next() { ++count_; }

 private:
  uint32_t count_ = 0;
};

// Reads quads of words, `stride` words from one to the next, until all are of this phase.
template <int kCount, typename Block>
SRN_BODY void await(const Block& block, const Word* first, int64_t stride, int count, Word phase,
                    float (&numbers)[kCount][4]) {
  Word words[kCount][4];
  for (uint32_t looks = 0;;) {
    bool there = true;
    unrolled<0, kCount>([&](auto index) SRN_INLINE_LAMBDA {
      constexpr int i = decltype(index)::value;
      if (i < count) block.read(first + i * stride, words[i]);
    });
    unrolled<0, kCount>([&](auto index) SRN_INLINE_LAMBDA {
      constexpr int i = decltype(index)::value;
      if (i < count) {
        for (int j = 0; j < 4; ++j) there = there && (words[i][j] & 1) == phase;
      }
    });
    if (there) break;
    block.wait(++looks);
  }
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < 4; ++j) numbers[i][j] = i < count ? decode(words[i][j]) : 0.0f;
  }
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
