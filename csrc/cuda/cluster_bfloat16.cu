// The kernels of both passes in bfloat16, within clusters.
#include "cuda/launch.cuh"

namespace srn {
namespace SRN_ISA {
namespace persistent {

template struct Launcher<BFloat16, ForwardCall, Exchange::kCluster>;
template struct Launcher<BFloat16, BackwardCall, Exchange::kCluster>;

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
