// How long the blocks of a cluster take to exchange what a step of the persistent kernels exchanges, in several ways:
// the measurements from which csrc/cuda/cluster.h chooses. Every way is one exchange after another and nothing else.
//
//   nvcc -O3 -std=c++17 -arch=sm_90 benchmarks/exchanges.cu -o exchanges && ./exchanges
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kUnits = 20, kRows = 8, kItems = kUnits * kRows;  // of a member at H 300
constexpr int kThreads = 256, kMostMembers = 16, kSteps = 1000;

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "%s\n", cudaGetErrorString(error));
  exit(1);
}

__device__ uint32_t shared(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }
__device__ uint32_t of_member(const void* p, int member) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared(p)), "r"(member));
  return address;
}
__device__ void sync_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ void open(uint64_t* gate) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\nfence.mbarrier_init.release.cluster;" ::"r"(shared(gate))
               : "memory");
}
__device__ void expect(uint64_t* gate, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared(gate)), "r"(bytes) : "memory");
}
// With the scope of the cluster, which makes the compiler empty the first-level cache, or of the block.
template <bool kOfCluster>
__device__ void await(uint64_t* gate, uint32_t phase) {
  uint32_t passed = 0;
  while (passed == 0) {
    if constexpr (kOfCluster) {
      asm volatile(
          "{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2, 1000;\n"
          "selp.u32 %0, 1, 0, p;\n}"
          : "=r"(passed)
          : "r"(shared(gate)), "r"(phase)
          : "memory");
    } else {
      asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                   : "=r"(passed)
                   : "r"(shared(gate)), "r"(phase)
                   : "memory");
    }
  }
}
__device__ void send(uint32_t to, uint32_t a, uint32_t b, uint32_t gate) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(to), "r"(a),
               "r"(b), "r"(gate)
               : "memory");
}
__device__ void send(uint32_t to, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t gate) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
               "r"(a), "r"(b), "r"(c), "r"(d), "r"(gate)
               : "memory");
}
__device__ void copy(uint32_t to, const void* from, int bytes, uint32_t gate) {
  asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "r"(shared(from)), "r"(bytes), "r"(gate)
               : "memory");
}
__device__ int after(int member, int turn, int members) {
  const int other = member + turn;
  return other < members ? other : other - members;
}

enum Way {
  kBlockBarrier,
  kClusterBarrier,
  kOneMessage,         // of 8 bytes, from each to each: the latency
  kOneMessageOfBlock,  // the same, awaited with the scope of the block
  kSumsBy8,
  kSumsBy16,
  kSumsCopied,  // 640 bytes at once, after a barrier
  kSumsStored,  // with plain stores, and a barrier of the cluster
  kHBy8,
  kHCopied,  // 320 bytes at once
  kWays
};
constexpr const char* kNames[kWays] = {
    "barrier of the block",
    "barrier of the cluster",
    "a message of 8 bytes each to each",
    "the same, block's scope",
    "sums, 8 bytes a message",
    "sums, 16 bytes a message",
    "sums, copied",
    "sums, stored",
    "h, 8 bytes a message",
    "h, copied",
};

template <Way kWay>
__global__ void __launch_bounds__(kThreads, 1) exchange(int members, long long* ticks) {
  extern __shared__ __align__(128) float numbers[];  // [slot][source][item], then [member][item]
  __shared__ uint64_t gates[2];
  const int member = int(blockIdx.x) % members, thread = int(threadIdx.x);
  float* const outgoing = numbers + 2 * kMostMembers * kItems;
  for (int i = thread; i < 3 * kMostMembers * kItems; i += kThreads) numbers[i] = float(i);
  if (thread == 0) open(gates), open(gates + 1);
  __syncthreads();
  sync_cluster();
  uint32_t phases[2] = {0, 0};
  const long long begin = clock64();
  for (int step = 0; step < kSteps; ++step) {
    const int slot = step % 2;
    uint64_t* const gate = gates + slot;
    float* const mine = numbers + (slot * kMostMembers + member) * kItems;  // where this member's go, in any member
    const auto by = [&](int size, int bytes_each, const auto& send_to) {    // all of a slice, in messages
      if (thread == 0) expect(gate, members * bytes_each);
      const int messages = bytes_each / size;
      for (int i = thread; i < members * messages; i += kThreads) {
        const int other = after(member, i / messages, members);
        send_to(of_member(reinterpret_cast<char*>(mine) + i % messages * size, other), of_member(gate, other), i);
      }
    };
    const auto by_copy = [&](int bytes) {
      if (thread == 0) expect(gate, members * bytes);
      for (int i = thread; i < members * kItems; i += kThreads) outgoing[i] = float(step);
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      __syncthreads();
      if (thread >= members) return;
      const int other = after(member, thread, members);
      copy(of_member(mine, other), outgoing + other * kItems, bytes, of_member(gate, other));
    };
    const auto two = [&](uint32_t to, uint32_t at, int i) { send(to, i, step, at); };
    const auto four = [&](uint32_t to, uint32_t at, int i) { send(to, i, step, i, step, at); };
    if constexpr (kWay == kOneMessage || kWay == kOneMessageOfBlock) {
      by(8, 8, two);
    } else if constexpr (kWay == kSumsBy8) {
      by(8, kItems * 4, two);
    } else if constexpr (kWay == kSumsBy16) {
      by(16, kItems * 4, four);
    } else if constexpr (kWay == kHBy8) {
      by(8, kItems * 2, two);
    } else if constexpr (kWay == kSumsCopied) {
      by_copy(kItems * 4);
    } else if constexpr (kWay == kHCopied) {
      by_copy(kItems * 2);
    } else if constexpr (kWay == kSumsStored) {
      for (int i = thread; i < members * kItems / 4; i += kThreads) {
        const int other = after(member, i / (kItems / 4), members);
        asm volatile(
            "st.shared::cluster.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(of_member(mine + i % (kItems / 4) * 4, other)),
            "r"(i), "r"(step), "r"(i), "r"(step)
            : "memory");
      }
    }
    if constexpr (kWay == kClusterBarrier || kWay == kSumsStored) {
      sync_cluster();
    } else {
      if constexpr (kWay != kBlockBarrier) await<kWay != kOneMessageOfBlock>(gate, phases[slot]), phases[slot] ^= 1;
      __syncthreads();
    }
  }
  const long long end = clock64();
  sync_cluster();
  if (thread == 0) ticks[blockIdx.x] = end - begin;
}

template <int kWay>
void time(int members, int clusters, long long* ticks) {
  if constexpr (kWay < kWays) {
    const auto kernel = exchange<Way(kWay)>;
    constexpr int kShared = 120 * 1024;  // more than half of a multiprocessor's: a block has one to itself
    static_assert(3 * kMostMembers * kItems * sizeof(float) <= kShared, "fits");
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {unsigned(members), 1, 1};
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(unsigned(members * clusters));
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = kShared;
    config.attrs = &attribute;
    config.numAttrs = 1;
    cudaEvent_t start, end;
    check(cudaEventCreate(&start));
    check(cudaEventCreate(&end));
    for (int round = 0; round < 2; ++round) {  // the first warms up
      check(cudaEventRecord(start));
      check(cudaLaunchKernelEx(&config, kernel, members, ticks));
      check(cudaEventRecord(end));
    }
    check(cudaDeviceSynchronize());
    float milliseconds = 0;
    long long counted = 0;
    check(cudaEventElapsedTime(&milliseconds, start, end));
    check(cudaMemcpy(&counted, ticks, sizeof(counted), cudaMemcpyDeviceToHost));
    printf("%2d members, %d clusters  %-34s %7.0f cycles %7.3f us\n", members, clusters, kNames[kWay],
           double(counted) / kSteps, double(milliseconds) * 1e3 / kSteps);
    time<kWay + 1>(members, clusters, ticks);
  }
}

}  // namespace

int main() {
  long long* ticks;
  check(cudaMalloc(&ticks, 4096 * sizeof(long long)));
  for (const int members : {8, 15, 16}) {
    for (const int clusters : {1, 4}) time<0>(members, clusters, ticks);
  }
  return 0;
}
