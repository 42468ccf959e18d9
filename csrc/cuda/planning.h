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

struct Gpu {
  int processors;            // multiprocessors: a block needs one for itself
  int64_t shared_per_block;  // bytes, the most that a plan's block can have
};

constexpr int kMaxUnits = 64;

// Cycles of a product, for ranking: of two warps to each of a multiprocessor's tensor cores, which take 8 for a tile; or
// of a chain of sums, if that is longer; or of reading the tiles that registers do not hold.
inline double product_cycles(const Tiles& tiles, int rows) {
  constexpr double kTile = 8, kChain = 33, kSharedPerCycle = 128;
  using srn::persistent::kPassRows;
  const int passes = ceil_div(tiles.rows_each, kPassRows), first_rows = tiles.rows_each < kPassRows ? 2 : kPassRows;
  const int first = first_rows * std::max(tiles.depths_each, srn::persistent::kResidentDepths - 1);
  const double multiplied = 2 * kTile * (rows / 8.0) * (first + (passes - 1) * kPassRows * tiles.depths_each);
  const double read = double(extra_tiles(tiles)) * kWarps * kTileBytes / kSharedPerCycle;
  return std::max({multiplied, kChain * tiles.depths_each * passes, read});
}

template <typename Element, int kRows, int N>
int64_t shared_bytes(Pass pass, const Plan& plan) {
  return pass == Pass::kForward ? ForwardShared<Element, kRows, N>(plan).bytes
                                : BackwardShared<Element, kRows, N>(plan).bytes;
}

constexpr int kMostSplitBits = 3;
static_assert(1 << kMostSplitBits == kWarps, "a part of the depth for every warp");

// The plan with kRows rows a team, `units` units a member and the first product's depth in 2^split_bits parts, whether
// or not it fits.
template <typename Element, int kRows, int N>
Plan plan_of(Pass pass, const Sizes& sizes, Exchange exchange, int units, int split_bits) {
  Plan plan;
  plan.exchange = exchange;
  plan.rows = kRows;
  plan.units = units;
  plan.members = ceil_div(sizes.hidden, units);
  plan.row_groups = ceil_div(sizes.batch, kRows);
  const int gathered = pass == Pass::kForward ? gate_blocks(N) : memory_count(N);
  const int owned = pass == Pass::kForward ? memory_count(N) : gate_blocks(N);
  plan.gathered = Tiles(ceil_div(gathered * units, kTileRows), ceil_div(sizes.hidden, Element::kDepth), split_bits);
  plan.owned = Tiles(ceil_div(sizes.hidden, kTileRows), ceil_div(owned * units, Element::kDepth), 0);
  plan.by_units = srn::persistent::Divisor(units);
  plan.shared_bytes = shared_bytes<Element, kRows, N>(pass, plan);
  if (exchange == Exchange::kCluster) return plan;
  plan.gather_words = int64_t(plan.members) * units * kRows;
  plan.scatter_words = plan.members * plan.gather_words;
  plan.team_words = 2 * (plan.scatter_words + plan.gather_words);
  return plan;
}

// Cycles of a call, for ranking plans.
inline double estimate(const Plan& plan, const Sizes& sizes) {
  constexpr double kFixed = 1500;        // barriers, and the latency of two exchanges
  constexpr double kItems = 250;         // pointwise work of as many items as there are threads
  constexpr double kMore = 1500;         // of more: what those need is not asked for ahead
  constexpr double kPartial = 36;        // adding up partial sums of the first product
  constexpr double kBytesPerCycle = 38;  // of one multiprocessor to and from the second-level cache
  const double products = product_cycles(plan.gathered, plan.rows) + product_cycles(plan.owned, plan.rows);
  const int turns = ceil_div(plan.units * plan.rows, kWarps * 32);
  const double items = kItems * turns + kMore * (turns - 1) + kPartial * plan.gathered.splits();
  const double moved = 3.0 * sizes.hidden * plan.rows * 4;  // partial sums out and in, gathered numbers in
  return ceil_div(plan.row_groups, plan.teams) * (kFixed + products + items + moved / kBytesPerCycle);
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
    for (int split_bits = 0; split_bits <= kMostSplitBits; ++split_bits) {
      Plan plan = plan_of<Element, kRows, N>(pass, sizes, exchange, units, split_bits);
      least_shared = std::min(least_shared, plan.shared_bytes);
      if (plan.shared_bytes > gpu.shared_per_block) continue;
      plan.teams = std::min(plan.row_groups, teams);
      if (best.rows == 0 || estimate(plan, sizes) < estimate(best, sizes)) best = plan;
    }
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
