// The kernels of both passes in float32, multiplied as TF32, within clusters.
#include "cuda/launch.cuh"

namespace srn {
namespace SRN_ISA {
namespace persistent {

template struct Launcher<TensorFloat32, ForwardCall, Exchange::kCluster>;
template struct Launcher<TensorFloat32, BackwardCall, Exchange::kCluster>;

}  // namespace persistent
}  // namespace SRN_ISA
}  // namespace srn
