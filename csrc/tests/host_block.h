// The block of a persistent kernel on the host (cuda/block.h): a block is a few threads, shared memory is memory.
//
// What is the device's alone, the lanes of a warp and its instructions, is left out: a tile is a matrix. Everything else
// is the body's own: who multiplies what, what lies where, who waits for whom.
#pragma once

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "cuda/block.h"
#include "tests/memory.h"

namespace srn {
namespace test {

// One that ThreadSanitizer understands.
class Barrier {
 public:
  explicit Barrier(int count) : count_(count) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const int round = round_;
    if (++waiting_ == count_) {
      waiting_ = 0, ++round_;
      all_here_.notify_all();
    } else {
      all_here_.wait(lock, [&] { return round_ != round; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  const int count_;
  int waiting_ = 0, round_ = 0;
};

template <typename ElementType, int kRowCount>
class HostBlock {
  static constexpr int kDepth = ElementType::kDepth, kTileRows = srn::persistent::kTileRows;

 public:
  using Element = ElementType;
  using Operand = typename Element::Operand;
  static constexpr int kRows = kRowCount;

  struct Tile {
    Operand numbers[kTileRows][kDepth];
  };
  struct Rows {
    Operand numbers[kRows][kDepth];
  };
  struct Sum {
    float numbers[kTileRows][kRows];
  };
  template <typename X>
  class PerWarp {
   public:
    X& operator[](int warp) { return all_[warp]; }
    const X& operator[](int warp) const { return all_[warp]; }

   private:
    X all_[srn::persistent::kWarps];
  };

  HostBlock(int index, int thread, int threads, unsigned char* memory, Barrier& barrier)
      : index_(index), thread_(thread), threads_(threads), memory_(memory), barrier_(barrier) {}

  int index() const { return index_; }
  unsigned char* memory() const { return memory_; }
  int thread() const { return thread_; }
  int threads() const { return threads_; }
  void sync() const { barrier_.wait(); }
  template <typename F>
  void each_warp(const F& f) const {
    for (int warp = thread_; warp < srn::persistent::kWarps; warp += threads_) f(warp);
  }

  template <typename F>
  void fill(Tile& tile, const F& weight) const {
    for (int row = 0; row < kTileRows; ++row) {
      for (int depth = 0; depth < kDepth; ++depth) tile.numbers[row][depth] = weight(row, depth);
    }
  }
  void keep(const Tile& tile, unsigned char* to) const { memcpy(to, &tile, sizeof(tile)); }
  void kept(Tile& tile, const unsigned char* from) const { memcpy(&tile, from, sizeof(tile)); }
  const Operand* own_rows(const Operand* operand, int) const { return operand; }
  void rows(Rows& rows, const Operand* operand, int stride) const {
    constexpr int kPerWord = 4 / int(sizeof(Operand));
    for (int row = 0; row < kRows; ++row) {
      memcpy(rows.numbers[row], operand + row * stride * kPerWord, sizeof(rows.numbers[row]));
    }
  }
  void clear(Sum& sum) const { memset(&sum, 0, sizeof(sum)); }
  void add(Sum& sum, const Sum& other) const {
    for (int i = 0; i < kTileRows * kRows; ++i)
      sum.numbers[i / kRows][i % kRows] += other.numbers[i / kRows][i % kRows];
  }
  void multiply(Sum& sum, const Tile& tile, const Rows& rows) const {
    for (int i = 0; i < kTileRows; ++i) {
      for (int j = 0; j < kRows; ++j) {
        for (int k = 0; k < kDepth; ++k) {
          sum.numbers[i][j] += Element::multiplied(tile.numbers[i][k]) * Element::multiplied(rows.numbers[j][k]);
        }
      }
    }
  }
  template <typename F>
  void pairs(const Sum& sum, const F& f) const {
    for (int row = 0; row < kTileRows; ++row) {
      for (int column = 0; column < kRows; column += 2)
        f(row, column, sum.numbers[row][column], sum.numbers[row][column + 1]);
    }
  }

  void write(uint32_t* to, uint32_t word) const { __atomic_store_n(to, word, __ATOMIC_RELAXED); }
  void write(uint32_t* to, uint32_t word, uint32_t next) const {
    write(to + 1, next);
    write(to, word);
  }
  void read(const uint32_t* from, uint32_t (&words)[4]) const {
    for (int i = 3; i >= 0; --i) words[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
  }
  void wait(uint32_t looks) const {
    if (looks == kMostLooks) {
      fprintf(stderr, "block %d, thread %d waits for what never comes\n", index_, thread_);
      abort();
    }
    std::this_thread::yield();
  }

 private:
  static constexpr uint32_t kMostLooks = 1u << 26;

  const int index_, thread_, threads_;
  unsigned char* const memory_;
  Barrier& barrier_;
};

}  // namespace test
}  // namespace srn
