// A launch of a persistent kernel on the host: every block has its own threads, shared memory and barrier.
#pragma once

#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "cuda/backward.h"
#include "cuda/forward.h"
#include "cuda/planning.h"
#include "tests/host_block.h"

namespace srn {
namespace test {

namespace persistent = srn::SRN_ISA::persistent;

// Body: ForwardPass or BackwardPass, Shared its shared memory. The mailbox is filled as a launch on a device fills it.
template <typename Block, int N, template <typename, int> class Body, typename Shared, typename Call>
void launch_on_host(const srn::persistent::Plan& plan, const Call& call, int threads_of_a_block, Guard guard) {
  memset(call.mailbox, 0xff, size_t(plan.mailbox_words(call.sizes.directions)) * sizeof(uint32_t));
  const Shared shared(plan);
  const int blocks = plan.blocks(call.sizes.directions);
  std::vector<Memory> memories;
  std::vector<std::unique_ptr<Barrier>> barriers;
  std::vector<std::unique_ptr<HostCluster>> clusters;
  std::vector<std::thread> threads;
  for (int block = 0; block < blocks; ++block) {
    const int member = block % plan.members;
    memories.emplace_back(size_t(plan.shared_bytes), guard, 16);
    barriers.push_back(std::make_unique<Barrier>(threads_of_a_block));
    if (member == 0) clusters.push_back(std::make_unique<HostCluster>(plan.members, threads_of_a_block));
    clusters.back()->member[size_t(member)].memory = memories.back().get();
  }
  for (int block = 0; block < blocks; ++block) {
    for (int thread = 0; thread < threads_of_a_block; ++thread) {
      threads.emplace_back([&, block, thread] {
        const size_t index = size_t(block);
        const Block host(block, thread, threads_of_a_block, *barriers[index], *clusters[index / size_t(plan.members)],
                         block % plan.members);
        Body<Block, N>(host, plan, call, shared).run();
        host.end();
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
}

// f(block), a null pointer to the block of the plan's exchange.
template <typename Element, int kRows, int N, typename F>
void with_host_block(const srn::persistent::Plan& plan, const F& f) {
  using srn::persistent::Exchange;
  if constexpr (srn::persistent::has_kernel(Exchange::kCluster, kRows, N)) {
    if (plan.exchange == Exchange::kCluster) {
      return f(static_cast<HostBlock<Element, kRows, Exchange::kCluster>*>(nullptr));
    }
  }
  f(static_cast<HostBlock<Element, kRows, Exchange::kMailbox>*>(nullptr));
}

template <typename Element, int kRows, int N>
void forward_on_host(const srn::persistent::Plan& plan, const srn::persistent::ForwardCall& call, int threads,
                     Guard guard) {
  using Shared = persistent::ForwardShared<Element, kRows, N>;
  with_host_block<Element, kRows, N>(plan, [&](auto* block) {
    launch_on_host<std::remove_pointer_t<decltype(block)>, N, persistent::ForwardPass, Shared>(plan, call, threads,
                                                                                               guard);
  });
}

template <typename Element, int kRows, int N>
void backward_on_host(const srn::persistent::Plan& plan, const srn::persistent::BackwardCall& call, int threads,
                      Guard guard) {
  using Shared = persistent::BackwardShared<Element, kRows, N>;
  with_host_block<Element, kRows, N>(plan, [&](auto* block) {
    launch_on_host<std::remove_pointer_t<decltype(block)>, N, persistent::BackwardPass, Shared>(plan, call, threads,
                                                                                                guard);
  });
}

}  // namespace test
}  // namespace srn
