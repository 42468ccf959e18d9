// The backward kernels in float32, multiplied as TF32, through a mailbox.
#include "cuda/launch.cuh"

template struct srn::SRN_ISA::persistent::Launcher<srn::SRN_ISA::persistent::TensorFloat32,
                                                   srn::persistent::BackwardCall, srn::persistent::Exchange::kMailbox>;
