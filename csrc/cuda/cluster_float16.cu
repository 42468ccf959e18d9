// The kernels of both passes in float16, within clusters.
#include "cuda/launch.cuh"

namespace srn {
namespace SRN_ISA {
namespace persistent {

template struct Launcher<Float16, ForwardCall, Exchange::kCluster>;
template struct Launcher<Float16, BackwardCall, Exchange::kCluster>;

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
