"""What every test shares: reproducible random numbers, and how hard hypothesis looks."""

from __future__ import annotations

import os
import random
import zlib

import hypothesis
import pytest
import torch

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
    parser.addoption(
        "--gpu-backend", action="append", help="a backend for tests/gpu to test (default: all usable ones)"
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--seed') or 0}, torch {torch.__version__} on {torch.get_num_threads()} threads"


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> int:
    """Seeds each test from its name: reproducible, whichever tests run beside it, and different data for each."""
    seed = zlib.crc32(request.node.nodeid.encode()) ^ (request.config.getoption("--seed") or 0)
    random.seed(seed)
    torch.manual_seed(seed)
    return seed
