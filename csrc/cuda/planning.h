// Chooses how a recurrence is dealt to a GPU's blocks, or says why it cannot be.
//
// Plans are ranked by an estimate of a step's time: multiplications, what an exchange moves, and what it takes however
// little it moves. The estimate is no measurement.
#pragma once

#include <string>

#include "cuda/shared.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::Exchange;
using srn::persistent::Pass;
using srn::persistent::Sizes;
using srn::persistent::Span;
using srn::persistent::Tiles;

struct Gpu {
  int processors;            // multiprocessors: a block needs one for itself
  int64_t shared_per_block;  // bytes, the most that a plan's block can have
};

constexpr int kMaxUnits = 64;

inline int extra_tiles(const Tiles& tiles, Span (*span_of)(const Tiles&, int)) {
  constexpr int kBatch = 4;  // Product::kChains at most: warps go through them in whole batches
  int most = 0;
  for (int warp = 0; warp < kWarps; ++warp) most = std::max(most, span_of(tiles, warp).count);
  return most <= srn::persistent::kResident ? 0 : ceil_div(most - srn::persistent::kResident, kBatch) * kBatch;
}

// Whether a warp's share of a product fits the bits that describe it (product.h).
inline bool fits_a_share(const Tiles& tiles) {
  return tiles.tile_rows < 1 << 12 && tiles.depths < 1 << 10 && ceil_div(tiles.count(), kWarps) < 1 << 10;
}

template <typename Element, int kRows, int N>
int64_t shared_bytes(Pass pass, const Plan& plan) {
  return pass == Pass::kForward ? ForwardShared<Element, kRows, N>(plan).bytes
                                : BackwardShared<Element, kRows, N>(plan).bytes;
}

// The plan with kRows rows a team and `units` units a member, whether or not it fits.
template <typename Element, int kRows, int N>
Plan plan_of(Pass pass, const Sizes& sizes, Exchange exchange, int units) {
  Plan plan;
  plan.exchange = exchange;
  plan.rows = kRows;
  plan.units = units;
  plan.members = ceil_div(sizes.hidden, units);
  plan.row_groups = ceil_div(sizes.batch, kRows);
  const int gathered = pass == Pass::kForward ? gate_blocks(N) : memory_count(N);
  const int owned = pass == Pass::kForward ? memory_count(N) : gate_blocks(N);
  plan.gathered = {ceil_div(gathered * units, kTileRows), ceil_div(sizes.hidden, Element::kDepth)};
  plan.owned = {ceil_div(sizes.hidden, kTileRows), ceil_div(owned * units, Element::kDepth)};
  for (int tile_row = 0; tile_row < plan.gathered.tile_rows; ++tile_row) {
    plan.partials = std::max(plan.partials, srn::persistent::partials_of(plan.gathered, tile_row));
  }
  plan.extra[0] = extra_tiles(plan.gathered, srn::persistent::even_span);
  plan.extra[1] = extra_tiles(plan.owned, srn::persistent::whole_span);
  plan.by_units = srn::persistent::Divisor(units);
  plan.by_messages = srn::persistent::Divisor(ceil_div(units, srn::persistent::kMessageUnits) * kRows);
  plan.shared_bytes = shared_bytes<Element, kRows, N>(pass, plan);
  if (exchange == Exchange::kCluster) return plan;
  plan.gather_words = int64_t(plan.members) * units * kRows;
  plan.scatter_words = plan.members * plan.gather_words;
  plan.team_words = 2 * (plan.scatter_words + plan.gather_words);
  return plan;
}

// Cycles of a call, for ranking plans.
inline double estimate(const Plan& plan, const Sizes& sizes) {
  constexpr double kFixed = 1800;        // barriers, pointwise work, and the latency of two exchanges
  constexpr double kPerTile = 1.6;       // of 16 by 16 numbers, times 8 rows, on a whole multiprocessor
  constexpr double kBytesPerCycle = 38;  // of one multiprocessor to and from the second-level cache
  constexpr double kSharedPerCycle = 128;
  const double rows = plan.rows / 8.0, tiles = plan.gathered.count() + plan.owned.count();
  const double extra = double(plan.extra[0] + plan.extra[1]) * kWarps * kTileBytes / kSharedPerCycle;
  const double moved = 3.0 * sizes.hidden * plan.rows * 4;  // partial sums out and in, gathered numbers in
  const double step = kFixed + std::max(tiles * kPerTile * rows, extra) + moved / kBytesPerCycle;
  return ceil_div(plan.row_groups, plan.teams) * step;
}

// Whether units can be dealt out this way: not if as many members could have fewer each. A message within a cluster
// holds units of one member.
inline bool deals_out(const Sizes& sizes, Exchange exchange, int units) {
  const int members = ceil_div(sizes.hidden, units);
  const int step = exchange == Exchange::kCluster ? srn::persistent::kMessageUnits : 1;
  return units % step == 0 && (members == 1 || ceil_div(ceil_div(sizes.hidden, members), step) * step == units);
}

template <typename Element, int kRows, int N>
void best_of(Pass pass, const Sizes& sizes, const Gpu& gpu, Exchange exchange, Plan& best, int64_t& least_shared) {
  for (int units = 1; units <= kMaxUnits; ++units) {
    if (!deals_out(sizes, exchange, units)) continue;
    const int members = ceil_div(sizes.hidden, units), teams = gpu.processors / (sizes.directions * members);
    if (teams == 0 || (exchange == Exchange::kCluster && members > srn::persistent::kMostMembers)) continue;
    Plan plan = plan_of<Element, kRows, N>(pass, sizes, exchange, units);
    least_shared = std::min(least_shared, plan.shared_bytes);
    if (plan.shared_bytes > gpu.shared_per_block) continue;
    if (!fits_a_share(plan.gathered) || !fits_a_share(plan.owned)) continue;
    plan.teams = std::min(plan.row_groups, teams);
    if (best.rows == 0 || estimate(plan, sizes) < estimate(best, sizes)) best = plan;
    if (members == 1) break;
  }
}

inline std::string too_many_units(const Sizes& sizes, const Gpu& gpu, Exchange exchange) {
  const bool cluster = exchange == Exchange::kCluster;
  const int64_t blocks = cluster ? srn::persistent::kMostMembers : gpu.processors / sizes.directions;
  return std::to_string(sizes.hidden) + " hidden units are more than the " + std::to_string(blocks * kMaxUnits) +
         (cluster ? " that the blocks of a cluster can share" : " that this GPU's multiprocessors can share");
}

// The plan of a pass. If there is none, its `rows` are 0 and `reason` is a sentence.
template <typename Element, int N>
Plan choose_plan(Pass pass, const Sizes& sizes, const Gpu& gpu, Exchange exchange, std::string& reason) {
  Plan best;
  int64_t least = INT64_MAX;
  best_of<Element, 8, N>(pass, sizes, gpu, exchange, best, least);
  if constexpr (srn::persistent::has_kernel(Exchange::kMailbox, 16, N)) {
    if (exchange == Exchange::kMailbox) best_of<Element, 16, N>(pass, sizes, gpu, exchange, best, least);
  }
  if (best.rows == 0) {
    reason = least == INT64_MAX ? too_many_units(sizes, gpu, exchange)
                                : "its weights do not fit on chip: a block would need " + std::to_string(least) +
                                      " bytes of shared memory, this GPU has " + std::to_string(gpu.shared_per_block);
  }
  return best;
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
