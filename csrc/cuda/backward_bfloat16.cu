// The backward kernels in bfloat16, through a mailbox.
#include "cuda/launch.cuh"

template struct srn::SRN_ISA::persistent::Launcher<srn::SRN_ISA::persistent::BFloat16, srn::persistent::BackwardCall,
                                                   srn::persistent::Exchange::kMailbox>;
