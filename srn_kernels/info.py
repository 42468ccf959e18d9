"""``python -m srn_kernels.info``: what is built, what is usable on this machine, and why the rest is not.

Run it first when something is slow or missing, and put its output into a bug report. It works without the native
module, and then says why that is absent.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from srn_kernels import native
from srn_kernels._version import __version__
from srn_kernels.backends import BACKENDS, proof

NOT_YET = "its tests have not passed on one yet"


def collect() -> dict[str, Any]:
    """Everything the report says, as plain data (``--json`` prints it).

    Returns:
        ``version``, ``python``, ``platform``; ``native``: see :func:`native_module`; ``torch``: ``version``, ``cuda``
        (the CUDA release it was built for, or None), ``threads``; ``devices``: name, compute capability and memory in
        GiB of each GPU; ``packages``: versions of the optional ones, None where absent; ``backends``: by name, why it
        cannot run here, None where it can; ``proof``: see :func:`proofs`.
    """
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "native": native_module(),
        "torch": {"version": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads()},
        "devices": [device(index) for index in range(torch.cuda.device_count())],
        "packages": {name: installed(name) for name in ("triton", "transformers")},
        "backends": {name: backend.unavailable() for name, backend in BACKENDS.items()},
        "proof": proofs(),
    }


def native_module() -> dict[str, Any]:
    """The state of ``srn_kernels._C``: ``file``, ``build`` (its build_info()), ``cpu_isa`` (the instruction set in use
    here), each None where it cannot be used, and ``problem``: a sentence, or None."""
    problem = native.missing()
    if problem is not None:
        return {"file": None, "build": None, "cpu_isa": None, "problem": problem}
    module = native.module()
    build = module.build_info()
    if build["version"] != __version__:
        problem = f"srn_kernels._C was built from version {build['version']}, not {__version__}: install again"
    else:
        problem = native.stale()
    return {"file": module.__file__, "build": build, "cpu_isa": module.cpu_isa(), "problem": problem}


def device(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_gib": round(properties.total_memory / 2**30, 1),
    }


def proofs() -> dict[str, Any]:
    """On which GPUs the backends that need it are proved: ``problem``, a sentence if no records can be read, or None;
    ``backends``, by name ``records`` (compute capability, GPU and date of each) and ``unproven`` (for each GPU here why
    ``auto`` passes over the backend there, None where it does not)."""
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    try:
        backends = {
            name: {
                "records": [
                    {"capability": record.capability, "gpu": record.gpu, "date": record.date}
                    for record in proof.proved(name)
                ],
                "unproven": [proof.unproven(backend, gpu) for gpu in gpus],
            }
            for name, backend in BACKENDS.items()
            if backend.needs_proof
        }
    except proof.ProofError as error:
        return {"problem": str(error), "backends": {}}
    return {"problem": None, "backends": backends}


def installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def report(info: dict[str, Any]) -> str:
    """The report for people: :func:`collect`'s data, one fact per line."""
    return "\n".join(f"{label:<14}{text}" for label, text in lines(info))


def lines(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "srn-kernels", f"{info['version']}, Python {info['python']}, {info['platform']}"
    native = info["native"]
    if build := native["build"]:
        yield "native module", f"{build['compiler']}, {build['build_type']}, {native['file']}"
        yield "  CPU", f"built for {build['cpu_isas']}; in use here: {native['cpu_isa']}"
        yield "  CUDA", cuda(build)
    if native["problem"]:
        yield "native module", native["problem"]
    made_for = f"CUDA {info['torch']['cuda']}" if info["torch"]["cuda"] else "without CUDA"
    yield "torch", f"{info['torch']['version']}, built {made_for}, {info['torch']['threads']} CPU threads"
    for name, version in info["packages"].items():
        yield name, version or "not installed"
    if not info["devices"]:
        yield "GPU", "none that torch can use"
    for index, gpu in enumerate(info["devices"]):
        yield f"GPU {index}", f"{gpu['name']}, compute capability {gpu['capability']}, {gpu['memory_gib']} GiB"
    yield "backends", "fastest first"
    for name, reason in info["backends"].items():
        first, *rest = backend_states(reason, info["proof"]["backends"].get(name), info["devices"])
        yield f"  {name}", first
        yield from (("", state) for state in rest)
    if info["proof"]["problem"]:
        yield "proofs", info["proof"]["problem"]


def backend_states(reason: str | None, proved: dict[str, Any] | None, gpus: list[dict[str, Any]]) -> list[str]:
    """Whether a backend is usable and, if it needs proof, where it is proved: on the GPUs here, or in general."""
    if proved is None:
        return ["usable" if reason is None else f"not usable: {reason}"]
    classes = [f"{record['capability']} ({record['gpu']}, {record['date']})" for record in proved["records"]]
    if reason is not None or not gpus:
        usable = "usable" if reason is None else f"not usable: {reason}"
        return [usable, f"proved on: {', '.join(classes) or 'none yet'}"]
    return list(
        dict.fromkeys(
            f"usable; proved on: {', '.join(classes)}"
            if unproven is None
            else f"by name only on {gpu['name']} (compute capability {gpu['capability']}): {NOT_YET}"
            for gpu, unproven in zip(gpus, proved["unproven"], strict=True)
        )
    )


def cuda(build: dict[str, str]) -> str:
    if build["cuda_architectures"]:
        return f"{build['cuda_compiler']} for {build['cuda_architectures']}"
    if build["cuda_compiler"]:
        return f"{build['cuda_compiler']} found, but this version has no CUDA kernels"
    return "not built: no nvcc was found, or it was switched off (SRN_KERNELS_CUDA)"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m srn_kernels.info", description="What is built and usable here.")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    options = parser.parse_args(arguments)
    info = collect()
    print(json.dumps(info, indent=2) if options.json else report(info))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
