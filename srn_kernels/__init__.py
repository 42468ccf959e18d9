"""Selection Recurrent Networks (arXiv 2202.07281): a drop-in for ``torch.nn.LSTM`` with native kernels."""

from srn_kernels import backends
from srn_kernels._version import __version__
from srn_kernels.cell import SRNCell
from srn_kernels.module import SRN
from srn_kernels.operator import srn_layer
from srn_kernels.output import SRNOutput

__all__ = ["SRN", "SRNCell", "SRNOutput", "__version__", "backends", "srn_layer"]
