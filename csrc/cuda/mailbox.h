// How the blocks of a team leave numbers for each other in global memory: a mailbox whose words themselves tell whether
// they are there.
//
// The lowest bit of a float's mantissa is its *phase*. A slot is used in every other exchange, and its phase changes
// from use to use, so a reader that waits for the present phase cannot take what was there before. There is no flag, no
// fence and no order between words: each is one relaxed load or store of 32 bits. The price is the last bit of a sum,
// 2^-23 of it.
//
// Nothing is overwritten too early. A member that writes exchange k has read exchange k - 1 (of either channel, the one
// last used) from every member, and each of them had read exchange k - 2 from its slot before it wrote that.
#pragma once

#include "cuda/block.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::Call;
using Word = uint32_t;

// NaN stays NaN, as arithmetic only makes quiet ones, and `decode` restores infinity.
SRN_INLINE Word encode(float value, Word phase) { return (bits_as<Word>(value) & ~Word(1)) | phase; }
SRN_INLINE float decode(Word word) { return bits_as<float>(word & ~Word(1)); }

// Counts the exchanges of one kind. Memory starts with every bit set, and a slot's first phase is 0.
class Channel {
 public:
  SRN_BODY int slot() const { return count_ & 1; }
  SRN_BODY Word phase() const { return count_ >> 1 & 1; }
  SRN_BODY void next() { ++count_; }

 private:
  uint32_t count_ = 0;
};

// Reads quads of words, `stride` words from one to the next, until all have this phase. Those that have it are not read
// again.
template <int kCount, typename Block>
SRN_BODY void await(const Block& block, const Word* first, int64_t stride, int count, Word phase,
                    float (&numbers)[kCount][4]) {
  Word words[kCount][4] = {};
  uint32_t missing = (1u << count) - 1;
  for (uint32_t looks = 0;;) {
    unrolled<0, kCount>([&](auto index) SRN_INLINE_LAMBDA {
      constexpr int i = decltype(index)::value;
      if (missing >> i & 1) block.read(first + i * stride, words[i]);
    });
    unrolled<0, kCount>([&](auto index) SRN_INLINE_LAMBDA {
      constexpr int i = decltype(index)::value;
      Word other = 0;  // its lowest bit: whether that of any word is not the phase
      for (int j = 0; j < 4; ++j) other |= words[i][j] ^ phase;
      missing &= other << i | ~(1u << i);
    });
    if (missing == 0) break;
    block.wait(++looks);
  }
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < 4; ++j) numbers[i][j] = i < count ? decode(words[i][j]) : 0.0f;
  }
}

// The exchanges of a team through the mailbox.
template <typename Block>
class Mailbox {
  using Element = typename Block::Element;
  using Operand = typename Element::Operand;
  static constexpr int kRows = Block::kRows;

 public:
  SRN_BODY Mailbox(const Block& block, const Plan& plan, const Call& call, const Place& place,
                   const TeamShared<Element, kRows>& shared)
      : block_(block), plan_(plan), call_(call), place_(place), shared_(shared) {}

  // Nothing to do before the first exchange and after the last: the launch has filled the mailbox, which outlives blocks.
  SRN_BODY void begin() const {}
  SRN_BODY void end() const {}

  // scatterer()(unit, row, four): sends the partial sums of four adjacent rows to the owner of their unit.
  struct Scatterer {
    const Block& block;
    Word* const slice;
    const Word phase;

    SRN_BODY void operator()(int unit, int row, const float (&four)[4]) const {
      const Word words[4] = {encode(four[0], phase), encode(four[1], phase), encode(four[2], phase),
                             encode(four[3], phase)};
      block.write(slice + unit * kRows + row, words);
    }
  };
  SRN_BODY Scatterer scatterer() const { return {block_, scatter_slot() + place_.member * slice(), scatter_.phase()}; }

  // Adds up the partial sums for this member into a few, to be followed by `scattered`.
  SRN_BODY void await_scattered() {
    const int quads = place_.units * (kRows / 4), splits = ceil_div(plan_.members, kScatterBatch);
    const Word* const mine = scatter_slot() + place_.first * kRows;
    // Quads of a full slice, including those that a smaller last member does not have and must not read.
    const int most = plan_.units * (kRows / 4);
    SRN_UNROLL(1)  // there are hardly more of them than threads
    for (int i = block_.thread(); i < splits * most; i += block_.threads()) {
      const int split = plan_.by_units.quotient(i / (kRows / 4)), quad = i - split * most;
      if (quad >= quads) continue;
      const int first = split * kScatterBatch, left = plan_.members - first;
      float numbers[kScatterBatch][4];
      await(block_, mine + first * slice() + quad * 4, slice(), left < kScatterBatch ? left : kScatterBatch,
            scatter_.phase(), numbers);
      Together<float, 4> sums;
      for (int j = 0; j < 4; ++j) {
        sums.numbers[j] = numbers[0][j];
        for (int k = 1; k < kScatterBatch; ++k) sums.numbers[j] += numbers[k][j];
      }
      reinterpret_cast<Together<float, 4>*>(at(shared_.sums))[i] = sums;
    }
    scatter_.next();
    block_.sync();
  }

  // The sum for a row of a unit of this member.
  SRN_BODY float scattered(int unit, int row) const {
    const int splits = ceil_div(plan_.members, kScatterBatch), each = plan_.units * kRows;
    const float* const first = at(shared_.sums) + unit * kRows + row;
    float sum = 0;
    SRN_UNROLL(4)
    for (int split = 0; split < splits; ++split) sum += first[split * each];
    return sum;
  }

  // Sends a number of a row of a unit of this member to all members; each once an exchange, then `send_gathered` for
  // each group of items, and `await_gathered` by all threads.
  SRN_BODY void gather(int unit, int row, float value) const {
    block_.write(gather_slot() + (place_.first + unit) * kRows + row, encode(value, gather_.phase()));
  }
  SRN_BODY void send_gathered(int) const {}

  // Reads all members' numbers into the operand of the first product.
  SRN_BODY void await_gathered() {
    constexpr int kBatch = 4, kQuads = kRows / 4;
    const int count = call_.sizes.hidden * kQuads, threads = block_.threads();
    Operand* const operand = at(shared_.gathered);
    for (int i = block_.thread(); i < count; i += kBatch * threads) {
      const int left = ceil_div(count - i, threads);
      float numbers[kBatch][4];
      await(block_, gather_slot() + i * 4, int64_t(threads) * 4, left < kBatch ? left : kBatch, gather_.phase(),
            numbers);
      unrolled<0, kBatch>([&](auto index) SRN_INLINE_LAMBDA {
        constexpr int k = decltype(index)::value;
        if (k < left) {
          const int quad = i + k * threads, unit = quad / kQuads, row = quad % kQuads * 4;
          Operand* const to = operand + operand_place<Block>(row, unit);
          for (int j = 0; j < 4; ++j) to[j * Element::kDepth] = Element::operand(numbers[k][j]);
        }
      });
    }
    gather_.next();
    block_.sync();
  }

 private:
  template <typename X>
  SRN_BODY X* at(const Piece<X>& piece) const {
    return piece.in(block_.memory());
  }

  // Words of all units' rows. Not kept in registers, which are few: the kernel's parameters give them.
  SRN_BODY int slice() const { return int(plan_.gather_words); }
  SRN_BODY Word* scatter_slot() const {
    return call_.mailbox + place_.team * plan_.team_words + scatter_.slot() * plan_.scatter_words;
  }
  SRN_BODY Word* gather_slot() const {
    return call_.mailbox + place_.team * plan_.team_words + 2 * plan_.scatter_words +
           gather_.slot() * plan_.gather_words;
  }

  const Block& block_;
  const Plan& plan_;
  const Call& call_;
  const Place place_;
  const TeamShared<Element, kRows>& shared_;
  Channel scatter_, gather_;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
