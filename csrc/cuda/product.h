// A product of a slice of the weights with the rows of a team, step after step with the weights on chip.
#pragma once

#include "cuda/block.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

using srn::persistent::kPassRows;
using srn::persistent::kResidentDepths;
using srn::persistent::Share;

// The weights of a slice as a product takes them: at base[row(i) + column(k)], where either is negative for what there is
// not.
template <typename Stored, typename Row, typename Column>
struct SliceOf {
  const Stored* const base;
  const Row row;
  const Column column;
};
template <typename Stored, typename Row, typename Column>
SRN_BODY SliceOf<Stored, Row, Column> slice_of(const Stored* base, const Row& row, const Column& column) {
  return {base, row, column};
}

template <typename Block>
class Product {
  using Operand = typename Block::Element::Operand;
  static constexpr int kDepth = Block::Element::kDepth;
  static constexpr int kStride = kDepth * Block::kRows;  // numbers from one tile's depth to the next

 public:
  // Registers are filled by way of `staging`, kStagingBytes of shared memory: a loop cannot index an array in
  // registers, and so much unrolled code, with all its loads at once, would run out of registers.
  template <typename Weights>
  SRN_BODY void load_resident(const Block& block, const Tiles& tiles, unsigned char* staging, const Weights& weights) {
    block.each_warp([&](int warp) {
      const Share share(tiles, warp);
      unsigned char* const staged = staging + warp * kResident * kTileBytes;
      fill(block, share, 0, kPassRows, 0, kResidentDepths, staged, weights);
      Resident& resident = resident_[warp];
      unrolled<0, kResident>([&](auto index) SRN_INLINE_LAMBDA {
        constexpr int i = decltype(index)::value;
        block.kept(resident.tiles[i], staged + i * kTileBytes);
      });
    });
  }

  // Stores what registers do not hold in shared memory, in the order in which `run` reads it.
  template <typename Weights>
  SRN_BODY void load_rest(const Block& block, const Tiles& tiles, unsigned char* extra, const Weights& weights) {
    block.each_warp([&](int warp) {
      const Share share(tiles, warp);
      unsigned char* to = of_warp(extra, tiles, warp);
      SRN_UNROLL(1)
      for (int first = 0; first < share.rows; first += kPassRows) {
        const int begin = first == 0 ? kResidentDepths : 0, left = share.rows - first;
        to = fill(block, share, first, left < kPassRows ? left : kPassRows, begin, share.depths, to, weights);
      }
    });
  }

  // use(split, tile_row, sum) for every tile row of a warp. Behind the operand lie zeros, as padded_depths says.
  template <typename Use>
  SRN_BODY void run(const Block& block, const Tiles& tiles, const Operand* operand, unsigned char* extra,
                    const Use& use) const {
    block.each_warp([&](int warp) {
      const Share share(tiles, warp);
      const Resident& resident = resident_[warp];
      const Operand* const start = block.rows_start(operand) + share.first_depth * kStride;
      const unsigned char* kept = of_warp(extra, tiles, warp);
      if (share.rows >= kPassRows) {
        pass<kPassRows, true>(block, share, 0, resident, start, kept, use);
      } else if (share.rows > 0) {
        pass<kPassRows - 1, true>(block, share, 0, resident, start, kept, use);
      }
      SRN_UNROLL(1)
      for (int first = kPassRows; first < share.rows; first += kPassRows) {
        pass<kPassRows, false>(block, share, first, resident, start, kept, use);
      }
    });
  }

 private:
  struct Resident {
    typename Block::Tile tiles[kResident];  // zero where the warp has none
  };

  // Multiplies tile rows of a warp from `first` on, at most kCount of them: nothing stands between the multiplications,
  // so where there are fewer, the last one is multiplied again.
  template <int kCount, bool kFirst, typename Use>
  SRN_BODY void pass(const Block& block, const Share& share, int first, const Resident& resident, const Operand* start,
                     const unsigned char*& kept, const Use& use) const {
    const int rows = share.rows - first < kCount ? share.rows - first : kCount;
    typename Block::Sum sums[kCount];
    SRN_UNROLL(kCount)
    for (int row = 0; row < kCount; ++row) block.clear(sums[row]);
    if constexpr (kFirst) {
      typename Block::Rows numbers[kResidentDepths];  // all on their way before the first is used
      SRN_UNROLL(kResidentDepths)
      for (int depth = 0; depth < kResidentDepths; ++depth) block.rows(numbers[depth], start + depth * kStride);
      SRN_UNROLL(kResidentDepths)
      for (int depth = 0; depth < kResidentDepths; ++depth) {
        if (depth == kResidentDepths - 1 && share.depths <= depth) break;  // often so; otherwise tiles may be zero
        SRN_UNROLL(kCount)
        for (int row = 0; row < kCount; ++row) {
          block.multiply(sums[row], resident.tiles[depth * kPassRows + row], numbers[depth]);
        }
      }
    }
    SRN_UNROLL(2)  // while one depth is multiplied, the next is read
    for (int depth = kFirst ? kResidentDepths : 0; depth < share.depths; ++depth) {
      typename Block::Rows numbers;
      typename Block::Tile tiles[kCount];
      block.rows(numbers, start + depth * kStride);
      SRN_UNROLL(kCount)
      for (int row = 0; row < kCount; ++row) block.kept(tiles[row], kept + (row < rows ? row : rows - 1) * kTileBytes);
      SRN_UNROLL(kCount)
      for (int row = 0; row < kCount; ++row) block.multiply(sums[row], tiles[row], numbers);
      kept += rows * kTileBytes;
    }
    SRN_UNROLL(kCount)
    for (int row = 0; row < kCount; ++row) {
      if (row < rows) use(share.split, share.first_row + first + row, sums[row]);
    }
  }

  static SRN_BODY unsigned char* of_warp(unsigned char* extra, const Tiles& tiles, int warp) {
    return extra + warp * srn::persistent::extra_tiles(tiles) * kTileBytes;
  }

  // Puts tiles of a warp's share, depth by depth, where they belong; zeros for what the share does not have. Returns the
  // place after them.
  template <typename Weights>
  static SRN_BODY unsigned char* fill(const Block& block, const Share& share, int first, int rows, int depth,
                                      int depths, unsigned char* to, const Weights& weights) {
    typename Block::TileRows row_places[kPassRows];
    SRN_UNROLL(kPassRows)
    for (int row = 0; row < kPassRows; ++row) {
      const bool has = first + row < share.rows;
      const int start = (share.first_row + first + row) * kTileRows;
      block.tile_rows(row_places[row], [&](int i) { return has ? weights.row(start + i) : -1; });
    }
    SRN_UNROLL(1)
    for (; depth < depths; ++depth) {
      const bool has = depth < share.depths;
      const int start = (share.first_depth + depth) * kDepth;
      typename Block::TileColumns column_places;
      block.tile_columns(column_places, [&](int k) { return has ? weights.column(start + k) : -1; });
      SRN_UNROLL(kPassRows)
      for (int row = 0; row < kPassRows; ++row) {
        if (row >= rows) continue;
        typename Block::Tile tile;
        block.fill(tile, row_places[row], column_places, [&](int row_place, int column_place) {
          // What there is not is read from the beginning and not used: no load waits for a branch.
          const bool inside = (row_place >= 0) & (column_place >= 0);
          const Operand weight = Block::Element::operand_of(weights.base[inside ? row_place + column_place : 0]);
          return inside ? weight : Operand(0);
        });
        block.keep(tile, to);
        to += kTileBytes;
      }
    }
    return to;
  }

  typename Block::template PerWarp<Resident> resident_;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
