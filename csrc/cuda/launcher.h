// One pass in one dtype and with one exchange, as kernels.cu sees it: its plan and launch, without the kernel behind
// it. `Call` tells the pass.
#pragma once

#include <string>

#include "cuda/element.h"
#include "cuda/kernels.h"

namespace srn {
namespace SRN_ISA {
namespace persistent {

template <typename Element, typename Call, srn::persistent::Exchange kExchange>
struct Launcher {
  static srn::persistent::Plan plan(const srn::persistent::Sizes& sizes, int device, std::string& reason);
  static void launch(const srn::persistent::Plan& plan, const Call& call, int device, void* stream);
};

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
