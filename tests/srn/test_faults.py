"""The measure of accuracy finds small faults: in each backend, one operation that is wrong by a few roundings.

The native kernels are built from a copy of their sources with the faults written in and switched on one at a time; with
none of them on, the copy passes. Triton's faults are with its other tests.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

from srn_kernels import native, reference
from srn_kernels.backends import cpu
from srn_kernels.testing import TF32

from .builds import ROOT, build, load, serve_on_host
from .cases import draw
from .faults import FAULTS, FUNCTION, MEDIUM, NONE, PRODUCT, SMALL, SUM, WIDE, Inject, check, wrong_product, wrong_tanh

# -- the reference -----------------------------------------------------------------------------------------------------


@contextmanager
def in_the_reference(fault: str, unit: float) -> Iterator[None]:
    def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        product = wrong_product(fault)(input, weight.t())
        return product if bias is None else product + bias

    with pytest.MonkeyPatch.context() as patch:
        if fault == FUNCTION:
            patch.setattr(reference, "torch", SimpleNamespace(**vars(torch) | {"tanh": wrong_tanh(unit)}))
        elif fault != NONE:
            patch.setattr(reference, "F", SimpleNamespace(linear=linear))
        yield


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_faults_of_the_reference(fault: str, dtype: torch.dtype) -> None:
    check("reference", fault, in_the_reference, draw(WIDE if fault == SUM else SMALL, dtype))


# -- the native kernels ------------------------------------------------------------------------------------------------

SWITCH = """
extern "C" __attribute__((visibility("default"))) inline int srn_fault = 0;
extern "C" __attribute__((visibility("default"))) inline double srn_fault_size = 0;

namespace srn {
namespace SRN_ISA {
"""
ROUND = """
template <typename A>
SRN_INLINE A as_bfloat16(A x) {
  using Int = typename Lanes<A>::Int;
  if constexpr (sizeof(Element<A>) != 4) return x;
  return bits_as<A>(Int((bits_as<Int>(x) + 0x8000u) & ~0xffffu));
}
SRN_CONSTEXPR double factorial("""
EDITS = {
    "csrc/cell.h": [
        ("\nnamespace srn {\nnamespace SRN_ISA {\n", SWITCH),
        ("\nSRN_CONSTEXPR double factorial(", ROUND),
        (
            "= Element<A>(ExpTraits<Element<A>>::coefficient(term));",
            "= Element<A>(ExpTraits<Element<A>>::coefficient(term) * (1 + (srn_fault == 1 && term == 2) * srn_fault_size));",
        ),
    ],
    "csrc/cuda/approximate.h": [
        ("return std::exp2(x);", "return std::exp2(x) * float(1 + (srn_fault == 1) * srn_fault_size / 16);"),
    ],
    "csrc/cpu/gemm.h": [
        (
            "sum[c][s] += value[s] * weight;",
            """{
          if (srn_fault != 3 || c > 0 || k > 0) sum[c][s] += value[s] * weight;
          if (srn_fault == 2) sum[c][s] = as_bfloat16(sum[c][s]);
        }""",
        ),
    ],
    "csrc/tests/host_block.h": [
        ("sum.numbers[i][j] += Element", "float& total = sum.numbers[i][j]; total += Element"),
        (
            "Element::multiplied(rows.numbers[j][k]);",
            "Element::multiplied(rows.numbers[j][k]); if (srn_fault == 2) total = SRN_ISA::as_bfloat16(total);",
        ),
        (
            "= weight(rows.of[row], columns.of[depth]);",
            "= srn_fault == 3 && row == 0 && depth == 0 ? Operand() : weight(rows.of[row], columns.of[depth]);",
        ),
    ],
}
"""What stands in the sources, once in each file, and what takes its place. Faults have their numbers in FAULTS."""

COPIED = {"csrc", "cmake", "CMakeLists.txt", "srn_kernels"}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The native library and the persistent kernels on the host, with the faults."""
    source = tmp_path_factory.mktemp("faulty") / "source"
    shutil.copytree(ROOT, source, ignore=lambda folder, names: set(names) - COPIED if Path(folder) == ROOT else set())
    for name, edits in EDITS.items():
        text = (source / name).read_text()
        for old, new in edits:
            assert text.count(old) == 1, f"{name}: {old}"
            text = text.replace(old, new)
        (source / name).write_text(text)
    library, persistent = build(source.parent / "build", "_C", "srn_persistent_host", source=source)
    return library, persistent


COEFFICIENT_ERROR = 256
"""Of the coefficient of r²/2, in roundings: where |r| is largest, ln 2 / 2, the exponential is off by 16 of them."""


def switched(path: Path, serve: Callable[[pytest.MonkeyPatch, ModuleType], None]) -> Inject:
    @contextmanager
    def inject(fault: str, unit: float) -> Iterator[None]:
        module, library = load(path), ctypes.CDLL(str(path))
        ctypes.c_int.in_dll(library, "srn_fault").value = FAULTS.index(fault)
        ctypes.c_double.in_dll(library, "srn_fault_size").value = COEFFICIENT_ERROR * unit
        with pytest.MonkeyPatch.context() as patch:
            serve(patch, module)
            yield

    return inject


def serve_native(patch: pytest.MonkeyPatch, library: ModuleType) -> None:
    """Makes the backend ``cpu`` run another library."""
    patch.setattr(native, "module", lambda: library)
    patch.setattr(cpu, "_kept_shape", cpu._native_shape)  # keeps nothing of the real one


# In bfloat16, sums of this length in bfloat16 lose no more than the roundings of their operands do.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "fault"),
    [
        *((torch.float32, fault) for fault in FAULTS),
        *((dtype, fault) for dtype in (torch.float64, torch.bfloat16) for fault in (NONE, FUNCTION, PRODUCT)),
    ],
    ids=str,
)
def test_faults_of_the_cpu_kernels(
    dtype: torch.dtype, fault: str, faulty: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SRN_KERNELS_ISA", raising=False)
    check("cpu", fault, switched(faulty[0], serve_native), draw(MEDIUM if fault == SUM else SMALL, dtype))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "fault"),
    [
        *((dtype, fault) for dtype in (torch.float16, torch.float32) for fault in FAULTS),
        *((torch.bfloat16, fault) for fault in (NONE, FUNCTION, PRODUCT)),
    ],
    ids=str,
)
def test_faults_of_the_persistent_kernels(dtype: torch.dtype, fault: str, faulty: tuple[Path, Path]) -> None:
    unit = TF32 if dtype == torch.float32 else None
    check("cuda", fault, switched(faulty[1], serve_on_host), draw(MEDIUM if fault == SUM else SMALL, dtype), unit)
