// What both passes share: the rows of a team at a step, its two channels, and the two exchanges.
#pragma once

#include "cuda/exchange.h"
#include "cuda/product.h"
#include "cuda/shared.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::Call;

// Rows of one group at every step. Sequences are sorted, the longest first: the group's own steps are the first `steps`.
struct RowGroup {
  const Call& call;
  int first, steps;  // first: of its sequences

  SRN_BODY RowGroup(const Call& call, int first) : call(call), first(first), steps(call.sizes.steps) {
    if (call.offsets == nullptr) return;
    int none = 0;  // the steps below it have rows of this group, those from `steps` on have none
    while (none < steps) {
      const int middle = (none + steps) / 2;
      if (size(middle) > first) {
        none = middle + 1;
      } else {
        steps = middle;
      }
    }
  }

  SRN_BODY int size(int step) const {
    return call.offsets == nullptr ? call.sizes.batch : call.offsets[step + 1] - call.offsets[step];
  }
  // Of the group's rows at a step: how many there are, at most all of the team's, and the first.
  SRN_BODY int active(int step, int rows) const {
    const int active = size(step) - first;
    return active < rows ? active : rows;
  }
  SRN_BODY int64_t row(int step) const {
    return (call.offsets == nullptr ? int64_t(step) * call.sizes.batch : int64_t(call.offsets[step])) + first;
  }
};

template <typename Block>
class Team {
 public:
  using Element = typename Block::Element;
  using Operand = typename Element::Operand;
  using Stored = typename Element::Stored;
  static constexpr int kRows = Block::kRows;
  static constexpr int kPerWord = 4 / int(sizeof(Operand));

  SRN_BODY Team(const Block& block, const Plan& plan, const Call& call, const TeamShared<Element, kRows>& shared)
      : block_(block),
        plan_(plan),
        hidden_(call.sizes.hidden),
        place_(plan, call.sizes.hidden, block.index()),
        call_(call),
        shared_(shared) {}

  SRN_BODY const Place& place() const { return place_; }

  // An item is a row of a unit of this member: f(item, unit, row).
  template <typename F>
  SRN_BODY void each_unit(const F& f) const {
    SRN_UNROLL(1)  // there are hardly more items than threads
    for (int item = block_.thread(); item < place_.units * kRows; item += block_.threads()) {
      f(item, item / kRows, item % kRows);
    }
  }

  // f(index, row, a, unit) for each of `blocks` gates or memories of each row, units that lie side by side in turn.
  template <typename F>
  SRN_BODY void each_of(int blocks, int rows, const F& f) const {
    each(block_, rows * blocks * plan_.units, [&](int index) {
      const int row_and_a = plan_.by_units.quotient(index), unit = plan_.by_units.remainder(index);
      if (unit < place_.units) f(index, row_and_a / blocks, row_and_a % blocks, unit);
    });
  }

  // The slice of the weights in both products. `gathered(a, unit, other)` and `owned(a, unit, other)` are the weights
  // between the a-th gate or memory of this member's unit and any unit; there are `blocks` of either. Shared memory is
  // undefined before.
  template <typename Gathered, typename Owned>
  SRN_BODY void load(int gathered_blocks, int owned_blocks, const Gathered& gathered, const Owned& owned) {
    const Block& block = block_;
    // Outside the slice it is the weight at its beginning that is read, and not used: no load waits for a branch.
    const auto first = [&](int row, int depth, bool used) {
      const int a = plan_.by_units.quotient(row), unit = plan_.by_units.remainder(row);
      const bool inside = (a < gathered_blocks) & (unit < place_.units) & (depth < hidden_) & used;
      const Operand weight = gathered(inside ? a : 0, inside ? unit : 0, inside ? depth : 0);
      return inside ? weight : Operand(0);
    };
    const auto second = [&](int row, int depth, bool used) {
      const int a = plan_.by_units.quotient(depth), unit = plan_.by_units.remainder(depth);
      const bool inside = (a < owned_blocks) & (unit < place_.units) & (row < hidden_) & used;
      const Operand weight = owned(inside ? a : 0, inside ? unit : 0, inside ? row : 0);
      return inside ? weight : Operand(0);
    };
    first_.load_resident(block, plan_.gathered, block.memory(), first);
    second_.load_resident(block, plan_.owned, block.memory(), second);
    block.sync();  // from here on, shared memory is what the plan says
    first_.load_rest(block, at(shared_.extra[0]), plan_.extra[0], at(shared_.marks[0]), first);
    second_.load_rest(block, at(shared_.extra[1]), plan_.extra[1], at(shared_.marks[1]), second);
    each(block, kRows * plan_.gathered.stride() * kPerWord, [&](int i) { at(shared_.gathered)[i] = 0; });
    each(block, kRows * plan_.owned.stride() * kPerWord, [&](int i) { at(shared_.owned)[i] = 0; });
    each(block, plan_.gathered.tile_rows, [&](int tile_row) {
      at(shared_.first_warp)[tile_row] = srn::persistent::first_warp_of(plan_.gathered, tile_row);
      at(shared_.partial_count)[tile_row] = srn::persistent::partials_of(plan_.gathered, tile_row);
    });
  }

  // Where a number of a team's row lies in the operands of the products: `unit` of all, `index` = a * units + unit.
  SRN_BODY Operand& gathered(int row, int unit) const {
    return at(shared_.gathered)[row * plan_.gathered.stride() * kPerWord + unit];
  }
  SRN_BODY Operand& owned(int row, int index) const {
    return at(shared_.owned)[row * plan_.owned.stride() * kPerWord + index];
  }

  // First product: its partial sums. To be followed by a barrier, and then by `total`.
  SRN_BODY void multiply_gathered() {
    const int stride = srn::persistent::partial_stride(plan_);
    first_.run(block_, at(shared_.gathered), at(shared_.extra[0]), at(shared_.marks[0]),
               [&](int warp, int tile_row, const typename Block::Sum& sum) {
                 float* partial = at(shared_.partials) + (warp - at(shared_.first_warp)[tile_row]) * kRows * stride +
                                  tile_row * kTileRows;
                 block_.pairs(sum, [&](int row, int column, float one, float next) {
                   partial[column * stride + row] = one;
                   partial[(column + 1) * stride + row] = next;
                 });
               });
  }

  // What the first product makes of a row; the partial sums are added up in a fixed order.
  SRN_BODY float total(int row, int index) const {
    const int stride = srn::persistent::partial_stride(plan_), count = at(shared_.partial_count)[index / kTileRows];
    float sum = 0;
    for (int partial = 0; partial < count; ++partial)
      sum += at(shared_.partials)[(partial * kRows + row) * stride + index];
    return sum;
  }

  // Second product: its sums go to the owners of their units.
  SRN_BODY void multiply_owned_and_scatter() {
    Word* const slot = scatter_slot();
    const Word phase = scatter_.phase();
    second_.run(block_, at(shared_.owned), at(shared_.extra[1]), at(shared_.marks[1]),
                [&](int, int tile_row, const typename Block::Sum& sum) {
                  block_.pairs(sum, [&](int row, int column, float one, float next) {
                    const int unit = tile_row * kTileRows + row;
                    if (unit >= hidden_) return;
                    const int owner = plan_.by_units.quotient(unit), own = plan_.by_units.remainder(unit);
                    const int64_t source = int64_t(owner) * plan_.members + place_.member;
                    block_.write(slot + (source * plan_.units + own) * kRows + column, encode(one, phase),
                                 encode(next, phase));
                  });
                });
  }

  // The partial sums that are meant for this member, in a few sums. To be followed by a barrier, and then by `scattered`.
  SRN_BODY void await_scattered() {
    const int quads = place_.units * (kRows / 4), splits = ceil_div(plan_.members, kScatterBatch);
    const int64_t source = int64_t(plan_.units) * kRows;
    const Word* const mine = scatter_slot() + int64_t(place_.member) * plan_.members * source;
    // Quads of the whole slice, those that a smaller last member does not have included: it has none to read there.
    const int slice = plan_.units * (kRows / 4);
    SRN_UNROLL(1)  // there are hardly more of them than threads
    for (int i = block_.thread(); i < splits * slice; i += block_.threads()) {
      const int split = plan_.by_units.quotient(i / (kRows / 4)), quad = i - split * slice;
      if (quad >= quads) continue;
      const int first = split * kScatterBatch, left = plan_.members - first;
      float numbers[kScatterBatch][4];
      await(block_, mine + first * source + quad * 4, source, left < kScatterBatch ? left : kScatterBatch,
            scatter_.phase(), numbers);
      for (int j = 0; j < 4; ++j) {
        float sum = numbers[0][j];
        for (int k = 1; k < kScatterBatch; ++k) sum += numbers[k][j];
        at(shared_.sums)[i * 4 + j] = sum;
      }
    }
    scatter_.next();
  }

  // What the second products of all members make of an own unit's row. item = unit * kRows + row.
  SRN_BODY float scattered(int item) const {
    const int splits = ceil_div(plan_.members, kScatterBatch), each = plan_.units * kRows;
    float sum = 0;
    for (int split = 0; split < splits; ++split) sum += at(shared_.sums)[split * each + item];
    return sum;
  }

  // An own unit's number to everybody; each item once an exchange, then await_gathered() by all threads.
  SRN_BODY void gather(int item, float value) {
    block_.write(gather_slot() + int64_t(place_.member) * plan_.units * kRows + item, encode(value, gather_.phase()));
  }

  // Everybody's numbers, into the operand of the first product. To be followed by a barrier.
  SRN_BODY void await_gathered() {
    constexpr int kBatch = 4, kQuads = kRows / 4;
    const int count = hidden_ * kQuads, threads = block_.threads();
    for (int i = block_.thread(); i < count; i += kBatch * threads) {
      const int left = ceil_div(count - i, threads);
      float numbers[kBatch][4];
      await(block_, gather_slot() + i * 4, int64_t(threads) * 4, left < kBatch ? left : kBatch, gather_.phase(),
            numbers);
      unrolled<0, kBatch>([&](auto index) SRN_INLINE_LAMBDA {
        constexpr int k = decltype(index)::value;
        if (k < left) {
          const int quad = i + k * threads, unit = quad / kQuads, row = quad % kQuads * 4;
          for (int j = 0; j < 4; ++j) gathered(row + j, unit) = Element::operand(numbers[k][j]);
        }
      });
    }
    gather_.next();
  }

 private:
  template <typename X>
  SRN_BODY X* at(const Piece<X>& piece) const {
    return piece.in(block_.memory());
  }

  // Not kept in registers, which are few: what they follow from lies in the kernel's parameters.
  SRN_BODY Word* scatter_slot() const {
    return call_.mailbox + place_.team * plan_.team_words + scatter_.slot() * plan_.scatter_words;
  }
  SRN_BODY Word* gather_slot() const {
    return call_.mailbox + place_.team * plan_.team_words + 2 * plan_.scatter_words +
           gather_.slot() * plan_.gather_words;
  }

  const Block& block_;
  const Plan& plan_;
  const int hidden_;
  const Place place_;
  const Call& call_;
  const TeamShared<Element, kRows>& shared_;
  Channel scatter_, gather_;
  Product<Block, false> first_;
  Product<Block, true> second_;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
