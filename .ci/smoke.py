"""What a fresh installation must be able to do: run forward and backward on the native backend, from outside the checkout."""

from __future__ import annotations

from pathlib import Path

import torch

import srn_kernels

installed = Path(srn_kernels.__file__).resolve()
checkout = Path(__file__).resolve().parent.parent
assert checkout not in installed.parents, f"{installed} is the checkout, not the installation"

rnn = srn_kernels.SRN(12, 5, batch_first=True)
input = torch.randn(2, 7, 12, requires_grad=True)
with srn_kernels.backends.record() as ran:
    output, (h_n, c_n) = rnn(input)
    output.sum().backward()
assert output.shape == (2, 7, 5)
assert h_n.shape == c_n.shape == (1, 2, 5)
assert input.grad.isfinite().all()
assert ran == ["cpu", "cpu"], f"expected the native CPU kernels, forward and backward; {ran} ran"
print(f"{installed.parent}: forward and backward ran on {ran}")
