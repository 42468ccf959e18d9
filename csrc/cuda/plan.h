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
constexpr int kTileBytes = 512;
constexpr int kColumnRows = 8;  // rows of a team that the tensor cores take at a time

// Tile rows that a warp multiplies at a time: as many chains of sums, and each number read serves them all.
constexpr int kPassRows = 3;
constexpr int kResidentDepths = 6;  // of a warp's first tile rows: the tiles that it keeps in registers
constexpr int kResident = kPassRows * kResidentDepths;
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

// A product's weights in tiles, and how they are dealt to the warps. The depth is cut into 2^split_bits parts; as many
// warps, one for each part, share a strip of `rows_each` tile rows, and their partial sums are added up afterwards.
struct Tiles {
  int tile_rows = 0, depths = 0;
  int split_bits = 0;
  int rows_each = 0, depths_each = 0;  // of a warp, at most

  Tiles() = default;
  SRN_PLAN Tiles(int tile_rows, int depths, int split_bits)
      : tile_rows(tile_rows),
        depths(depths),
        split_bits(split_bits),
        rows_each(ceil_div(tile_rows, kWarps >> split_bits)),
        depths_each(ceil_div(depths, 1 << split_bits)) {}

  SRN_PLAN int splits() const { return 1 << split_bits; }
  SRN_PLAN int rows() const { return tile_rows * kTileRows; }
};

// A warp's tiles: none, if `rows` or `depths` is not positive.
struct Share {
  int first_row, rows, first_depth, depths, split;

  SRN_PLAN Share(const Tiles& tiles, int warp)
      : first_row((warp >> tiles.split_bits) * tiles.rows_each),
        rows(least(tiles.rows_each, tiles.tile_rows - first_row)),
        first_depth((warp & (tiles.splits() - 1)) * tiles.depths_each),
        depths(least(tiles.depths_each, tiles.depths - first_depth)),
        split(warp & (tiles.splits() - 1)) {}

 private:
  static SRN_PLAN int least(int a, int b) { return a < b ? a : b; }
};

// Tiles that a warp has in shared memory: in its first tile rows the deepest, and all of the others.
SRN_PLAN int extra_tiles(const Tiles& tiles) {
  const int rows = tiles.rows_each, depths = tiles.depths_each;
  return rows * depths - (rows < kPassRows ? rows : kPassRows) * (depths < kResidentDepths ? depths : kResidentDepths);
}

// Depths of a product's operand in shared memory: a warp reads kResidentDepths, even if it has fewer.
SRN_PLAN int padded_depths(const Tiles& tiles) {
  const int read = tiles.depths_each > kResidentDepths ? tiles.depths_each : kResidentDepths;
  return (tiles.splits() - 1) * tiles.depths_each + read;
}

// What a slice owns of a unit is laid along the depth of the second product in chunks of adjacent numbers, each a power
// of two: 9 numbers are a chunk of 8 for every unit, and then one of 1 for every unit. So a chunk is stored at once,
// and nothing is padded.
struct Chunk {
  int start, size;

  static constexpr SRN_PLAN Chunk of(int a, int count) {
    Chunk chunk = {0, 1};
    for (;;) {
      chunk.size = 1;
      while (2 * chunk.size <= count - chunk.start) chunk.size *= 2;
      if (a < chunk.start + chunk.size) return chunk;
      chunk.start += chunk.size;
    }
  }
  SRN_PLAN int depth(int unit, int units) const { return start * units + unit * size; }
};

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
  Tiles owned;         // weights of the second, whose depth is not cut: its sums leave the block at once
  Divisor by_units;
  int64_t shared_bytes = 0;
  int64_t scatter_words = 0, gather_words = 0, team_words = 0;  // of the mailbox: slots of either kind, a team

  int blocks(int directions) const { return directions * teams * members; }
  int64_t mailbox_words(int directions) const { return directions * teams * team_words; }
};

}  // namespace persistent
}  // namespace srn
