// What both passes share: the rows of a team at a step, its two products, and the two exchanges.
#pragma once

#include "cuda/exchange.h"
#include "cuda/product.h"
#include "cuda/shared.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

// The rows of a group at a step: the first, and how many there are, at most those of a team.
struct StepRows {
  int64_t first = 0;
  int count = 0;
};

// Rows of one group at every step. Sequences are sorted, the longest first: the group's steps are the first `steps`.
struct RowGroup {
  const Call& call;
  int first, steps;  // first: of its sequences

  SRN_BODY RowGroup(const Call& call, int first) : call(call), first(first), steps(call.sizes.steps) {
    if (call.offsets == nullptr) return;
    int least = 0;  // steps below it have rows of this group, those from `steps` on do not
    while (least < steps) {
      const int middle = (least + steps) / 2;
      if (call.offsets[middle + 1] - call.offsets[middle] > first) {
        least = middle + 1;
      } else {
        steps = middle;
      }
    }
  }

  SRN_BODY StepRows at(int step, int most) const {
    int64_t begin = int64_t(step) * call.sizes.batch;
    int size = call.sizes.batch;
    if (call.offsets != nullptr) begin = call.offsets[step], size = int(call.offsets[step + 1] - begin);
    return {begin + first, size - first < most ? size - first : most};
  }
};

template <typename Block>
class Team {
 public:
  using Element = typename Block::Element;
  using Operand = typename Element::Operand;
  using Stored = typename Element::Stored;
  static constexpr int kRows = Block::kRows;

  SRN_BODY Team(const Block& block, const Plan& plan, const Call& call, const TeamShared<Element, kRows>& shared)
      : block_(block),
        plan_(plan),
        hidden_(call.sizes.hidden),
        place_(plan, call.sizes.hidden, block.index()),
        shared_(shared),
        exchange_(block, plan, call, place_, shared) {}

  SRN_BODY const Place& place() const { return place_; }

  // An item is a row of a unit of this member; they are numbered by eight rows at a time, unit by unit, as the first
  // product leaves its sums. A warp takes kLanes of them at a time, and hardly ever more than once.
  struct Item {
    int turn, lane, index, unit, row;
  };

  // f(item) for this thread's items, and after(group) when a group of kLanes has had its turn.
  template <typename F, typename After>
  SRN_BODY void each_item(const F& f, const After& after) const {
    const int half = plan_.units * kColumnRows;
    SRN_UNROLL(1)
    for (int group = block_.first_group(), turn = 0; group * kLanes < items(); group += block_.groups(), ++turn) {
      block_.each_lane([&](int lane) {
        const int index = group * kLanes + lane;
        const int column = kRows > kColumnRows && index >= half ? 1 : 0;
        const int unit = int(uint32_t(index - column * half) / kColumnRows);
        const int row = column * kColumnRows + int(uint32_t(index) % kColumnRows);
        if (unit < place_.units) f(Item{turn, lane, index, unit, row});
      });
      after(group);
    }
  }
  template <typename F>
  SRN_BODY void each_item(const F& f) const {
    each_item(f, [](int) {});
  }
  SRN_BODY int items() const { return plan_.units * kRows; }
  // Whether a thread has more than one.
  SRN_BODY bool several() const { return items() > block_.groups() * kLanes; }

  // The slice of the weights in both products. A weight between the a-th gate or memory of a unit of this member and any
  // other unit lies at place(a, unit) + place_of(other) of `gathered`, or of `owned`. Shared memory is undefined before.
  template <int kGathered, int kOwned, typename A, typename B, typename C, typename D>
  SRN_BODY void load(const Stored* gathered, const A& gathered_place, const B& gathered_place_of, const Stored* owned,
                     const C& owned_place, const D& owned_place_of) {
    const Block& block = block_;
    const auto first = slice_of(
        gathered,
        [&](int row) {
          const int a = plan_.by_units.quotient(row), unit = plan_.by_units.remainder(row);
          return a < kGathered && unit < place_.units ? gathered_place(a, unit) : -1;
        },
        [&](int depth) { return depth < hidden_ ? gathered_place_of(depth) : -1; });
    const auto second = slice_of(
        owned, [&](int row) { return row < hidden_ ? owned_place_of(row) : -1; },
        [&](int depth) {
          int place = -1;
          unrolled<0, kOwned>([&](auto index) SRN_INLINE_LAMBDA {
            constexpr int i = decltype(index)::value;
            constexpr Chunk chunk = Chunk::of(i, kOwned);
            if constexpr (i == chunk.start) {
              const int from_start = depth - chunk.start * plan_.units;
              const int a = i + int(uint32_t(from_start) % chunk.size), unit = int(uint32_t(from_start) / chunk.size);
              if (from_start >= 0 && unit < place_.units) place = owned_place(a, unit);
            }
          });
          return place;
        });
    first_.load_resident(block, plan_.gathered, block.memory(), first);
    second_.load_resident(block, plan_.owned, block.memory(), second);
    block.sync();  // from here on, shared memory is what the plan says
    first_.load_rest(block, plan_.gathered, at(shared_.extra[0]), first);
    second_.load_rest(block, plan_.owned, at(shared_.extra[1]), second);
    constexpr int kTileNumbers = kRows * Element::kDepth;
    each(block, kTileNumbers * padded_depths(plan_.gathered), [&](int i) { at(shared_.gathered)[i] = 0; });
    each(block, kTileNumbers * padded_depths(plan_.owned), [&](int i) { at(shared_.owned)[i] = 0; });
  }

  // The first product: its partial sums. To be followed by a barrier, and then by `totals`.
  SRN_BODY void multiply_gathered() const {
    const int rows = plan_.gathered.rows();
    first_.run(block_, plan_.gathered, at(shared_.gathered), at(shared_.extra[0]),
               [&](int split, int tile_row, const typename Block::Sum& sum) {
                 float* const first =
                     at(shared_.partials) + (split * rows * kRows + tile_row * kTileRows * kColumnRows);
                 block_.pairs(sum, [&](int row, int column, float one, float next) {
                   float* const to =
                       first + column / kColumnRows * rows * kColumnRows + row * kColumnRows + column % kColumnRows;
                   *reinterpret_cast<Together<float, 2>*>(to) = {{one, next}};
                 });
               });
  }

  // An item's numbers of the first product, their partial sums added up in order.
  template <int kCount>
  SRN_BODY void totals(int item, float (&sums)[kCount]) const {
    const int rows = plan_.gathered.rows(), each = plan_.units * kColumnRows, splits = plan_.gathered.splits();
    const int column = kRows > kColumnRows && item >= each ? 1 : 0;
    const int place = column * (rows * kColumnRows - each) + item;
    // The offset of a split is the same for all threads: kept apart, it takes them no register.
    const auto partial = [&](int split, int a) {
      return *shared_.partials.in(block_.memory() + split * (rows * kRows * int(sizeof(float))), place + a * each);
    };
    SRN_UNROLL(kCount)
    for (int a = 0; a < kCount; ++a) sums[a] = partial(0, a);
    // There are 0, 1, 3 or 7 more: the loads of three are under way at once.
    const auto add = [&](int first, auto count) SRN_INLINE_LAMBDA {
      SRN_UNROLL(3)
      for (int split = first; split < first + decltype(count)::value; ++split) {
        SRN_UNROLL(kCount)
        for (int a = 0; a < kCount; ++a) sums[a] += partial(split, a);
      }
    };
    int split = 1;
    SRN_UNROLL(1)
    for (; split + 3 <= splits; split += 3) add(split, Index<3>{});
    if (split < splits) add(split, Index<1>{});
  }

  // Puts what the slice owns of an item into the operand of the second product.
  template <int kCount>
  SRN_BODY void own(int unit, int row, const float (&numbers)[kCount]) const {
    unrolled<0, kCount>([&](auto a) SRN_INLINE_LAMBDA {
      constexpr int i = decltype(a)::value;
      constexpr Chunk chunk = Chunk::of(i, kCount);
      if constexpr (i == chunk.start) {
        const int depth = chunk.depth(unit, plan_.units);
        store_operands<Element, chunk.size>(numbers + i, at(shared_.owned, operand_place<Block>(row, depth)));
      }
    });
  }

  // The second product: its sums go to the owners of their units.
  SRN_BODY void multiply_owned_and_scatter() const {
    const auto scatter = exchange_.scatterer();
    second_.run(block_, plan_.owned, at(shared_.owned), at(shared_.extra[1]),
                [&](int, int tile_row, const typename Block::Sum& sum) {
                  block_.quads(sum, [&](int row, int column, const float (&four)[4]) {
                    const int unit = tile_row * kTileRows + row;
                    if (unit < hidden_) scatter(unit, column, four);
                  });
                });
  }

  SRN_BODY ExchangeOf<Block>& exchange() { return exchange_; }

 private:
  template <typename X>
  SRN_BODY X* at(const Piece<X>& piece, int i = 0) const {
    return piece.in(block_.memory(), i);
  }

  const Block& block_;
  const Plan& plan_;
  const int hidden_;
  const Place place_;
  const TeamShared<Element, kRows>& shared_;
  ExchangeOf<Block> exchange_;
  Product<Block> first_, second_;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
