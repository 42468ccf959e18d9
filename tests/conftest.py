"""What every test shares: reproducible random numbers, hypothesis' effort, and a share of the processor."""

from __future__ import annotations

import os
import random
import secrets
import zlib

import cpuinfo
import hypothesis
import pytest
import torch

from srn_kernels import native

hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("default"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


class TorchRandom:
    """torch's generator in the form that hypothesis resets for each example, so that a failing one can be replayed."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


torch_random = TorchRandom()
hypothesis.register_random(torch_random)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, help="base seed of every test's random numbers (0; on a GPU a new one each run)"
    )
    parser.addoption("--effort", type=int, default=1, help="how many times as many trials where a test draws them (1)")
    parser.addoption(
        "--gpu-backend", action="append", help="a backend for tests/gpu to test (default: all usable ones)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Draws the seed of the GPU tests; the workers of pytest-xdist get it with the other options.

    Workers share the cores: threads that wait for one would take longer than the work.
    """
    if not hasattr(config.option, "gpu_seed"):
        given = config.getoption("--seed")
        config.option.gpu_seed = secrets.randbits(31) if given is None else given
    if hasattr(config.option, "loadscopereorder"):
        # pytest-xdist would begin the files with the fewest tests last, and those are the ones that take longest.
        config.option.loadscopereorder = False
    if hasattr(config, "workerinput"):
        torch.set_num_threads(max(1, torch.get_num_threads() // config.workerinput["workercount"]))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What results may depend on; CI repeats the first line at its end."""
    cpu, isa = cpuinfo.get_cpu_info(), native.module().cpu_isa() if native.missing() is None else "none"
    model = ", ".join(f"{name} {cpu[name]}" for name in ("family", "model", "stepping") if name in cpu)
    processor = f"{cpu.get('vendor_id_raw', 'unknown')} ({model}), {cpu.get('brand_raw', 'no name')}"
    return [
        f"processor: {processor}; native kernels: {isa}, torch: {torch.backends.cpu.get_cpu_capability()}",
        f"seed: {config.getoption('--seed') or 0}, torch {torch.__version__} on {torch.get_num_threads()} threads",
        f"random numbers of the GPU tests: replay with --seed {config.option.gpu_seed}",
    ]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Only one process at a time should use a GPU: with one, ``-n logical`` starts no others."""
    return 0 if torch.cuda.is_available() else None


@pytest.fixture(scope="session")
def effort(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--effort")


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> int:
    """Seeds each test from its name: its data are reproducible whatever else runs, and differ between tests."""
    seed = zlib.crc32(request.node.nodeid.encode()) ^ (request.config.getoption("--seed") or 0)
    random.seed(seed)
    torch.manual_seed(seed)
    return seed
