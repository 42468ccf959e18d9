// The backward recurrence of a block: that of forward.h in reverse, through the same slices of the weights.
#pragma once

#include "cuda/team.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::BackwardCall;
using srn::persistent::BackwardDirection;

template <typename Block, int N>
class BackwardPass {
  using Element = typename Block::Element;
  using Operand = typename Element::Operand;
  using Stored = typename Element::Stored;
  using Unit = Cell<float, N, Approximate>;
  static constexpr int G = Unit::G, M = Unit::M, kRows = Block::kRows;
  // Numbers that a thread asks for ahead; more would not fit its registers.
  static constexpr int kAhead = 4, kItemsAhead = 1;

 public:
  using Shared = BackwardShared<Element, kRows, N>;

  SRN_BODY BackwardPass(const Block& block, const Plan& plan, const BackwardCall& call, const Shared& shared)
      : block_(block),
        plan_(plan),
        call_(call),
        shared_(shared),
        team_(block, plan, call, shared.team),
        place_(team_.place()),
        direction_(call.direction[place_.team % call.sizes.directions]),
        H_(call.sizes.hidden) {}

  SRN_BODY void run() {
    load_weights();
    team_.exchange().begin();
    block_.begin_stamps();
    for (int group = place_.team / call_.sizes.directions; group < plan_.row_groups; group += plan_.teams) {
      sequence(RowGroup(call_, group * kRows));
    }
    block_.end_stamps(call_.stamps);
    team_.exchange().end();
  }

 private:
  template <typename X>
  SRN_BODY X* at(const Piece<X>& piece) const {
    return piece.in(block_.memory());
  }

  SRN_BODY void load_weights() {
    const Stored* const hh = static_cast<const Stored*>(direction_.weights.hh);
    const Stored* const mc = static_cast<const Stored*>(direction_.weights.mc);
    const int64_t H = H_, first = place_.first;
    team_.load(
        M, G, [&](int m, int unit, int j) { return Element::operand_of(mc[(j * M + m) * H + first + unit]); },
        [&](int g, int unit, int k) { return Element::operand_of(hh[(g * H + first + unit) * H + k]); });
  }

  SRN_BODY void sequence(const RowGroup& group) {
    start(group);
    const bool reverse = direction_.reverse;
    for (int i = 0; i < group.steps; ++i) {
      const int step = reverse ? i : group.steps - 1 - i;
      begin(group, step);
      block_.stamp(srn::persistent::kBegin);
      // While the gradients of c are on their way.
      recompute(group, step);
      block_.stamp(srn::persistent::kRecompute);
      team_.exchange().await_gathered();
      block_.sync();
      block_.stamp(srn::persistent::kAwaitDc);
      team_.multiply_gathered();
      block_.sync();
      block_.stamp(srn::persistent::kMultiplyDc);
      collect(group, step);
      block_.sync();
      block_.stamp(srn::persistent::kCollect);
      differentiate(group, step);
      block_.sync();
      block_.stamp(srn::persistent::kDifferentiate);
      team_.multiply_owned_and_scatter();
      block_.stamp(srn::persistent::kMultiplyDz);
      // While the partial sums are on their way, work that no other block waits for.
      const bool last = i + 1 == group.steps;
      const int next = reverse ? step + 1 : step - 1;
      Asked asked = {};
      if (!last) ask(group, next, asked);
      keep(group, step);
      block_.stamp(srn::persistent::kKeepDz);
      team_.exchange().await_scattered();
      if (!last) take(group, next, asked);
      block_.sync();
      block_.stamp(srn::persistent::kAwaitDh);
      finish(group, step);
    }
    end(group);
  }

  SRN_BODY void start(const RowGroup& group) {
    const Stored* const grad_h_n = static_cast<const Stored*>(direction_.grad_h_n);
    const Stored* const grad_c_n = static_cast<const Stored*>(direction_.grad_c_n);
    const auto last = [&](const Stored* grad, int row, int unit) {
      const int64_t sequence = group.first + row;
      const bool has = grad != nullptr && sequence < call_.sizes.batch;
      return has ? Element::load(grad[sequence * H_ + place_.first + unit]) : 0.0f;
    };
    team_.each_unit([&](int item, int unit, int row) {
      at(shared_.dh)[item] = last(grad_h_n, row, unit);
      at(shared_.dc_before)[item] = last(grad_c_n, row, unit);
      at(shared_.grad_output)[item] = 0;  // where there is none
    });
    block_.sync();
    const int step = direction_.reverse ? 0 : group.steps - 1;
    Asked asked = {};
    ask(group, step, asked);
    take(group, step, asked);
    block_.sync();
  }

  // A thread's first numbers of each kind that the forward pass and the caller left for a step, on their way.
  struct Asked {
    Stored gates[kAhead], grad_memories[kAhead], cells[kItemsAhead], cells_before[kItemsAhead],
        grad_output[kItemsAhead];
  };

  SRN_BODY void ask(const RowGroup& group, int step, Asked& asked) const {
    const int rows = group.active(step, kRows);
    each_kind(group, step, asked, [&](auto& numbers, int blocks, const auto& load, const auto&) {
      team_.ask(numbers, blocks, rows, load);
    });
  }
  SRN_BODY void take(const RowGroup& group, int step, Asked& asked) const {
    const int rows = group.active(step, kRows);
    each_kind(group, step, asked, [&](auto& numbers, int blocks, const auto& load, const auto& to) {
      team_.take(numbers, blocks, rows, load,
                 [&](int index, int row, int, int unit, float number) { to(index, unit * kRows + row) = number; });
    });
  }

  // f(numbers, blocks, load, to) for each kind: load(row, a, unit) is a number, to(index, item) where it goes.
  template <typename F>
  SRN_BODY void each_kind(const RowGroup& group, int step, Asked& asked, const F& f) const {
    const int64_t first = group.row(step), H = H_;
    const auto units_of = [&](const void* buffer) { return static_cast<const Stored*>(buffer) + place_.first; };
    f(
        asked.gates, G,
        [&](int row, int g, int unit) { return units_of(direction_.gates)[((first + row) * G + g) * H + unit]; },
        [&](int index, int) -> float& { return at(shared_.gates)[index]; });
    if (direction_.grad_memories != nullptr) {
      f(
          asked.grad_memories, M,
          [&](int row, int m, int unit) {
            return units_of(direction_.grad_memories)[(first + row) * direction_.grad_memories_row_stride +
                                                      m * direction_.grad_memory_stride + unit];
          },
          [&](int index, int) -> float& { return at(shared_.ds)[index]; });
    }
    f(
        asked.cells, 1, [&](int row, int, int unit) { return units_of(direction_.cells)[(first + row) * H + unit]; },
        [&](int, int item) -> float& { return at(shared_.c)[item]; });
    // The step visited before this one in the forward pass, where a row took part in it.
    const int before = direction_.reverse ? step + 1 : step - 1;
    const bool any = before >= 0 && before < group.steps;
    const int rows_before = any ? group.active(before, kRows) : 0;
    const int64_t first_before = any ? group.row(before) : 0;
    f(
        asked.cells_before, 1,
        [&](int row, int, int unit) {
          return row < rows_before ? units_of(direction_.cells)[(first_before + row) * H + unit]
                                   : units_of(direction_.c0)[int64_t(group.first + row) * H + unit];
        },
        [&](int, int item) -> float& { return at(shared_.c_before)[item]; });
    if (direction_.grad_output != nullptr) {
      f(
          asked.grad_output, 1,
          [&](int row, int, int unit) {
            return units_of(direction_.grad_output)[(first + row) * direction_.grad_output_stride + unit];
          },
          [&](int, int item) -> float& { return at(shared_.grad_output)[item]; });
    }
  }

  // Eq. 9 differentiated: the gradient of c_t, for all members. Inactive rows have none.
  SRN_BODY void begin(const RowGroup& group, int step) {
    const int rows = group.active(step, kRows);
    Stored* const dc_rows = static_cast<Stored*>(direction_.dc) + group.row(step) * H_ + place_.first;
    team_.each_unit([&](int item, int unit, int row) {
      float dc = 0;
      if (row < rows) {
        const float dh = at(shared_.dh)[item] + at(shared_.grad_output)[item];
        const float output_gate = at(shared_.gates)[(row * G + kOutput) * plan_.units + unit];
        dc = Unit::cell_gradient(output_gate, at(shared_.c)[item], dh, at(shared_.dc_before)[item],
                                 float(direction_.cell_clip));
        at(shared_.dh_whole)[item] = dh;
      }
      team_.exchange().gather(item, dc);
      if (row < rows) dc_rows[int64_t(row) * H_ + unit] = Element::store(dc);
    });
    team_.exchange().send_gathered();
  }

  // The memories before tanh (Eq. 6, 7), and what the gradients of tanh(s) (Eq. 10) add to ds.
  SRN_BODY void recompute(const RowGroup& group, int step) {
    const int rows = group.active(step, kRows);
    Stored* const s_rows = static_cast<Stored*>(direction_.s) + group.row(step) * M * H_ + place_.first;
    team_.each_unit([&](int item, int unit, int row) {
      if (row >= rows) return;
      float gates[G], s[M];
      load_gates(row, unit, gates);
      Unit::memories(gates, at(shared_.c_before)[item], s);
      unrolled<0, M>([&](auto memory) SRN_INLINE_LAMBDA {
        constexpr int m = decltype(memory)::value;
        s_rows[(int64_t(row) * M + m) * H_ + unit] = Element::store(s[m]);
        float& ds = at(shared_.ds)[(row * M + m) * plan_.units + unit];
        if (direction_.grad_memories != nullptr) {
          const float t = Approximate::tanh(s[m]);
          ds *= 1 - t * t;
        } else {
          ds = 0;
        }
      });
    });
  }

  // Eq. 8 differentiated: the gradients of the memories.
  SRN_BODY void collect(const RowGroup& group, int step) {
    team_.each_of(M, group.active(step, kRows), [&](int index, int row, int m, int unit) {
      at(shared_.ds)[index] += team_.total(row, m * plan_.units + unit);
    });
  }

  // Eq. 1 to 7 differentiated.
  SRN_BODY void differentiate(const RowGroup& group, int step) {
    const int rows = group.active(step, kRows);
    team_.each_unit([&](int item, int unit, int row) {
      float dz[G] = {};
      if (row < rows) {
        float gates[G], ds[M];
        load_gates(row, unit, gates);
        unrolled<0, M>([&](auto memory) SRN_INLINE_LAMBDA {
          constexpr int m = decltype(memory)::value;
          ds[m] = at(shared_.ds)[(row * M + m) * plan_.units + unit];
        });
        at(shared_.dc_before)[item] =
            Unit::backward(gates, at(shared_.c_before)[item], at(shared_.c)[item], at(shared_.dh_whole)[item], ds, dz);
      }
      unrolled<0, G>([&](auto gate) SRN_INLINE_LAMBDA {
        constexpr int g = decltype(gate)::value;
        const int column = g * plan_.units + unit;
        team_.owned(row, column) = Element::operand(dz[g]);
        at(shared_.dz)[row * G * plan_.units + column] = dz[g];
      });
    });
  }

  SRN_BODY void keep(const RowGroup& group, int step) {
    Stored* const dz = static_cast<Stored*>(direction_.dz) + group.row(step) * G * H_ + place_.first;
    team_.each_of(G, group.active(step, kRows), [&](int index, int row, int g, int unit) {
      dz[(int64_t(row) * G + g) * H_ + unit] = Element::store(at(shared_.dz)[index]);
    });
  }

  SRN_BODY void finish(const RowGroup& group, int step) {
    const int rows = group.active(step, kRows);
    team_.each_unit([&](int item, int, int row) {
      if (row < rows) at(shared_.dh)[item] = team_.exchange().scattered(item);
    });
  }

  SRN_BODY void end(const RowGroup& group) {
    Stored* const grad_h0 = static_cast<Stored*>(direction_.grad_h0);
    Stored* const grad_c0 = static_cast<Stored*>(direction_.grad_c0);
    team_.each_unit([&](int item, int unit, int row) {
      const int64_t sequence = group.first + row;
      if (sequence >= call_.sizes.batch) return;
      grad_h0[sequence * H_ + place_.first + unit] = Element::store(at(shared_.dh)[item]);
      grad_c0[sequence * H_ + place_.first + unit] = Element::store(at(shared_.dc_before)[item]);
    });
  }

  SRN_BODY void load_gates(int row, int unit, float (&gates)[G]) const {
    const int first = row * G * plan_.units + unit;
    unrolled<0, G>([&](auto gate) SRN_INLINE_LAMBDA {
      gates[decltype(gate)::value] = at(shared_.gates)[first + decltype(gate)::value * plan_.units];
    });
  }

  const Block& block_;
  const Plan& plan_;
  const BackwardCall& call_;
  const Shared& shared_;
  Team<Block> team_;
  const Place place_;
  const BackwardDirection& direction_;
  const int H_;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
