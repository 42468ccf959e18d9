"""Holds back new kernels: ``auto`` chooses a GPU backend only where its tests are recorded to have passed.

The records are in ``proof.json`` beside this file, one for each backend and kind of GPU; ``benchmarks/gpu.py --record``
writes them. A record is valid for a class of GPU, its compute capability, and for exactly the sources that were tested:
a test of the repository compares the digests.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import lru_cache
from pathlib import Path

import torch

from srn_kernels.backends.backend import Backend

FILE = Path(__file__).with_name("proof.json")
ROOT = Path(__file__).parents[2]
"""The repository's root, in a checkout."""


class ProofError(ValueError):
    """Records that cannot be read. The message names the file, the record by its place from 1, and the field."""


@dataclass(frozen=True)
class Record:
    """One run of a backend's GPU tests in which none failed."""

    backend: str
    capability: str  # "9.0"
    gpu: str  # the name that its driver gives
    date: str  # of the run, "2026-01-31"
    version: str  # of srn_kernels
    commit: str
    digest: str  # of the backend's sources, as digest() makes it
    torch: str
    triton: str | None
    cuda: str | None  # the release that torch was built for
    passed: int
    skipped: int


def unproven(backend: Backend, device: torch.device) -> str | None:
    """Why ``auto`` must pass over ``backend`` on ``device``, in a sentence; None where it need not.

    Runs in every call under ``auto``, so nothing is looked up for a backend that needs no proof, or for a CPU.

    Raises:
        ProofError: the records cannot be read.
    """
    if not backend.needs_proof:
        return None
    if device.type != "cuda":
        return "it runs by name only where there is no GPU: its tests are of GPUs"
    return _unproven(backend.name, torch.cuda.current_device() if device.index is None else device.index)


@lru_cache(maxsize=64)
def _unproven(backend: str, index: int) -> str | None:
    capability = "{}.{}".format(*torch.cuda.get_device_capability(index))
    # Under ROCm a capability is AMD's number, and may look like one of NVIDIA's.
    if torch.version.hip is None and any(record.capability == capability for record in proved(backend)):
        return None
    return f"it runs by name only on GPUs of compute capability {capability}: its tests have not passed on one yet"


def proved(backend: str) -> list[Record]:
    """The records of a backend, in the file's order.

    Raises:
        ProofError: the records cannot be read.
    """
    return [record for record in records(FILE) if record.backend == backend]


def forget() -> None:
    """Drops the cached records, and what was concluded from them."""
    records.cache_clear()
    _unproven.cache_clear()


@lru_cache(maxsize=1)
def records(file: Path) -> tuple[Record, ...]:
    """Every record of a file.

    Raises:
        ProofError: it is missing, or not a list of complete records, one for each backend and kind of GPU.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ProofError(f"{file}: expected a JSON list of records, {error}") from error
    if not isinstance(content, list):
        raise ProofError(f"{file}: expected a JSON list of records, found {type(content).__name__}")
    found = [_record(file, place, value) for place, value in enumerate(content, 1)]
    keys = [_key(record) for record in found]
    for place, key in enumerate(keys, 1):
        if key in keys[: place - 1]:
            raise ProofError(f"{file}: record {place}: a second one of {' on '.join(key[:2])} ({key[2]})")
    return tuple(found)


def add(record: Record, file: Path) -> None:
    """Writes a record into a file, replacing an earlier one of the same backend and kind of GPU.

    Raises:
        ProofError: the file's records cannot be read, or the new one is incomplete.
    """
    content = asdict(record)
    _record(file, "to be written", content)
    kept = [asdict(other) for other in records(file) if _key(other) != _key(record)]
    file.write_text(json.dumps([*kept, content], indent=2, ensure_ascii=False) + "\n", "utf-8")
    forget()


def _key(record: Record) -> tuple[str, str, str]:
    return record.backend, record.capability, record.gpu


def digest(backend: Backend) -> str:
    """SHA-256 over the names and contents of the files that ``backend.sources`` names, in hexadecimal.

    Raises:
        FileNotFoundError: a pattern matches no file: this is not a checkout, or a file has moved.
    """
    total = hashlib.sha256()
    for name, path in sorted(source_files(backend).items()):
        content = path.read_bytes()
        total.update(f"{name}\n{len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def source_files(backend: Backend) -> dict[str, Path]:
    """The files behind :func:`digest`, by their name under the repository's root."""
    found: dict[str, Path] = {}
    for pattern in backend.sources:
        files = [path for path in ROOT.glob(pattern) if path.is_file() and "__pycache__" not in path.parts]
        if not files:
            raise FileNotFoundError(f"backend {backend.name!r} names {pattern} among its sources; none is in {ROOT}")
        found |= {path.relative_to(ROOT).as_posix(): path for path in files}
    return found


# -- what a record must be ---------------------------------------------------------------------------------------------


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _matches(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


_TEXT = (_is_text, "a text")
_TEXT_OR_NULL = (lambda value: value is None or _is_text(value), "a text or null")
_CHECKS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "backend": _TEXT,
    "capability": (_matches(r"\d+\.\d+"), 'a compute capability such as "9.0"'),
    "gpu": _TEXT,
    "date": (_is_date, 'a date such as "2026-01-31"'),
    "version": _TEXT,
    "commit": _TEXT,
    "digest": (_matches(r"[0-9a-f]{64}"), "64 hexadecimal digits"),
    "torch": _TEXT,
    "triton": _TEXT_OR_NULL,
    "cuda": _TEXT_OR_NULL,
    "passed": (lambda value: _is_count(value, 1), "a number above 0"),
    "skipped": (lambda value: _is_count(value, 0), "a number, 0 or more"),
}
"""By field: a check of its value, and what is expected."""


def _record(file: Path, place: int | str, value: object) -> Record:
    if not isinstance(value, dict):
        raise ProofError(f"{file}: record {place}: expected an object, found {type(value).__name__}")
    names = [field.name for field in fields(Record)]
    for name in [*names, *value]:
        if name not in value:
            raise ProofError(f"{file}: record {place}: field {name!r} is missing")
        if name not in names:
            raise ProofError(f"{file}: record {place}: field {name!r} is unknown; expected {', '.join(names)}")
        good, expected = _CHECKS[name]
        if not good(value[name]):
            raise ProofError(f"{file}: record {place}: field {name!r}: expected {expected}, found {value[name]!r}")
    return Record(**value)
