// The two ways in which the members of a team leave numbers for each other: through global memory, on any GPU, or
// within a cluster of blocks. `Team` is written over either: both are classes with the same functions.
#pragma once

#include <type_traits>

#include "cuda/cluster.h"
#include "cuda/mailbox.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

template <typename Block>
using ExchangeOf =
    std::conditional_t<Block::kExchange == srn::persistent::Exchange::kCluster, Cluster<Block>, Mailbox<Block>>;

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
