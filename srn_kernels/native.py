"""The native library ``srn_kernels._C``: loaded once; if that fails, the reason is kept."""

from __future__ import annotations

import importlib
from hashlib import sha256
from pathlib import Path
from types import ModuleType

# torch first: the library then shares torch's OpenMP runtime, and there is one thread pool instead of two.
import torch  # noqa: F401

_module: ModuleType | None = None
_missing: str | None = None

try:
    _module = importlib.import_module("srn_kernels._C")
except ImportError as _error:
    _missing = f"the native library could not be loaded ({_error}); build it with `pip install .`"
else:
    try:
        _module.cpu_isa()
    except RuntimeError as _error:  # SRN_KERNELS_ISA names an instruction set that cannot be used
        _missing = str(_error)
    except AttributeError as _error:
        _missing = f"the native library is of another version ({_error}); build it again with `pip install .`"


def missing() -> str | None:
    """Why the native library cannot be used, or None."""
    return _missing


def sources() -> str | None:
    """The digest of the native sources beside the package, as ``cmake/SrnSources.cmake`` makes it; None where they are not."""
    root = Path(__file__).parents[1]
    kinds = (".h", ".cuh", ".cpp", ".cu")
    files = [path.relative_to(root) for path in root.glob("csrc/**/*") if path.suffix in kinds]
    names = sorted(path.as_posix() for path in files if path.parts[1] != "tests" and path.name[0] != ".")
    text = "".join(f"{name} {sha256((root / name).read_bytes()).hexdigest()}\n" for name in names)
    return sha256(text.encode()).hexdigest() if names else None


def stale() -> str | None:
    """That the library was built from other sources than those beside the package, in a sentence; None where it was not,
    or where there are none."""
    if _module is None or sources() in (None, _module.build_info().get("sources")):
        return None
    return "srn_kernels._C was built from other sources than csrc holds now: install again"


def multiplies_bfloat16() -> bool:
    """Whether the processor has products of bfloat16, and the library's instruction set uses them."""
    return _module is not None and _missing is None and _module.cpu_isa() in ("avx512bf16", "amx")


def module() -> ModuleType:
    """The library.

    Raises:
        RuntimeError: it cannot be used; the message says why.
    """
    if _module is None or _missing is not None:
        raise RuntimeError(_missing)
    return _module
