// A launch of a persistent kernel on the host: every block with threads, shared memory and a barrier of its own.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "cuda/backward.h"
#include "cuda/forward.h"
#include "cuda/planning.h"
#include "tests/host_block.h"

namespace srn {
namespace test {

namespace persistent = srn::SRN_ISA::persistent;

// Body: ForwardPass or BackwardPass, Shared its shared memory. The mailbox is filled as a launch on a device fills it.
template <typename Element, int kRows, int N, template <typename, int> class Body, typename Shared, typename Call>
void launch_on_host(const srn::persistent::Plan& plan, const Call& call, int threads_of_a_block, Guard guard) {
  using Block = HostBlock<Element, kRows>;
  memset(call.mailbox, 0xff, size_t(plan.mailbox_words(call.sizes.directions)) * sizeof(uint32_t));
  const Shared shared(plan);
  const int blocks = plan.blocks(call.sizes.directions);
  std::vector<Memory> memories;
  std::vector<std::unique_ptr<Barrier>> barriers;
  std::vector<std::thread> threads;
  for (int block = 0; block < blocks; ++block) {
    memories.emplace_back(size_t(plan.shared_bytes), guard, 16);
    barriers.push_back(std::make_unique<Barrier>(threads_of_a_block));
  }
  for (int block = 0; block < blocks; ++block) {
    for (int thread = 0; thread < threads_of_a_block; ++thread) {
      threads.emplace_back([&, block, thread] {
        const size_t own = size_t(block);
        const Block host(block, thread, threads_of_a_block, memories[own].get(), *barriers[own]);
        Body<Block, N>(host, plan, call, shared).run();
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
}

template <typename Element, int kRows, int N>
void forward_on_host(const srn::persistent::Plan& plan, const srn::persistent::ForwardCall& call, int threads,
                     Guard guard) {
  launch_on_host<Element, kRows, N, persistent::ForwardPass, persistent::ForwardShared<Element, kRows, N>>(
      plan, call, threads, guard);
}

template <typename Element, int kRows, int N>
void backward_on_host(const srn::persistent::Plan& plan, const srn::persistent::BackwardCall& call, int threads,
                      Guard guard) {
  launch_on_host<Element, kRows, N, persistent::BackwardPass, persistent::BackwardShared<Element, kRows, N>>(
      plan, call, threads, guard);
}

}  // namespace test
}  // namespace srn
