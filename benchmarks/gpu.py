"""``python benchmarks/gpu.py --out DIR``: tests and times the GPU backends on a machine with a GPU."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # this checkout's packages, installed or not

from srn_benchmarks.machine import UNVERSIONED, present_commit
from srn_benchmarks.stages import STAGES, Run

from srn_kernels import backends


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/gpu.py",
        description="Runs the GPU backends in stages, each backend's part of one in a process of its own; a summary "
        "comes last.",
        epilog="stages: " + "; ".join(f"{stage.name} ({stage.what}, {stage.seconds:g} s)" for stage in STAGES),
    )
    names = [stage.name for stage in STAGES]
    gpu_backends = [name for name, backend in backends.BACKENDS.items() if backend.needs_proof]
    parser.add_argument("--out", type=Path, required=True, help="folder for the log, results, report and plots")
    parser.add_argument("--stage", action="append", choices=names, help="runs this one (default: all, in order)")
    parser.add_argument("--backend", action="append", choices=gpu_backends, help="runs this one (default: all of them)")
    parser.add_argument("--record", action="store_true", help="record each backend all of whose tests passed")
    parser.add_argument("--commit", help="the commit that is tested, where there is no git to ask")
    parser.add_argument("--seed", type=int, help="replays the random numbers of an earlier run of the tests")
    parser.add_argument("--stamped", type=Path, help="a native module built with SRN_STAMPS, for the stage 'parts'")
    parser.add_argument("--rehearse", action="store_true", help="the CPU in place of a GPU, on tiny sizes")
    options = parser.parse_args(arguments)
    options.stage = [stage for stage in STAGES if options.stage is None or stage.name in options.stage]
    if options.stamped is not None and not options.stamped.is_file():
        parser.error(f"--stamped: there is no file {options.stamped}")
    if options.record and not any(stage.name == "tests" for stage in options.stage):
        parser.error("--record needs the stage 'tests': it records that they have passed")
    if options.record and options.rehearse:
        parser.error("--record needs a GPU: a rehearsal proves nothing")
    return options


def say(text: str) -> None:
    print(text, flush=True)  # a run that is ended from outside would lose the rest


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 if a test, a case or a process failed; 2 if nothing could be started."""
    options = parse(arguments)
    if not options.rehearse and not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a CUDA device that torch can use; there is none", file=sys.stderr)
        return 2
    if options.record and not options.commit and present_commit() == UNVERSIONED:
        print("--record: there is no git here to ask for the commit; say it with --commit", file=sys.stderr)
        return 2
    run = Run(
        options.out.resolve(),
        options.stage,
        options.backend,
        options.record,
        options.commit,
        options.seed,
        options.rehearse,
        say,
        options.stamped and options.stamped.resolve(),
    )
    return 0 if run.go() else 1


if __name__ == "__main__":
    raise SystemExit(main())
