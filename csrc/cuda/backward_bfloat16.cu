// The backward kernels in bfloat16.
#include "cuda/launch.cuh"

template struct srn::SRN_ISA::persistent::Launcher<srn::SRN_ISA::persistent::BFloat16, srn::persistent::BackwardCall>;
