// What both passes share: the rows of a team at a step, its two products, and the two exchanges.
#pragma once

#include "cuda/exchange.h"
#include "cuda/product.h"
#include "cuda/shared.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

// Rows of one group at every step. Sequences are sorted, the longest first: the group's steps are the first `steps`.
struct RowGroup {
  const Call& call;
  int first, steps;  // first: of its sequences

  SRN_BODY RowGroup(const Call& call, int first) : call(call), first(first), steps(call.sizes.steps) {
    if (call.offsets == nullptr) return;
    int least = 0;  // steps below it have rows of this group, those from `steps` on do not
    while (least < steps) {
      const int middle = (least + steps) / 2;
      if (size(middle) > first) {
        least = middle + 1;
      } else {
        steps = middle;
      }
    }
  }

  SRN_BODY int size(int step) const {
    return call.offsets == nullptr ? call.sizes.batch : call.offsets[step + 1] - call.offsets[step];
  }
  // How many rows the group has at a step, at most `rows`; and the first of them.
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
        shared_(shared),
        exchange_(block, plan, call, place_, shared) {}

  SRN_BODY const Place& place() const { return place_; }

  // An item is a row of a unit of this member: f(item, unit, row).
  template <typename F>
  SRN_BODY void each_unit(const F& f) const {
    SRN_UNROLL(1)  // there are hardly more items than threads
    for (int item = block_.thread(); item < place_.units * kRows; item += block_.threads()) {
      f(item, item / kRows, item % kRows);
    }
  }

  // f(index, row, a, unit) for each of `blocks` gates or memories of each row, adjacent units in turn.
  template <typename F>
  SRN_BODY void each_of(int blocks, int rows, const F& f) const {
    each(block_, rows * blocks * plan_.units, [&](int index) {
      const int row_and_a = plan_.by_units.quotient(index), unit = plan_.by_units.remainder(index);
      if (unit < place_.units) f(index, row_and_a / blocks, row_and_a % blocks, unit);
    });
  }

  // As each_of, from global to shared memory in two parts, so that the work between them hides the latency: `ask` loads
  // a thread's first numbers, `take` stores them, and also loads what a large plan has beyond these.
  // load(row, a, unit), store(index, row, a, unit, number).
  template <int kMost, typename Load>
  SRN_BODY void ask(Stored (&numbers)[kMost], int blocks, int rows, const Load& load) const {
    unrolled<0, kMost>([&](auto turn) SRN_INLINE_LAMBDA {
      constexpr int k = decltype(turn)::value;
      each_turn(k, blocks, rows, [&](int, int row, int a, int unit) { numbers[k] = load(row, a, unit); });
    });
  }
  template <int kMost, typename Load, typename Store>
  SRN_BODY void take(const Stored (&numbers)[kMost], int blocks, int rows, const Load& load, const Store& store) const {
    unrolled<0, kMost>([&](auto turn) SRN_INLINE_LAMBDA {
      constexpr int k = decltype(turn)::value;
      each_turn(k, blocks, rows,
                [&](int index, int row, int a, int unit) { store(index, row, a, unit, Element::load(numbers[k])); });
    });
    const int turns = ceil_div(rows * blocks * plan_.units, block_.threads());
    SRN_UNROLL(1)
    for (int k = kMost; k < turns; ++k) {
      each_turn(k, blocks, rows, [&](int index, int row, int a, int unit) {
        store(index, row, a, unit, Element::load(load(row, a, unit)));
      });
    }
  }

  // The slice of the weights in both products. `gathered(a, unit, other)` and `owned(a, unit, other)` are the weights
  // between the a-th gate or memory of this member's unit and any unit; there are `blocks` of either. Shared memory is
  // undefined before.
  template <typename Gathered, typename Owned>
  SRN_BODY void load(int gathered_blocks, int owned_blocks, const Gathered& gathered, const Owned& owned) {
    const Block& block = block_;
    // Outside the slice, the weight at its beginning is read and not used: no load waits for a branch.
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

  // A number of a team's row in the operand of the second product: index = a * units + unit.
  SRN_BODY Operand& owned(int row, int index) const {
    return at(shared_.owned)[row * plan_.owned.stride() * kPerWord + index];
  }

  // The first product: its partial sums. To be followed by a barrier, and then by `total`.
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

  // A number of the first product: its partial sums, added up in a fixed order.
  SRN_BODY float total(int row, int index) const {
    const int stride = srn::persistent::partial_stride(plan_), count = at(shared_.partial_count)[index / kTileRows];
    float sum = 0;
    for (int partial = 0; partial < count; ++partial)
      sum += at(shared_.partials)[(partial * kRows + row) * stride + index];
    return sum;
  }

  // The second product: its sums go to the owners of their units.
  SRN_BODY void multiply_owned_and_scatter() {
    const auto scatter = exchange_.scatterer();
    second_.run(block_, at(shared_.owned), at(shared_.extra[1]), at(shared_.marks[1]),
                [&](int, int tile_row, const typename Block::Sum& sum) {
                  block_.pairs(sum, [&](int row, int column, float one, float next) {
                    const int unit = tile_row * kTileRows + row;
                    if (unit < hidden_) scatter(unit, column, one, next);
                  });
                });
  }

  SRN_BODY ExchangeOf<Block>& exchange() { return exchange_; }

 private:
  // The k-th item that each_of deals to a thread.
  template <typename F>
  SRN_BODY void each_turn(int k, int blocks, int rows, const F& f) const {
    const int index = block_.thread() + k * block_.threads();
    const int row_and_a = plan_.by_units.quotient(index), unit = plan_.by_units.remainder(index);
    if (index < rows * blocks * plan_.units && unit < place_.units)
      f(index, row_and_a / blocks, row_and_a % blocks, unit);
  }

  template <typename X>
  SRN_BODY X* at(const Piece<X>& piece) const {
    return piece.in(block_.memory());
  }

  const Block& block_;
  const Plan& plan_;
  const int hidden_;
  const Place place_;
  const TeamShared<Element, kRows>& shared_;
  ExchangeOf<Block> exchange_;
  Product<Block, false> first_;
  Product<Block, true> second_;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
