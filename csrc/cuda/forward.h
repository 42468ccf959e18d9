// The forward recurrence of a block: all steps of its team's rows. Equation numbers are the paper's.
#pragma once

#include "cuda/team.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::ForwardCall;
using srn::persistent::ForwardDirection;

template <typename Block, int N>
class ForwardPass {
  using Element = typename Block::Element;
  using Operand = typename Element::Operand;
  using Stored = typename Element::Stored;
  using Unit = Cell<float, N, Approximate>;
  static constexpr int G = Unit::G, M = Unit::M, kRows = Block::kRows;
  static constexpr int kAhead = kRows / 2;  // numbers of a step's input that a thread asks for ahead

 public:
  using Shared = ForwardShared<Element, kRows, N>;

  SRN_BODY ForwardPass(const Block& block, const Plan& plan, const ForwardCall& call, const Shared& shared)
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
        G, M, [&](int g, int unit, int k) { return Element::operand_of(hh[(g * H + first + unit) * H + k]); },
        [&](int m, int unit, int j) { return Element::operand_of(mc[(j * M + m) * H + first + unit]); });
    const Stored* const b_hh = static_cast<const Stored*>(direction_.weights.b_hh);
    const Stored* const b_mc = static_cast<const Stored*>(direction_.weights.b_mc);
    each(block_, G * plan_.units, [&](int i) {
      const int g = plan_.by_units.quotient(i), unit = plan_.by_units.remainder(i);
      const bool has = b_hh != nullptr && unit < place_.units;
      at(shared_.bias)[i] = has ? Element::load(b_hh[g * H + first + unit]) : 0.0f;
    });
    each(block_, plan_.units, [&](int unit) {
      const bool has = b_mc != nullptr && unit < place_.units;
      at(shared_.bias_mc)[unit] = has ? Element::load(b_mc[first + unit]) : 0.0f;
    });
    block_.sync();
  }

  SRN_BODY void sequence(const RowGroup& group) {
    start(group);
    const bool reverse = direction_.reverse;
    for (int i = 0; i < group.steps; ++i) {
      const int step = reverse ? group.steps - 1 - i : i;
      const bool last = i + 1 == group.steps;
      team_.exchange().await_gathered();
      block_.sync();
      block_.stamp(srn::persistent::kAwaitH);
      team_.multiply_gathered();
      block_.sync();
      block_.stamp(srn::persistent::kMultiplyH);
      activate();
      block_.sync();
      block_.stamp(srn::persistent::kActivate);
      select();
      block_.sync();
      block_.stamp(srn::persistent::kSelect);
      team_.multiply_owned_and_scatter();
      block_.stamp(srn::persistent::kMultiplyS);
      // While the partial sums are on their way, work that no other block waits for.
      const Input next(*this, group, last ? step : reverse ? step - 1 : step + 1);
      Stored asked[kAhead] = {};
      if (!last) next.ask(asked);
      keep(group, step);
      block_.stamp(srn::persistent::kKeep);
      team_.exchange().await_scattered();
      block_.sync();
      block_.stamp(srn::persistent::kAwaitC);
      finish(group, step, last);
      if (!last) next.take(asked);
      block_.stamp(srn::persistent::kFinish);
    }
    end(group);
  }

  // Initial states, zeros for rows that the batch does not have; h goes to all members.
  SRN_BODY void start(const RowGroup& group) {
    const Stored* const h0 = static_cast<const Stored*>(direction_.h0);
    const Stored* const c0 = static_cast<const Stored*>(direction_.c0);
    team_.each_unit([&](int item, int unit, int row) {
      const int64_t sequence = group.first + row, index = sequence * H_ + place_.first + unit;
      const bool has = sequence < call_.sizes.batch;
      at(shared_.h)[item] = has ? Element::load(h0[index]) : 0.0f;
      at(shared_.c)[item] = has ? Element::load(c0[index]) : 0.0f;
      team_.exchange().gather(item, at(shared_.h)[item]);
    });
    team_.exchange().send_gathered();
    const Input first(*this, group, direction_.reverse ? group.steps - 1 : 0);
    Stored asked[kAhead] = {};
    first.ask(asked);
    first.take(asked);
  }

  // A step's share of the input's product.
  struct Input {
    const ForwardPass& pass;
    const Stored* const z;
    const int rows;

    SRN_BODY Input(const ForwardPass& pass, const RowGroup& group, int step)
        : pass(pass),
          z(static_cast<const Stored*>(pass.direction_.z) + group.row(step) * G * pass.H_ + pass.place_.first),
          rows(group.active(step, kRows)) {}

    SRN_BODY Stored load(int row, int g, int unit) const { return z[(int64_t(row) * G + g) * pass.H_ + unit]; }
    SRN_BODY void ask(Stored (&asked)[kAhead]) const {
      pass.team_.ask(asked, G, rows, [&](int row, int g, int unit) { return load(row, g, unit); });
    }
    SRN_BODY void take(const Stored (&asked)[kAhead]) const {
      pass.team_.take(
          asked, G, rows, [&](int row, int g, int unit) { return load(row, g, unit); },
          [&](int index, int, int, int, float number) { pass.at(pass.shared_.z)[index] = number; });
    }
  };

  // Eq. 1, 3. Inactive rows hold what was there before, as they do in z; nothing reads them.
  SRN_BODY void activate() {
    team_.each_of(G, kRows, [&](int index, int row, int g, int unit) {
      const int column = g * plan_.units + unit;
      const float z = team_.total(row, column) + at(shared_.z)[index] + at(shared_.bias)[column];
      at(shared_.gates)[index] = g == kCandidate ? Approximate::tanh(z) : Approximate::sigmoid(z);
    });
  }

  // Eq. 2, 4 to 7.
  SRN_BODY void select() {
    team_.each_unit([&](int item, int unit, int row) {
      float gates[G], s[M];
      const int first = row * G * plan_.units + unit;
      unrolled<0, G>([&](auto g) SRN_INLINE_LAMBDA {
        gates[decltype(g)::value] = at(shared_.gates)[first + decltype(g)::value * plan_.units];
      });
      Unit::memories(gates, at(shared_.c)[item], s);
      unrolled<0, M>([&](auto memory) SRN_INLINE_LAMBDA {
        constexpr int m = decltype(memory)::value;
        const int column = m * plan_.units + unit;
        team_.owned(row, column) = Element::operand(s[m]);
        at(shared_.s)[row * M * plan_.units + column] = s[m];
      });
    });
  }

  // Eq. 10, and what the backward pass needs.
  SRN_BODY void keep(const RowGroup& group, int step) {
    const int rows = group.active(step, kRows);
    const int64_t first = group.row(step);
    if (direction_.gates != nullptr) {
      Stored* const gates = static_cast<Stored*>(direction_.gates) + first * G * H_ + place_.first;
      team_.each_of(G, rows, [&](int index, int row, int g, int unit) {
        gates[(int64_t(row) * G + g) * H_ + unit] = Element::store(at(shared_.gates)[index]);
      });
    }
    if (direction_.memories != nullptr) {
      Stored* const memories =
          static_cast<Stored*>(direction_.memories) + first * direction_.memories_row_stride + place_.first;
      team_.each_of(M, rows, [&](int index, int row, int m, int unit) {
        memories[row * direction_.memories_row_stride + m * direction_.memory_stride + unit] =
            Element::store(Approximate::tanh(at(shared_.s)[index]));
      });
    }
  }

  // Eq. 8, 9; inactive rows keep their state. What other members wait for goes first.
  SRN_BODY void finish(const RowGroup& group, int step, bool last) {
    const int rows = group.active(step, kRows);
    const int64_t first = group.row(step);
    Stored* const output = static_cast<Stored*>(direction_.output) + first * direction_.output_stride + place_.first;
    Stored* const cells = static_cast<Stored*>(direction_.cells);
    team_.each_unit([&](int item, int unit, int row) {
      const bool active = row < rows;
      float h = at(shared_.h)[item], c = 0;
      if (active) {
        c = Unit::clipped(team_.exchange().scattered(item) + at(shared_.bias_mc)[unit], float(direction_.cell_clip));
        h = Unit::hidden(at(shared_.gates)[(row * G + kOutput) * plan_.units + unit], c);
      }
      if (!last) team_.exchange().gather(item, h);
      if (active) {
        at(shared_.c)[item] = c;
        at(shared_.h)[item] = h;
        output[row * direction_.output_stride + unit] = Element::store(h);
        if (direction_.gates != nullptr) cells[(first + row) * H_ + place_.first + unit] = Element::store(c);
      }
    });
    if (!last) team_.exchange().send_gathered();
  }

  SRN_BODY void end(const RowGroup& group) {
    Stored* const h_n = static_cast<Stored*>(direction_.h_n);
    Stored* const c_n = static_cast<Stored*>(direction_.c_n);
    team_.each_unit([&](int item, int unit, int row) {
      const int64_t sequence = group.first + row;
      if (sequence >= call_.sizes.batch) return;
      h_n[sequence * H_ + place_.first + unit] = Element::store(at(shared_.h)[item]);
      c_n[sequence * H_ + place_.first + unit] = Element::store(at(shared_.c)[item]);
    });
  }

  const Block& block_;
  const Plan& plan_;
  const ForwardCall& call_;
  const Shared& shared_;
  Team<Block> team_;
  const Place place_;
  const ForwardDirection& direction_;
  const int H_;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
