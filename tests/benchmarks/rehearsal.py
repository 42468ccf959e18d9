"""A pytest plugin: stand-ins for GPU backends, right, wrong, or fatal to their process."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import pytest
import torch

from srn_kernels import backends
from srn_kernels.backends.torch_reference import ReferenceBackend
from srn_kernels.call import LayerCall
from srn_kernels.reference import Direction


class New(ReferenceBackend):
    name = "new"
    needs_proof = True
    sources = ("srn_kernels/reference.py",)


class Wrong(New):
    name = "wrong"

    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        super().forward(call, outs)
        outs[0].output.mul_(1.1)


class Hanging(New):
    name = "hanging"

    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        time.sleep(1000)


class Dying(New):
    name = "dying"

    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        os.abort()


class Lost(New):
    """After this error nothing works on the device."""

    name = "lost"

    def forward(self, call: LayerCall, outs: Sequence[Direction]) -> None:
        torch.cuda.is_initialized, torch.cuda.synchronize = lambda: True, self._fail
        self._fail()

    def _fail(self) -> None:
        raise RuntimeError("illegal memory access")


STAND_INS = {kind.name: kind() for kind in (New, Wrong, Hanging, Dying, Lost)}


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Runs before the benchmarks' conftest asks which backends exist."""
    backends.BACKENDS.update(STAND_INS)
