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
  using Stored = typename Element::Stored;
  using Unit = Cell<float, N, Approximate>;
  static constexpr int G = Unit::G, M = Unit::M, kRows = Block::kRows;

 public:
  using Shared = BackwardShared<Element, kRows, N>;
  using Item = typename Team<Block>::Item;

  SRN_BODY BackwardPass(const Block& block, const Plan& plan, const BackwardCall& call, const Shared& shared)
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
    team_.template load<M, G>(
        mc, [&](int m, int unit) { return m * H + first + unit; }, [&](int j) { return j * M * H; },  //
        hh, [&](int g, int unit) { return (g * H + first + unit) * H; }, [](int k) { return k; });
    block_.sync();
  }

  SRN_BODY void sequence(const RowGroup& group) {
    const bool reverse = direction_.reverse;
    // The step that the forward pass visited before another; none has no rows.
    const auto before = [&](int step) {
      const int other = reverse ? step + 1 : step - 1;
      return other >= 0 && other < group.steps ? group.at(other, kRows) : StepRows();
    };
    const int first = reverse ? 0 : group.steps - 1;
    Rows rows = {group.at(first, kRows), before(first)};
    start(group, rows);
    for (int i = 0; i < group.steps; ++i) {
      const int step = reverse ? i : group.steps - 1 - i;
      begin(group, rows);
      block_.stamp(srn::persistent::kBegin);
      // While the gradients of c are on their way.
      recompute(group, rows);
      const Rows next = {rows.before, before(reverse ? step + 1 : step - 1)};
      block_.stamp(srn::persistent::kRecompute);
      team_.exchange().await_gathered();
      block_.stamp(srn::persistent::kAwaitDc);
      team_.multiply_gathered();
      block_.sync();
      block_.stamp(srn::persistent::kMultiplyDc);
      differentiate(group, rows);
      block_.sync();
      block_.stamp(srn::persistent::kDifferentiate);
      team_.multiply_owned_and_scatter();
      block_.stamp(srn::persistent::kMultiplyDz);
      // While the partial sums are on their way, work that no other block waits for.
      if (i + 1 < group.steps) ask(group, next);
      keep(rows.now);
      block_.stamp(srn::persistent::kKeepDz);
      team_.exchange().await_scattered();
      finish(rows.now);
      block_.stamp(srn::persistent::kAwaitDh);
      rows = next;
    }
    end(group);
  }

  // The rows of a step, and of the one that the forward pass visited before it.
  struct Rows {
    StepRows now, before;
  };

  SRN_BODY void start(const RowGroup& group, const Rows& rows) {
    const Stored* const grad_h_n = static_cast<const Stored*>(direction_.grad_h_n);
    const Stored* const grad_c_n = static_cast<const Stored*>(direction_.grad_c_n);
    const auto last = [&](const Stored* grad, int row, int unit) {
      const int64_t sequence = group.first + row;
      const bool has = grad != nullptr && sequence < call_.sizes.batch;
      return has ? Element::load(grad[sequence * H_ + place_.first + unit]) : 0.0f;
    };
    team_.each_item([&](const Item& item) {
      at(shared_.dh)[item.index] = last(grad_h_n, item.row, item.unit);
      at(shared_.dc_before)[item.index] = last(grad_c_n, item.row, item.unit);
    });
    ask(group, rows);
  }

  // What the forward pass and the caller left of an item, on its way until it is used.
  struct Asked {
    Stored gates[G], grad_memories[M], c, c_before, grad_output;
  };

  SRN_BODY void ask(const RowGroup& group, const Rows& rows, const Item& item) {
    if (item.row >= rows.now.count) return;
    const int row = item.row, unit = item.unit;
    const int64_t first = rows.now.first;
    const auto units_of = [&](const void* buffer, int64_t before) {
      return static_cast<const Stored*>(buffer) + before + place_.first;
    };
    Asked& asked = asked_[item.lane];
    const Stored* const gates = units_of(direction_.gates, first * G * H_) + row * G * H_ + unit;
    SRN_UNROLL(G)
    for (int g = 0; g < G; ++g) asked.gates[g] = gates[g * H_];
    asked.c = units_of(direction_.cells, first * H_)[row * H_ + unit];
    const Stored* const before = row < rows.before.count ? units_of(direction_.cells, rows.before.first * H_)
                                                         : units_of(direction_.c0, int64_t(group.first) * H_);
    asked.c_before = before[row * H_ + unit];
    if (direction_.grad_output != nullptr) {
      asked.grad_output = units_of(direction_.grad_output, (first + row) * direction_.grad_output_stride)[unit];
    }
    if (direction_.grad_memories != nullptr) {
      const Stored* const grad_memories =
          units_of(direction_.grad_memories, (first + row) * direction_.grad_memories_row_stride) + unit;
      SRN_UNROLL(M)
      for (int m = 0; m < M; ++m) asked.grad_memories[m] = grad_memories[m * direction_.grad_memory_stride];
    }
  }
  // That of a thread's first item, a step ahead; of its others when it is used.
  SRN_BODY void ask(const RowGroup& group, const Rows& rows) {
    team_.each_item([&](const Item& item) {
      if (item.turn == 0) ask(group, rows, item);
    });
  }
  // f(item, asked, active), each item with what was asked for if the step has its row; after(group).
  template <typename F, typename After>
  SRN_BODY void each_asked(const RowGroup& group, const Rows& rows, bool first_time, const F& f, const After& after) {
    const auto with_asked = [&](const Item& item) {
      if (team_.several() && (item.turn > 0 || !first_time)) ask(group, rows, item);
      f(item, asked_[item.lane], item.row < rows.now.count);
    };
    team_.each_item(with_asked, after);
  }
  template <typename F>
  SRN_BODY void each_asked(const RowGroup& group, const Rows& rows, const F& f) {
    each_asked(group, rows, false, f, [](int) {});
  }

  // Eq. 9 differentiated: the gradient of c_t, for all members. Inactive rows have none.
  SRN_BODY void begin(const RowGroup& group, const Rows& rows) {
    Stored* const dc_rows = static_cast<Stored*>(direction_.dc) + rows.now.first * H_ + place_.first;
    const auto differentiate_h = [&](const Item& item, const Asked& asked, bool active) {
      if (!active) return team_.exchange().gather(item.unit, item.row, 0.0f);
      const float grad = direction_.grad_output == nullptr ? 0.0f : Element::load(asked.grad_output);
      const float dh = at(shared_.dh)[item.index] + grad;
      const float dc = Unit::cell_gradient(Element::load(asked.gates[kOutput]), Element::load(asked.c), dh,
                                           at(shared_.dc_before)[item.index], clip_);
      at(shared_.dh_whole)[item.index] = dh;
      team_.exchange().gather(item.unit, item.row, dc);
      dc_rows[item.row * H_ + item.unit] = Element::store(dc);
    };
    each_asked(group, rows, true, differentiate_h, [&](int items) { team_.exchange().send_gathered(items); });
  }

  // The memories before tanh (Eq. 6, 7), and what the gradients of tanh(s) (Eq. 10) add to ds.
  SRN_BODY void recompute(const RowGroup& group, const Rows& rows) {
    Stored* const s_rows = static_cast<Stored*>(direction_.s) + rows.now.first * M * H_ + place_.first;
    each_asked(group, rows, [&](const Item& item, const Asked& asked, bool active) {
      if (!active) return;
      float gates[G], s[M];
      load_gates(asked, gates);
      Unit::memories(gates, Element::load(asked.c_before), s);
      Stored* const to = s_rows + item.row * M * H_ + item.unit;
      SRN_UNROLL(M)
      for (int m = 0; m < M; ++m) to[m * H_] = Element::store(s[m]);
      if (direction_.grad_memories == nullptr) return;
      SRN_UNROLL(M)
      for (int m = 0; m < M; ++m) {
        const float t = Approximate::tanh(s[m]);
        at(shared_.ds)[m * team_.items() + item.index] = Element::load(asked.grad_memories[m]) * (1 - t * t);
      }
    });
  }

  // Eq. 8 and 1 to 7 differentiated: the gradients of the memories, and of the gates. Of inactive rows the operand keeps
  // what was there; nobody reads their sums.
  SRN_BODY void differentiate(const RowGroup& group, const Rows& rows) {
    each_asked(group, rows, [&](const Item& item, const Asked& asked, bool active) {
      if (!active) return;
      float gates[G], ds[M], dz[G];
      team_.totals(item.index, ds);
      if (direction_.grad_memories != nullptr) {
        SRN_UNROLL(M)
        for (int m = 0; m < M; ++m) ds[m] += at(shared_.ds)[m * team_.items() + item.index];
      }
      load_gates(asked, gates);
      at(shared_.dc_before)[item.index] = Unit::backward(gates, Element::load(asked.c_before), Element::load(asked.c),
                                                         at(shared_.dh_whole)[item.index], ds, dz);
      team_.own(item.unit, item.row, dz);
      SRN_UNROLL(G)
      for (int g = 0; g < G; ++g) at(shared_.dz)[g * team_.items() + item.index] = Element::store(dz[g]);
    });
  }

  SRN_BODY void keep(const StepRows& rows) {
    Stored* const dz = static_cast<Stored*>(direction_.dz) + rows.first * G * H_ + place_.first;
    team_.each_item([&](const Item& item) {
      if (item.row >= rows.count) return;
      Stored* const to = dz + item.row * G * H_ + item.unit;
      SRN_UNROLL(G)
      for (int g = 0; g < G; ++g) to[g * H_] = at(shared_.dz)[g * team_.items() + item.index];
    });
  }

  SRN_BODY void finish(const StepRows& rows) {
    team_.each_item([&](const Item& item) {
      if (item.row < rows.count) at(shared_.dh)[item.index] = team_.exchange().scattered(item.unit, item.row);
    });
  }

  SRN_BODY void end(const RowGroup& group) {
    Stored* const grad_h0 = static_cast<Stored*>(direction_.grad_h0);
    Stored* const grad_c0 = static_cast<Stored*>(direction_.grad_c0);
    team_.each_item([&](const Item& item) {
      const int64_t sequence = group.first + item.row;
      if (sequence >= call_.sizes.batch) return;
      grad_h0[sequence * H_ + place_.first + item.unit] = Element::store(at(shared_.dh)[item.index]);
      grad_c0[sequence * H_ + place_.first + item.unit] = Element::store(at(shared_.dc_before)[item.index]);
    });
  }

  static SRN_BODY void load_gates(const Asked& asked, float (&gates)[G]) {
    SRN_UNROLL(G)
    for (int g = 0; g < G; ++g) gates[g] = Element::load(asked.gates[g]);
  }

  const Block& block_;
  const Plan& plan_;
  const BackwardCall& call_;
  const Shared& shared_;
  Team<Block> team_;
  const Place place_;
  const BackwardDirection& direction_;
  const float clip_;
  const int H_;
  typename Block::template PerLane<Asked> asked_;  // of the items that are computed next
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
