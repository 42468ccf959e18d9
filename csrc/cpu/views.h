// How the buffers of a call lie in memory: a view (a pointer with extents) for each layout. No other file computes
// addresses in them. lanes.h tells what flat rows, strips and lanes are.
#pragma once

#include "cpu/arena.h"
#include "cpu/lanes.h"

namespace srn {
namespace SRN_ISA {

// -- flat rows --------------------------------------------------------------------------------------------------------

// Of every unit group: (groups, rows, kUnitGroup).
template <typename A>
struct FlatRows {
  A* first;
  int64_t rows;

  static FlatRows take(Arena& arena, int64_t groups, int64_t rows) {
    return {arena.take<A>(groups * rows * kUnitGroup), rows};
  }

  SRN_INLINE A* operator()(int64_t group, int64_t row = 0) const { return first + (group * rows + row) * kUnitGroup; }
};

// Of several blocks (gates, memories) of every unit group: (groups, blocks, rows, kUnitGroup).
template <typename A>
struct FlatBlocks {
  A* first;
  int64_t blocks, rows;

  static FlatBlocks take(Arena& arena, int64_t groups, int64_t blocks, int64_t rows) {
    return {arena.take<A>(groups * blocks * rows * kUnitGroup), blocks, rows};
  }

  SRN_INLINE A* operator()(int64_t group, int64_t block, int64_t row) const {
    return first + ((group * blocks + block) * rows + row) * kUnitGroup;
  }

  // One block of every group; all blocks of a group as one.
  FlatRows<A> block(int64_t b) const { return {first + b * rows * kUnitGroup, blocks * rows}; }
  FlatRows<A> joined() const { return block(0); }
  // Every block by its number, group * blocks + block, as if it were a group.
  FlatRows<A> each() const { return {first, rows}; }
};

// Of a strip, for several blocks of the unit groups of a part: (blocks, groups, lanes, kUnitGroup).
template <typename A>
struct PartRows {
  static constexpr int kRows = kLanes<A>;  // the most of a strip

  A* first;
  int64_t groups;

  static constexpr int64_t size(int64_t blocks, int64_t groups) { return blocks * groups * kRows * kUnitGroup; }

  SRN_INLINE A* operator()(int64_t block, int64_t group, int64_t row = 0) const {
    return first + ((block * groups + group) * kRows + row) * kUnitGroup;
  }

  // The same from a row on.
  PartRows from(int64_t row) const { return {first + row * kUnitGroup, groups}; }

  int64_t block_stride() const { return size(1, groups); }
};

// -- strips -----------------------------------------------------------------------------------------------------------

// Vectors of every strip: (strips, vectors, lanes). Sums that a product leaves, or spread activations, one vector a
// column.
template <typename A>
struct StripVectors {
  A* first;
  int64_t vectors;

  static StripVectors take(Arena& arena, int64_t strips, int64_t vectors) {
    return {arena.take<A>(size(strips, vectors)), vectors};
  }
  static constexpr int64_t size(int64_t strips, int64_t vectors) { return strips * vectors * kLanes<A>; }

  SRN_INLINE A* operator()(int64_t strip, int64_t vector = 0) const {
    return first + (strip * vectors + vector) * kLanes<A>;
  }

  int64_t strip_stride() const { return size(1, vectors); }
};

// The same of every part of the units, for a sum over the parts: (parts, strips, vectors, lanes).
template <typename A>
struct PartSums {
  A* first;
  int64_t parts, strips, vectors;

  static PartSums take(Arena& arena, int64_t parts, int64_t strips, int64_t vectors) {
    return {arena.take<A>(parts * StripVectors<A>::size(strips, vectors)), parts, strips, vectors};
  }

  SRN_INLINE StripVectors<A> operator()(int64_t part) const {
    return {first + part * StripVectors<A>::size(strips, vectors), vectors};
  }
};

// Activations in lanes, rows of `columns` columns. A strip takes the room of its rows, so it begins where they would:
// [strip][column / depth][lanes], or with pairs of columns (operand.h).
template <typename X>
struct RowLanes {
  X* first;
  int64_t columns;

  static RowLanes take(Arena& arena, int64_t rows, int64_t columns) { return {arena.take<X>(rows * columns), columns}; }

  // A strip by its first row; of that strip, from a group on.
  SRN_INLINE X* operator()(int64_t row) const { return first + row * columns; }
  template <typename B>
  SRN_INLINE X* operator()(int64_t row, int64_t group, B) const {
    return first + row * columns + group * B::kNumbers;
  }
};

// -- others -----------------------------------------------------------------------------------------------------------

// A piece of `size` numbers for each thread of a team.
template <typename X>
struct ThreadPieces {
  X* first;
  int64_t size;

  static ThreadPieces take(Arena& arena, int64_t team, int64_t size) { return {arena.take<X>(team * size), size}; }

  SRN_INLINE X* operator()(int thread) const { return first + thread * size; }
};

// Several blocks of columns in a caller's matrix, with the distances between rows and between blocks of a row.
template <typename T>
struct MatrixBlocks {
  T* first;
  int64_t row_stride, block_stride;

  SRN_INLINE T* operator()(int64_t row, int64_t block) const { return first + row * row_stride + block * block_stride; }

  // The same from a row and a column of each block on.
  MatrixBlocks from(int64_t row, int64_t column) const {
    return {first + row * row_stride + column, row_stride, block_stride};
  }
};

// A step's gates as they are kept for the backward pass: (groups, G, row, unit), the last group with only the units
// that exist. Both passes go through them in this order; rows of all gates would lie far apart.
template <typename T, int G>
struct KeptGates {
  T* first;
  int64_t hidden, rows;

  // `all`: those of every step; `row`: this step's first row.
  KeptGates(T* all, int64_t hidden, int64_t row, int64_t rows)
      : first(all + row * G * hidden), hidden(hidden), rows(rows) {}

  // Those of one group and gate from a row on; each row has as many numbers as the group has units.
  SRN_INLINE T* operator()(int64_t group, int gate, int64_t row) const {
    return first + group * kUnitGroup * G * rows + (gate * rows + row) * valid_columns(hidden, group);
  }
};

}  // namespace SRN_ISA
}  // namespace srn
