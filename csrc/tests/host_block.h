// The block of a persistent kernel on the host (cuda/block.h): a block is a few threads, shared memory is memory.
//
// The device's part, the lanes of a warp and its instructions, is left out: a tile is a matrix. Everything else is the
// body's: what each thread multiplies, where data lies, what waits for what.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "cuda/block.h"
#include "tests/memory.h"

namespace srn {
namespace test {

// A barrier that ThreadSanitizer understands.
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

// The blocks of a team that is a cluster, and their shared memory, where gates count what comes.
struct HostCluster {
  struct Member {
    unsigned char* memory;
    std::mutex mutex;    // of what others write here
    bool ended = false;  // no block may write here then
  };
  explicit HostCluster(int members, int threads) : member(size_t(members)), barrier(members * threads) {}

  std::vector<Member> member;
  Barrier barrier;
};

template <typename ElementType, int kRowCount, srn::persistent::Exchange kExchangeKind>
class HostBlock {
  static constexpr int kDepth = ElementType::kDepth, kTileRows = srn::persistent::kTileRows;

 public:
  using Element = ElementType;
  using Operand = typename Element::Operand;
  static constexpr int kRows = kRowCount;
  static constexpr srn::persistent::Exchange kExchange = kExchangeKind;

  struct Tile {
    Operand numbers[kTileRows][kDepth];
  };
  struct TileRows {
    int of[kTileRows];
  };
  struct TileColumns {
    int of[kDepth];
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

  template <typename X>
  class PerLane {
   public:
    X& operator[](int lane) { return all_[lane]; }

   private:
    X all_[srn::SRN_ISA::persistent::kLanes];
  };

  // A block's shared memory is its member's in the cluster.
  HostBlock(int index, int thread, int threads, Barrier& barrier, HostCluster& cluster, int member)
      : index_(index),
        thread_(thread),
        threads_(threads),
        barrier_(barrier),
        cluster_(cluster),
        member_(cluster.member[size_t(member)]) {}

  int index() const { return index_; }
  unsigned char* memory() const { return member_.memory; }
  int thread() const { return thread_; }
  int threads() const { return threads_; }
  void sync() const { barrier_.wait(); }
  template <typename F>
  void each_warp(const F& f) const {
    for (int warp = thread_; warp < srn::persistent::kWarps; warp += threads_) f(warp);
  }

  // A thread is a warp.
  int first_group() const { return thread_; }
  int groups() const { return threads_; }
  template <typename F>
  void each_lane(const F& f) const {
    for (int lane = 0; lane < srn::SRN_ISA::persistent::kLanes; ++lane) f(lane);
  }
  void sync_warp() const {}

  template <typename F>
  void tile_rows(TileRows& rows, const F& of) const {
    for (int i = 0; i < kTileRows; ++i) rows.of[i] = of(i);
  }
  template <typename F>
  void tile_columns(TileColumns& columns, const F& of) const {
    for (int i = 0; i < kDepth; ++i) columns.of[i] = of(i);
  }
  template <typename F>
  void fill(Tile& tile, const TileRows& rows, const TileColumns& columns, const F& weight) const {
    for (int row = 0; row < kTileRows; ++row) {
      for (int depth = 0; depth < kDepth; ++depth) tile.numbers[row][depth] = weight(rows.of[row], columns.of[depth]);
    }
  }
  void keep(const Tile& tile, unsigned char* to) const { memcpy(to, &tile, sizeof(tile)); }
  void kept(Tile& tile, const unsigned char* from) const { memcpy(&tile, from, sizeof(tile)); }
  const Operand* rows_start(const Operand* operand) const { return operand; }
  void rows(Rows& rows, const Operand* operand) const { memcpy(&rows, operand, sizeof(rows)); }
  void clear(Sum& sum) const { memset(&sum, 0, sizeof(sum)); }
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
  template <typename F>
  void quads(const Sum& sum, const F& f) const {
    for (int row = 0; row < kTileRows; ++row) {
      for (int column = 0; column < kRows; column += 4) {
        float four[4];
        memcpy(four, &sum.numbers[row][column], sizeof(four));
        f(row, column, four);
      }
    }
  }

  void write(uint32_t* to, uint32_t word) const { __atomic_store_n(to, word, __ATOMIC_RELAXED); }
  void write(uint32_t* to, const uint32_t (&words)[4]) const {
    for (int i = 3; i >= 0; --i) write(to + i, words[i]);
  }
  void read(const uint32_t* from, uint32_t (&words)[4]) const {
    for (int i = 3; i >= 0; --i) words[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
  }
  void sync_cluster() const { cluster_.barrier.wait(); }
  void open(uint64_t* gate) const {
    const std::lock_guard<std::mutex> lock(member_.mutex);
    new (gate) Gate{0, 0, 0};
  }
  void expect(uint64_t* gate, int bytes) const {
    const std::lock_guard<std::mutex> lock(member_.mutex);
    Gate& at = *reinterpret_cast<Gate*>(gate);
    if (at.expected) complain("a gate is told twice in a phase what to expect");
    at.missing += bytes, at.expected = 1;
    at.pass_if_all_came();
  }
  bool passed(uint64_t* gate, uint32_t phase) const {
    const std::lock_guard<std::mutex> lock(member_.mutex);
    return reinterpret_cast<Gate*>(gate)->phase != phase;
  }
  template <size_t kWords>
  void send(int member, void* to, const uint32_t (&words)[kWords], uint64_t* gate) const {
    HostCluster::Member& other = cluster_.member[size_t(member)];
    const auto there = [&](void* p) { return other.memory + (static_cast<unsigned char*>(p) - member_.memory); };
    if (reinterpret_cast<uintptr_t>(there(to)) % sizeof(words) != 0)
      complain("a message for an address it cannot have");
    const std::lock_guard<std::mutex> lock(other.mutex);
    if (other.ended) complain("a message for a block that has ended");
    memcpy(there(to), words, sizeof(words));
    Gate& at = *reinterpret_cast<Gate*>(there(gate));
    at.missing -= int32_t(sizeof(words));
    at.pass_if_all_came();
  }
  // For the launch: after a thread's last operation.
  void end() const {
    const std::lock_guard<std::mutex> lock(member_.mutex);
    member_.ended = true;
  }

  // In nanoseconds.
  void begin_stamps() const { last_ = std::chrono::steady_clock::now(); }
  void stamp(int part) const {
    const auto now = std::chrono::steady_clock::now();
    ticks_[part] += std::chrono::nanoseconds(now - last_).count();
    last_ = now;
  }
  void end_stamps(int64_t* stamps) const {
    if (thread_ != 0 || stamps == nullptr) return;
    for (int part = 0; part < srn::persistent::kMostParts; ++part) {
      stamps[index_ * srn::persistent::kMostParts + part] += ticks_[part];
    }
  }
  void wait(uint32_t looks) const {
    if (looks == kMostLooks) complain("waits for what never comes");
    std::this_thread::yield();
  }

 private:
  static constexpr uint32_t kMostLooks = 1u << 26;

  struct Gate {
    int32_t missing;  // bytes
    uint16_t expected, phase;

    void pass_if_all_came() {
      if (expected && missing == 0) expected = 0, phase ^= 1;
    }
  };
  static_assert(sizeof(Gate) == sizeof(uint64_t), "as the hardware's");

  void complain(const char* what) const {
    fprintf(stderr, "block %d, thread %d: %s\n", index_, thread_, what);
    abort();
  }

  const int index_, thread_, threads_;
  Barrier& barrier_;
  HostCluster& cluster_;
  HostCluster::Member& member_;
  mutable std::chrono::steady_clock::time_point last_;
  mutable int64_t ticks_[srn::persistent::kMostParts] = {};
};

}  // namespace test
}  // namespace srn
