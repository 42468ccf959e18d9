// The forward kernels in float16, through a mailbox.
#include "cuda/launch.cuh"

template struct srn::SRN_ISA::persistent::Launcher<srn::SRN_ISA::persistent::Float16, srn::persistent::ForwardCall,
                                                   srn::persistent::Exchange::kMailbox>;
