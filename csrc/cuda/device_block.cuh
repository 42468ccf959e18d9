// The block of a persistent kernel on the device (block.h): warps that multiply with the tensor cores.
#pragma once

#include "cuda/block.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

// A warp's part of one multiplication, kDepth deep: D += A * B. The order of the depth within a tile is free, as long
// as A and B agree in it: a thread reads two adjacent words of B, and arranges its weights to match.
__device__ __forceinline__ void multiply_tile(BFloat16, float (&sum)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void multiply_tile(Float16, float (&sum)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void multiply_tile(TensorFloat32, float (&sum)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <typename ElementType, int kRowCount, srn::persistent::Exchange kExchangeKind>
class DeviceBlock {
 public:
  using Element = ElementType;
  using Operand = typename Element::Operand;
  static constexpr int kRows = kRowCount;
  static constexpr srn::persistent::Exchange kExchange = kExchangeKind;
  static constexpr int kColumns = kRows / 8;  // of 8 rows of the team, as the tensor cores take them
  static constexpr int kPerWord = 4 / int(sizeof(Operand));

  struct Tile {
    uint32_t words[4];
  };
  struct TileRows {
    int of[2];
  };
  struct TileColumns {
    int of[2 * kPerWord];
  };
  struct Rows {
    uint32_t words[kColumns][2];
  };
  struct Sum {
    float numbers[kColumns][4];
  };
  template <typename X>
  class PerWarp {
   public:
    __device__ __forceinline__ X& operator[](int) { return value_; }
    __device__ __forceinline__ const X& operator[](int) const { return value_; }

   private:
    X value_;
  };

  template <typename X>
  using PerLane = PerWarp<X>;  // a lane is a thread

  __device__ __forceinline__ DeviceBlock() : warp_(__shfl_sync(~0u, int(threadIdx.x) / 32, 0)) {}

  __device__ __forceinline__ int index() const { return int(blockIdx.x); }
  __device__ __forceinline__ unsigned char* memory() const {
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
  }
  __device__ __forceinline__ int thread() const { return int(threadIdx.x); }
  __device__ __forceinline__ int threads() const { return kWarps * 32; }
  __device__ __forceinline__ void sync() const { __syncthreads(); }
  template <typename F>
  __device__ __forceinline__ void each_warp(const F& f) const {
    f(warp_);
  }

  // The last warps have the fewest tiles.
  __device__ __forceinline__ int first_group() const { return kWarps - 1 - warp_; }
  __device__ __forceinline__ int groups() const { return kWarps; }
  template <typename F>
  __device__ __forceinline__ void each_lane(const F& f) const {
    f(lane());
  }
  __device__ __forceinline__ void sync_warp() const { __syncwarp(); }

  // Words 0 and 1 are of rows `lane / 4` and 8 more, in the first half of this thread's part of the depth; 2 and 3 in
  // the second.
  template <typename F>
  __device__ __forceinline__ void tile_rows(TileRows& rows, const F& of) const {
    rows.of[0] = of(lane_group()), rows.of[1] = of(lane_group() + 8);
  }
  template <typename F>
  __device__ __forceinline__ void tile_columns(TileColumns& columns, const F& of) const {
#pragma unroll
    for (int i = 0; i < 2 * kPerWord; ++i) columns.of[i] = of(2 * place() * kPerWord + i);
  }
  template <typename F>
  __device__ __forceinline__ void fill(Tile& tile, const TileRows& rows, const TileColumns& columns,
                                       const F& weight) const {
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const int row = rows.of[word % 2];
      const int* const column = columns.of + word / 2 * kPerWord;
      if constexpr (kPerWord == 2) {
        const uint32_t low = weight(row, column[0]), high = weight(row, column[1]);
        tile.words[word] = low | high << 16;
      } else {
        tile.words[word] = weight(row, column[0]);
      }
    }
  }
  __device__ __forceinline__ void keep(const Tile& tile, unsigned char* to) const {
    reinterpret_cast<uint4*>(to)[lane()] = {tile.words[0], tile.words[1], tile.words[2], tile.words[3]};
  }
  __device__ __forceinline__ void kept(Tile& tile, const unsigned char* from) const {
    const uint4 words = reinterpret_cast<const uint4*>(from)[lane()];
    tile.words[0] = words.x, tile.words[1] = words.y, tile.words[2] = words.z, tile.words[3] = words.w;
  }

  // A thread reads eight bytes, next to its neighbour's.
  __device__ __forceinline__ const Operand* rows_start(const Operand* operand) const {
    return operand + lane() * (8 / int(sizeof(Operand)));
  }
  __device__ __forceinline__ void rows(Rows& rows, const Operand* start) const {
    const uint32_t* const words = reinterpret_cast<const uint32_t*>(start);
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      const uint2 pair = *reinterpret_cast<const uint2*>(words + column * 64);
      rows.words[column][0] = pair.x, rows.words[column][1] = pair.y;
    }
  }
  __device__ __forceinline__ void clear(Sum& sum) const {
#pragma unroll
    for (int i = 0; i < kColumns * 4; ++i) sum.numbers[i / 4][i % 4] = 0;
  }
  __device__ __forceinline__ void multiply(Sum& sum, const Tile& tile, const Rows& rows) const {
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      multiply_tile(Element{}, sum.numbers[column], tile.words, rows.words[column]);
    }
  }
  template <typename F>
  __device__ __forceinline__ void pairs(const Sum& sum, const F& f) const {
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      const float (&numbers)[4] = sum.numbers[column];
      f(lane_group(), column * 8 + 2 * place(), numbers[0], numbers[1]);
      f(lane_group() + 8, column * 8 + 2 * place(), numbers[2], numbers[3]);
    }
  }
  // Of two neighbouring threads, which hold two numbers of two rows each, one gets four of the first, the other four of
  // the second.
  template <typename F>
  __device__ __forceinline__ void quads(const Sum& sum, const F& f) const {
    const bool odd = place() % 2 != 0;
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      const float (&own)[4] = sum.numbers[column];
      const float first = __shfl_xor_sync(~0u, odd ? own[0] : own[2], 1);
      const float next = __shfl_xor_sync(~0u, odd ? own[1] : own[3], 1);
      const float four[4] = {odd ? first : own[0], odd ? next : own[1], odd ? own[2] : first, odd ? own[3] : next};
      f(lane_group() + (odd ? 8 : 0), column * 8 + place() / 2 * 4, four);
    }
  }

  // Relaxed, at the scope of the device: past the first-level cache, and unordered except within a word.
  __device__ __forceinline__ void write(uint32_t* to, uint32_t word) const {
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(word) : "memory");
  }
  __device__ __forceinline__ void write(uint32_t* to, const uint32_t (&words)[4]) const {
    asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words[0]), "r"(words[1]),
                 "r"(words[2]), "r"(words[3])
                 : "memory");
  }
  __device__ __forceinline__ void read(const uint32_t* from, uint32_t (&words)[4]) const {
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "l"(from)
                 : "memory");
  }

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __device__ __forceinline__ void sync_cluster() const {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
  __device__ __forceinline__ void open(uint64_t* gate) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\nfence.mbarrier_init.release.cluster;" ::"r"(shared(gate))
                 : "memory");
  }
  __device__ __forceinline__ void expect(uint64_t* gate, int bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared(gate)), "r"(bytes) : "memory");
  }
  __device__ __forceinline__ bool passed(uint64_t* gate, uint32_t phase) const {
    uint32_t passed;
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2, %3;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(passed)
        : "r"(shared(gate)), "r"(phase), "r"(kLookNanoseconds)
        : "memory");
    return passed != 0;
  }
  __device__ __forceinline__ void send(int member, void* to, const uint32_t (&words)[2], uint64_t* gate) const {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(
                     of_member(to, member)),
                 "r"(words[0]), "r"(words[1]), "r"(of_member(gate, member))
                 : "memory");
  }
  __device__ __forceinline__ void send(int member, void* to, const uint32_t (&words)[4], uint64_t* gate) const {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
                     of_member(to, member)),
                 "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]), "r"(of_member(gate, member))
                 : "memory");
  }
#endif

#if defined(SRN_STAMPS)
  static constexpr unsigned kStamping = (kWarps - 1) * 32;  // a thread that has an item

  // One thread's ticks, in shared memory: with sums in global memory it would wait at every stamp.
  __device__ __forceinline__ void begin_stamps() const {
    if (threadIdx.x != kStamping) return;
    for (int part = 0; part < kMostParts; ++part) ticks()[part] = 0;
    ticks()[kMostParts] = uint32_t(clock());
  }
  __device__ __forceinline__ void stamp(int part) const {
    if (threadIdx.x != kStamping) return;
    const uint32_t now = uint32_t(clock());
    ticks()[part] += now - ticks()[kMostParts];
    ticks()[kMostParts] = now;
  }
  __device__ __forceinline__ void end_stamps(int64_t* stamps) const {
    if (threadIdx.x != kStamping || stamps == nullptr) return;
    for (int part = 0; part < kMostParts; ++part) stamps[blockIdx.x * kMostParts + part] += ticks()[part];
  }
#else
  __device__ __forceinline__ void begin_stamps() const {}
  __device__ __forceinline__ void stamp(int) const {}
  __device__ __forceinline__ void end_stamps(int64_t*) const {}
#endif

  // A look takes about half a microsecond; after some ten seconds without an answer something is wrong, and an error is
  // better than a machine that hangs.
  __device__ __forceinline__ void wait(uint32_t looks) const {
    if (looks == kMostLooks) __trap();
  }

 private:
  static constexpr uint32_t kMostLooks = 1u << 24;
  static constexpr uint32_t kLookNanoseconds = 1000;  // that a look at a gate may take, or it could take milliseconds

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  // Addresses in shared memory: this block's, and of the same place in a member of its cluster.
  __device__ __forceinline__ static uint32_t shared(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }
  __device__ __forceinline__ static uint32_t of_member(const void* p, int member) {
    uint32_t address;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared(p)), "r"(member));
    return address;
  }
#endif

#if defined(SRN_STAMPS)
  static constexpr int kMostParts = srn::persistent::kMostParts;

  // The ticks of each part, and when the last one ended.
  __device__ __forceinline__ static uint32_t* ticks() {
    __shared__ uint32_t ticks[kMostParts + 1];
    return ticks;
  }
#endif

  const int warp_;  // by a shuffle, which tells the compiler that all threads of the warp have the same number

  __device__ __forceinline__ int lane() const { return int(threadIdx.x) % 32; }
  __device__ __forceinline__ int lane_group() const { return lane() / 4; }
  __device__ __forceinline__ int place() const { return lane() % 4; }
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
