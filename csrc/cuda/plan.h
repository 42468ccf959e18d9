// How a recurrence is dealt to the blocks of a persistent kernel.
//
// A *team* of blocks takes `rows` sequences at a time through all their steps; a *member* of it owns `units` hidden
// units: their gates, their memories and their state, the rows of W_hh that lead to those gates and the columns of W_mc
// that lead from those memories. So a step needs two exchanges between members: partial sums of c to the owners of
// their units (scatter), and the owners' h to all members (gather). The backward pass goes through the same slices the
// other way: gradients of c to all members, partial sums of those of h to the owners.
//
// So both passes follow one pattern. Their first product multiplies what was *gathered* (H numbers a row) with the rows
// of a slice; their second what the slice *owns* with weights of all H units:
//
//              gathered   first product    pointwise       second product    scattered
//   forward    h          W_hh rows        gates, s        W_mc columns      partial sums of c
//   backward   dc         W_mc^T rows      ds -> dz        W_hh^T columns    partial sums of dh
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/persistent.h"

#if defined(__CUDACC__)
#define SRN_PLAN __host__ __device__ inline
#else
#define SRN_PLAN inline
#endif

namespace srn {
namespace persistent {

enum class Pass { kForward, kBackward };

// How the members of a team leave numbers for each other: in global memory (mailbox.h), or in each other's shared
// memory, where the hardware has clusters of blocks (cluster.h).
enum class Exchange { kMailbox, kCluster };

constexpr int kWarps = 8;      // of a block
constexpr int kTileRows = 16;  // of a tile of weights
constexpr int kTileWords = 8;  // of 32 bits, for a tile's depth in a row of its other operand
constexpr int kTileBytes = kTileRows * kTileWords * 4;
constexpr int kResident = 16;  // tiles of each product that a warp keeps in registers, the rest in shared memory
constexpr int kStagingBytes = kWarps * kResident * kTileBytes;  // of shared memory, while registers are filled
constexpr int kScatterBatch = 4;                                // sources that one thread adds up

constexpr int kMessageUnits = 4;  // in a message within a cluster
constexpr int kMostMembers = 16;  // of a cluster: the hardware's limit

// Whether there are kernels for groups of this many rows: always for 8; for 16 with three tasks only, as two tasks are
// rarer and every kernel is compiled for every architecture; within a cluster, for 8 with three tasks.
SRN_PLAN constexpr bool has_kernel(Exchange exchange, int rows, int tasks) {
  return exchange == Exchange::kCluster ? rows == 8 && tasks == 3 : rows == 8 || (rows == 16 && tasks == 3);
}

SRN_PLAN int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Division by a number that is not known at compile time, as a multiplication; exact while x * divisor < 2^32.
struct Divisor {
  uint32_t divisor = 1;
  uint64_t inverse = uint64_t(1) << 32;

  Divisor() = default;
  explicit Divisor(int d) : divisor(uint32_t(d)), inverse(((uint64_t(1) << 32) + divisor - 1) / divisor) {}
  SRN_PLAN int quotient(int x) const { return int(uint64_t(uint32_t(x)) * inverse >> 32); }
  SRN_PLAN int remainder(int x) const { return x - quotient(x) * int(divisor); }
};

// Marks of a warp's batches of tiles (product.h), including one after the last.
SRN_PLAN int mark_count(int extra, int rows) { return (kResident + extra) * rows / 32 + 1; }

// A product's weights in tiles: `tile_rows` of kTileRows rows, each of `depths` tiles, in that order.
struct Tiles {
  int tile_rows = 0, depths = 0;

  SRN_PLAN int count() const { return tile_rows * depths; }
  // Words from one row of the other operand to the next: an odd multiple of a tile's, so that rows read together lie in
  // different banks.
  SRN_PLAN int stride() const { return (depths | 1) * kTileWords; }
};

struct Span {
  int first, count;
};

// First product: tiles are dealt out evenly, wherever tile rows begin, and their partial sums added up afterwards.
SRN_PLAN Span even_span(const Tiles& tiles, int warp) {
  const int each = ceil_div(tiles.count(), kWarps), first = warp * each < tiles.count() ? warp * each : tiles.count();
  return {first, tiles.count() - first < each ? tiles.count() - first : each};
}
SRN_PLAN int first_warp_of(const Tiles& tiles, int tile_row) {
  return tile_row * tiles.depths / ceil_div(tiles.count(), kWarps);
}
SRN_PLAN int partials_of(const Tiles& tiles, int tile_row) {
  const int each = ceil_div(tiles.count(), kWarps);
  return ((tile_row + 1) * tiles.depths - 1) / each - first_warp_of(tiles, tile_row) + 1;
}

// Second product: whole tile rows, as its sums leave the block at once.
SRN_PLAN Span whole_span(const Tiles& tiles, int warp) {
  const int first = warp * tiles.tile_rows / kWarps, last = (warp + 1) * tiles.tile_rows / kWarps;
  return {first * tiles.depths, (last - first) * tiles.depths};
}

// A team's mailbox has two slots for the scattered partial sums, [source][unit][row], and two for the gathered numbers,
// [unit][row], used in turn.
struct Plan {
  Exchange exchange = Exchange::kMailbox;
  int rows = 0;        // of a team, 8 or 16
  int units = 0;       // of a member; the last one may have fewer
  int members = 0;     // of a team
  int teams = 0;       // of a direction; each takes several row groups in turn if there are more
  int row_groups = 0;  // of a direction
  Tiles gathered;      // weights of the first product
  Tiles owned;         // weights of the second
  int partials = 0;    // the most partial sums of a tile row of the first product
  int extra[2] = {};   // tiles of a warp of either product that are kept in shared memory
  Divisor by_units;
  Divisor by_messages;  // of a member to each one, once a step; of a cluster
  int64_t shared_bytes = 0;
  int64_t scatter_words = 0, gather_words = 0, team_words = 0;  // of the mailbox: slots of either kind, a team

  int blocks(int directions) const { return directions * teams * members; }
  int64_t mailbox_words(int directions) const { return directions * teams * team_words; }
};

// Floats from one row of the first product's partial sums to the next: 4 more than a multiple of 16, so that a warp's
// writes at a time, eight rows of a tile row by four columns, lie in 32 banks.
SRN_PLAN int partial_stride(const Plan& plan) { return plan.gathered.tile_rows * kTileRows + 4; }

}  // namespace persistent
}  // namespace srn
