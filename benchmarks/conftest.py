"""Options, fixtures and the closing report of ``pytest benchmarks/``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import torch
from srn_benchmarks import machine, report
from srn_benchmarks.options import Options, add_options
from srn_benchmarks.precision import tf32
from srn_benchmarks.results import Case, Results

RESULTS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    Options.of(config)  # a wrong option ends the run here, in one line
    # On a GPU cuDNN would give nn.LSTM TF32, which other rows have not; set before it is asked which backends serve.
    switches = ExitStack()
    switches.enter_context(tf32(False))
    config.add_cleanup(switches.close)
    config.stash[RESULTS] = Results(machine={})


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    machine_info["srn_kernels"] = machine.describe()


@pytest.fixture(scope="session")
def options(pytestconfig: pytest.Config) -> Options:
    return Options.of(pytestconfig)


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    return pytestconfig.stash[RESULTS]


@pytest.fixture
def open_case(results: Results) -> Callable[..., Case]:
    """Enters a case into the results before anything of it has run, so that one that fails is seen to have failed."""

    def open_case(*args: object) -> Case:
        case = Case(*args)
        results.cases.append(case)
        return case

    return open_case


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The tables, after everything else that is printed; and their files."""
    results = config.stash[RESULTS]
    if not results.cases:
        return
    results.machine = machine.describe()
    terminalreporter.section("speed")
    for line in report.lines(results):
        terminalreporter.write_line(line)
    for path in report.write(results, Options.of(config).report_dir):
        terminalreporter.write_line(f"wrote {path}")
