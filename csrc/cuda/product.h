// A product of a slice of the weights with the rows of a team, step after step with the weights on chip.
#pragma once

#include "cuda/block.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

// A warp goes through its tiles in batches. A byte of shared memory marks a batch's tiles: bit c is set if tile c is
// the last of its tile row, or does not exist, so that the next one is at the beginning of the depth; bit 4 + c if what
// was added up is then a sum, or a partial one.
template <int kChains>
SRN_BODY uint8_t marks_of(const Span& span, int depths, int batch) {
  uint32_t marks = 0;
  for (int c = 0; c < kChains; ++c) {
    const int i = batch * kChains + c;
    const bool last = (span.first + i) % depths == depths - 1 || i >= span.count - 1;
    marks |= uint32_t(last) << c | uint32_t(last && i < span.count) << (4 + c);
  }
  return uint8_t(marks);
}

// kWhole: whether a warp has whole tile rows (the second product), or any tiles (the first).
template <typename Block, bool kWhole>
class Product {
  using Operand = typename Block::Element::Operand;
  static constexpr int kDepth = Block::Element::kDepth;
  // Sums that a warp keeps apart, so that no multiplication waits for the last one; 16 rows take two sums anyway.
  static constexpr int kChains = 32 / Block::kRows;
  static_assert(kResident % kChains == 0, "registers hold whole batches");

 public:
  // weight(row, depth, used): of tile_rows * kTileRows rows and depths * kDepth columns; zero where not used.
  //
  // Registers are filled by way of `staging`, kStagingBytes of shared memory: a loop cannot index an array in
  // registers, and so much unrolled code, with all its loads at once, would run out of registers.
  template <typename Weight>
  SRN_BODY void load_resident(const Block& block, const Tiles& tiles, unsigned char* staging, const Weight& weight) {
    tiles_ = tiles;
    block.each_warp([&](int warp) {
      Share& share = shares_[warp];
      const Span span = span_of(warp);
      const int tile_row = span.first / tiles.depths;
      share.set(tile_row, span.first - tile_row * tiles.depths, ceil_div(span.count, kChains));
      unsigned char* const staged = staging + warp * kResident * kTileBytes;
      SRN_UNROLL(4)
      for (int i = 0; i < kResident; ++i) fill(block, span, i, staged + i * kTileBytes, weight);
      unrolled<0, kResident>([&](auto index) SRN_INLINE_LAMBDA {
        constexpr int i = decltype(index)::value;
        block.kept(share.resident[i], staged + i * kTileBytes);
      });
    });
  }

  // Stores what registers do not hold in shared memory, `each` tiles a warp; and all marks, mark_count(each) a warp.
  template <typename Weight>
  SRN_BODY void load_rest(const Block& block, unsigned char* extra, int each, uint8_t* marks, const Weight& weight) {
    extra_each_ = each;
    block.each_warp([&](int warp) {
      const Span span = span_of(warp);
      unsigned char* const to = extra + warp * each * kTileBytes;
      SRN_UNROLL(4)
      for (int i = 0; i < each; ++i) fill(block, span, kResident + i, to + i * kTileBytes, weight);
    });
    persistent::each(block, kWarps * mark_count(each), [&](int i) {
      const int warp = i / mark_count(each), batch = i % mark_count(each);
      marks[i] = marks_of<kChains>(span_of(warp), tiles_.depths, batch);
    });
  }

  // use(warp, tile_row, sum) for every tile row that a warp has, in part or whole.
  template <typename Use>
  SRN_BODY void run(const Block& block, const Operand* operand, const unsigned char* extra, const uint8_t* marks,
                    const Use& use) const {
    block.each_warp([&](int warp) {
      const Share& share = shares_[warp];
      Walk<Use> walk(block, operand, tiles_.stride(), marks + warp * mark_count(extra_each_), warp, share, use);
      unrolled<0, kResident / kChains>([&](auto index) SRN_INLINE_LAMBDA {
        constexpr int batch = decltype(index)::value;
        if (batch < share.batches()) walk.batch(batch, share.resident + batch * kChains);
      });
      const unsigned char* kept = extra + warp * extra_each_ * kTileBytes;
      for (int batch = kResident / kChains; batch < share.batches(); ++batch) {
        typename Block::Tile tiles[kChains];
        unrolled<0, kChains>([&](auto index) SRN_INLINE_LAMBDA {
          constexpr int c = decltype(index)::value;
          block.kept(tiles[c], kept + c * kTileBytes);
        });
        walk.batch(batch, tiles);
        kept += kChains * kTileBytes;
      }
    });
  }

 private:
  // A warp's tiles, and where the first of them is.
  struct Share {
    uint32_t packed;  // one register for three numbers: the weights leave few
    typename Block::Tile resident[kResident];

    SRN_BODY void set(int tile_row, int depth, int batches) {
      packed = uint32_t(tile_row) << 20 | uint32_t(depth) << 10 | uint32_t(batches);
    }
    SRN_BODY int tile_row() const { return int(packed >> 20); }
    SRN_BODY int depth() const { return int(packed >> 10 & 1023); }
    SRN_BODY int batches() const { return int(packed & 1023); }
  };

  static SRN_BODY int mark_count(int extra_each) { return srn::persistent::mark_count(extra_each, Block::kRows); }

  SRN_BODY Span span_of(int warp) const {
    return kWhole ? srn::persistent::whole_span(tiles_, warp) : srn::persistent::even_span(tiles_, warp);
  }

  template <typename Weight>
  SRN_BODY void fill(const Block& block, const Span& span, int i, unsigned char* to, const Weight& weight) const {
    const int index = span.first + i, tile_row = index / tiles_.depths, depth = index - tile_row * tiles_.depths;
    typename Block::Tile tile;
    block.fill(tile, [&](int row, int column) {
      return weight(tile_row * kTileRows + row, depth * kDepth + column, i < span.count);
    });
    block.keep(tile, to);
  }

  // A warp on its way through its tiles. Rows are read a batch ahead of their multiplication.
  template <typename Use>
  struct Walk {
    const Block& block;
    const Use& use;
    const Operand* const start;
    const uint8_t* const marks;
    const int warp, stride;
    const Operand* at;  // where the rows of the next tile lie
    int tile_row;       // of the next tile to be multiplied
    uint32_t mark;      // of the batch whose rows are read
    typename Block::Rows rows[kChains];
    typename Block::Sum sums[kChains];

    SRN_BODY Walk(const Block& block, const Operand* operand, int stride, const uint8_t* marks, int warp,
                  const Share& share, const Use& use)
        : block(block),
          use(use),
          start(block.rows_start(operand, stride)),
          marks(marks),
          warp(warp),
          stride(stride),
          at(start + share.depth() * kDepth),
          tile_row(share.tile_row()) {
      clear();
      if (share.batches() > 0) read(0);
    }

    SRN_BODY void batch(int index, const typename Block::Tile* tiles) {
      const uint32_t current = mark;
      if (current >> 4 == 0) {  // mostly: with nothing between the multiplications
        unrolled<0, kChains>([&](auto i) SRN_INLINE_LAMBDA {
          constexpr int c = decltype(i)::value;
          block.multiply(sums[c], tiles[c], rows[c]);
        });
      } else {
        unrolled<0, kChains>([&](auto i) SRN_INLINE_LAMBDA {
          constexpr int c = decltype(i)::value;
          block.multiply(sums[c], tiles[c], rows[c]);
          if (current >> (4 + c) & 1) finish();
        });
      }
      read(index + 1);
    }

   private:
    // What is read for the batch after the last one is not used.
    SRN_BODY void read(int batch) {
      mark = marks[batch];
      unrolled<0, kChains>([&](auto i) SRN_INLINE_LAMBDA {
        constexpr int c = decltype(i)::value;
        block.rows(rows[c], at, stride);
        at = mark >> c & 1 ? start : at + kDepth;
      });
    }

    SRN_BODY void finish() {
      for (int apart = 1; apart < kChains; apart *= 2) {
        for (int c = 0; c < kChains; c += 2 * apart) block.add(sums[c], sums[c + apart]);
      }
      use(warp, tile_row, sums[0]);
      clear();
      ++tile_row;
    }

    SRN_BODY void clear() {
      unrolled<0, kChains>([&](auto i) SRN_INLINE_LAMBDA { block.clear(sums[decltype(i)::value]); });
    }
  };

  Tiles tiles_;
  int extra_each_ = 0;
  typename Block::template PerWarp<Share> shares_;
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
