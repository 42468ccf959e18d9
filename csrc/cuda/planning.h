// Chooses how a recurrence is dealt to a GPU's blocks, or says why it cannot be.
//
// Which plan is best is a matter of a step's time, which is estimated: multiplications, what an exchange moves, and what
// it takes however little it moves. The estimate only ranks plans; it is no measurement.
#pragma once

#include <string>

#include "cuda/shared.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::Pass;
using srn::persistent::Sizes;
using srn::persistent::Span;
using srn::persistent::Tiles;

struct Gpu {
  int processors;            // multiprocessors: a block needs one for itself
  int64_t shared_per_block;  // bytes, the most that a block can have
};

constexpr int kMaxUnits = 64;

inline int extra_tiles(const Tiles& tiles, Span (*span_of)(const Tiles&, int)) {
  constexpr int kBatch = 4;  // Product::kChains at most: warps go through them in whole batches
  int most = 0;
  for (int warp = 0; warp < kWarps; ++warp) most = std::max(most, span_of(tiles, warp).count);
  return most <= srn::persistent::kResident ? 0 : ceil_div(most - srn::persistent::kResident, kBatch) * kBatch;
}

// Whether a warp's share of a product can be told in the bits that it has for that (product.h).
inline bool fits_a_share(const Tiles& tiles) {
  return tiles.tile_rows < 1 << 12 && tiles.depths < 1 << 10 && ceil_div(tiles.count(), kWarps) < 1 << 10;
}

template <typename Element, int kRows, int N>
int64_t shared_bytes(Pass pass, const Plan& plan) {
  return pass == Pass::kForward ? ForwardShared<Element, kRows, N>(plan).bytes
                                : BackwardShared<Element, kRows, N>(plan).bytes;
}

// The plan of these rows a team and units a member, whether or not it fits.
template <typename Element, int kRows, int N>
Plan plan_of(Pass pass, const Sizes& sizes, int units) {
  Plan plan;
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
  plan.shared_bytes = shared_bytes<Element, kRows, N>(pass, plan);
  plan.gather_words = int64_t(plan.members) * units * kRows;
  plan.scatter_words = plan.members * plan.gather_words;
  plan.team_words = 2 * (plan.scatter_words + plan.gather_words);
  return plan;
}

// Cycles of a call, to rank plans by.
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

template <typename Element, int kRows, int N>
void best_of(Pass pass, const Sizes& sizes, const Gpu& gpu, Plan& best, int64_t& least_shared) {
  for (int units = 1; units <= std::min(kMaxUnits, sizes.hidden); ++units) {
    const int members = ceil_div(sizes.hidden, units);
    if (members > 1 && ceil_div(sizes.hidden, members) != units) continue;  // as many members with fewer units each
    const int most = gpu.processors / (sizes.directions * members);
    if (most == 0) continue;
    Plan plan = plan_of<Element, kRows, N>(pass, sizes, units);
    least_shared = std::min(least_shared, plan.shared_bytes);
    if (plan.shared_bytes > gpu.shared_per_block) continue;
    if (!fits_a_share(plan.gathered) || !fits_a_share(plan.owned)) continue;
    plan.teams = std::min(plan.row_groups, most);
    if (best.rows == 0 || estimate(plan, sizes) < estimate(best, sizes)) best = plan;
  }
}

// The plan of a pass. Where there is none, its `rows` are 0 and `reason` is a sentence.
template <typename Element, int N>
Plan choose_plan(Pass pass, const Sizes& sizes, const Gpu& gpu, std::string& reason) {
  Plan best;
  int64_t least = INT64_MAX;
  best_of<Element, 8, N>(pass, sizes, gpu, best, least);
  if constexpr (srn::persistent::has_rows(16, N)) best_of<Element, 16, N>(pass, sizes, gpu, best, least);
  if (best.rows == 0) {
    reason = least == INT64_MAX ? std::to_string(sizes.hidden) + " hidden units are more than the " +
                                      std::to_string(int64_t(gpu.processors) / sizes.directions * kMaxUnits) +
                                      " that this GPU's multiprocessors can share"
                                : "its weights do not fit on chip: a block would need " + std::to_string(least) +
                                      " bytes of shared memory, this GPU has " + std::to_string(gpu.shared_per_block);
  }
  return best;
}

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
