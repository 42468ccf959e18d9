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
  using Stored = typename Element::Stored;
  using Unit = Cell<float, N, Approximate>;
  static constexpr int G = Unit::G, M = Unit::M, kRows = Block::kRows;

 public:
  using Shared = ForwardShared<Element, kRows, N>;
  using Item = typename Team<Block>::Item;

  SRN_BODY ForwardPass(const Block& block, const Plan& plan, const ForwardCall& call, const Shared& shared)
      : block_(block),
        plan_(plan),
        call_(call),
        shared_(shared),
        team_(block, plan, call, shared.team),
        place_(team_.place()),
        direction_(call.direction[place_.team % call.sizes.directions]),
        clip_(in_register(float(direction_.cell_clip))),
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
    const int H = H_, first = place_.first;
    team_.template load<G, M>(
        hh, [&](int g, int unit) { return (g * H + first + unit) * H; }, [](int k) { return k; },  //
        mc, [&](int m, int unit) { return m * H + first + unit; }, [&](int j) { return j * M * H; });
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
    const bool reverse = direction_.reverse;
    StepRows rows = group.at(reverse ? group.steps - 1 : 0, kRows);
    start(group, rows);
    for (int i = 0; i < group.steps; ++i) {
      const bool last = i + 1 == group.steps;
      const StepRows next = last ? StepRows() : group.at(reverse ? group.steps - 2 - i : i + 1, kRows);
      team_.exchange().await_gathered();
      block_.stamp(srn::persistent::kAwaitH);
      team_.multiply_gathered();
      block_.sync();
      block_.stamp(srn::persistent::kMultiplyH);
      select(rows);
      block_.sync();
      block_.stamp(srn::persistent::kSelect);
      team_.multiply_owned_and_scatter();
      block_.stamp(srn::persistent::kMultiplyS);
      // While the partial sums are on their way, work that no other block waits for.
      if (!last) ask(next);
      keep(rows);
      block_.stamp(srn::persistent::kKeep);
      team_.exchange().await_scattered();
      block_.stamp(srn::persistent::kAwaitC);
      finish(rows, last);
      block_.stamp(srn::persistent::kFinish);
      rows = next;
    }
    end(group);
  }

  // Initial states, zeros for rows that the batch does not have; h goes to all members.
  SRN_BODY void start(const RowGroup& group, const StepRows& rows) {
    const Stored* const h0 = static_cast<const Stored*>(direction_.h0);
    const Stored* const c0 = static_cast<const Stored*>(direction_.c0);
    const auto init = [&](const Item& item) {
      const int64_t sequence = group.first + item.row, index = sequence * H_ + place_.first + item.unit;
      const bool has = sequence < call_.sizes.batch;
      at(shared_.h)[item.index] = has ? Element::load(h0[index]) : 0.0f;
      at(shared_.c)[item.index] = has ? Element::load(c0[index]) : 0.0f;
      team_.exchange().gather(item.unit, item.row, at(shared_.h)[item.index]);
    };
    team_.each_item(init, [&](int items) { team_.exchange().send_gathered(items); });
    ask(rows);
  }

  // An item's share of the input's product, on its way until it is used.
  struct Asked {
    Stored z[G] = {};
  };
  SRN_BODY void ask(const StepRows& rows, const Item& item) {
    if (item.row >= rows.count) return;
    const Stored* const z =
        static_cast<const Stored*>(direction_.z) + rows.first * G * H_ + place_.first + item.row * G * H_ + item.unit;
    SRN_UNROLL(G)
    for (int g = 0; g < G; ++g) asked_[item.lane].z[g] = z[g * H_];
  }
  // That of a thread's first item, a step ahead.
  SRN_BODY void ask(const StepRows& rows) {
    team_.each_item([&](const Item& item) {
      if (item.turn == 0) ask(rows, item);
    });
  }

  // Eq. 1 to 7. Inactive rows hold what was there before; nothing reads them.
  SRN_BODY void select(const StepRows& rows) {
    team_.each_item([&](const Item& item) {
      if (item.turn > 0) ask(rows, item);
      float z[G], gates[G], s[M];
      team_.totals(item.index, z);
      SRN_UNROLL(G)
      for (int g = 0; g < G; ++g) {
        z[g] += Element::load(asked_[item.lane].z[g]) + at(shared_.bias)[g * plan_.units + item.unit];
      }
      Unit::activate(z, gates);
      Unit::memories(gates, at(shared_.c)[item.index], s);
      team_.own(item.unit, item.row, s);
      at(shared_.output_gate)[item.index] = gates[kOutput];
      if (direction_.gates != nullptr) {
        SRN_UNROLL(G)
        for (int g = 0; g < G; ++g) at(shared_.gates)[g * team_.items() + item.index] = Element::store(gates[g]);
      }
      if (direction_.memories != nullptr) {
        SRN_UNROLL(M)
        for (int m = 0; m < M; ++m) at(shared_.s)[m * team_.items() + item.index] = s[m];
      }
    });
  }

  // Eq. 10, and what the backward pass needs.
  SRN_BODY void keep(const StepRows& rows) {
    if (direction_.gates != nullptr) {
      Stored* const gates = static_cast<Stored*>(direction_.gates) + rows.first * G * H_ + place_.first;
      team_.each_item([&](const Item& item) {
        if (item.row >= rows.count) return;
        Stored* const to = gates + item.row * G * H_ + item.unit;
        SRN_UNROLL(G)
        for (int g = 0; g < G; ++g) to[g * H_] = at(shared_.gates)[g * team_.items() + item.index];
      });
    }
    if (direction_.memories != nullptr) {
      Stored* const memories =
          static_cast<Stored*>(direction_.memories) + rows.first * direction_.memories_row_stride + place_.first;
      team_.each_item([&](const Item& item) {
        if (item.row >= rows.count) return;
        Stored* const to = memories + item.row * direction_.memories_row_stride + item.unit;
        SRN_UNROLL(M)
        for (int m = 0; m < M; ++m) {
          to[m * direction_.memory_stride] =
              Element::store(Approximate::tanh(at(shared_.s)[m * team_.items() + item.index]));
        }
      });
    }
  }

  // Eq. 8, 9; inactive rows keep their state. What other members wait for goes first.
  SRN_BODY void finish(const StepRows& rows, bool last) {
    const auto update = [&](const Item& item) {
      float h = at(shared_.h)[item.index];
      if (item.row < rows.count) {
        const float sum = team_.exchange().scattered(item.unit, item.row) + at(shared_.bias_mc)[item.unit];
        at(shared_.c)[item.index] = Unit::clipped(sum, clip_);
        h = Unit::hidden(at(shared_.output_gate)[item.index], at(shared_.c)[item.index]);
        at(shared_.h)[item.index] = h;
      }
      if (!last) team_.exchange().gather(item.unit, item.row, h);
    };
    team_.each_item(update, [&](int items) {
      if (!last) team_.exchange().send_gathered(items);
    });
    Stored* const output =
        static_cast<Stored*>(direction_.output) + rows.first * direction_.output_stride + place_.first;
    Stored* const cells = static_cast<Stored*>(direction_.cells);
    team_.each_item([&](const Item& item) {
      if (item.row >= rows.count) return;
      output[item.row * direction_.output_stride + item.unit] = Element::store(at(shared_.h)[item.index]);
      if (direction_.gates == nullptr) return;
      cells[(rows.first + item.row) * H_ + place_.first + item.unit] = Element::store(at(shared_.c)[item.index]);
    });
  }

  SRN_BODY void end(const RowGroup& group) {
    Stored* const h_n = static_cast<Stored*>(direction_.h_n);
    Stored* const c_n = static_cast<Stored*>(direction_.c_n);
    team_.each_item([&](const Item& item) {
      const int64_t sequence = group.first + item.row;
      if (sequence >= call_.sizes.batch) return;
      h_n[sequence * H_ + place_.first + item.unit] = Element::store(at(shared_.h)[item.index]);
      c_n[sequence * H_ + place_.first + item.unit] = Element::store(at(shared_.c)[item.index]);
    });
  }

  const Block& block_;
  const Plan& plan_;
  const ForwardCall& call_;
  const Shared& shared_;
  Team<Block> team_;
  const Place place_;
  const ForwardDirection& direction_;
  const float clip_;
  const int H_;
  typename Block::template PerLane<Asked> asked_;  // of the items that are computed next
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
