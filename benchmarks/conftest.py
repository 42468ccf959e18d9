"""Options, fixtures and the closing report of ``pytest benchmarks/``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch
from srn_benchmarks import machine, report
from srn_benchmarks.bench import Bench
from srn_benchmarks.options import Options, add_options
from srn_benchmarks.precision import tf32
from srn_benchmarks.results import FAILED, Results

RESULTS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    Options.of(config)  # a wrong option ends the run here, in one line
    # On a GPU cuDNN would give TF32 to nn.LSTM alone; set before the backends are asked what they serve.
    switches = ExitStack()
    switches.enter_context(tf32(False))
    config.add_cleanup(switches.close)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    machine_info["srn_kernels"] = machine.describe()


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    pytestconfig.stash[RESULTS] = Results(machine.describe())
    return pytestconfig.stash[RESULTS]


@pytest.fixture
def bench(request: pytest.FixtureRequest, results: Results) -> Iterator[Bench]:
    """Restores torch's threads, and ends the run if a GPU has failed: nothing works in this process after that."""
    threads = torch.get_num_threads()
    yield Bench(Options.of(request.config), results, lambda: request.getfixturevalue("benchmark"))
    torch.set_num_threads(threads)
    if torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            pytest.exit(f"the device failed in {request.node.nodeid}: {error}", returncode=3)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Writes the results into their file after each case, with the reason if it has failed."""
    made = yield
    results = item.config.stash.get(RESULTS, None)
    if made.when == "call" and results is not None and results.cases:
        case = results.cases[-1]
        if call.excinfo is not None and case.status == FAILED:
            lines = str(call.excinfo.value).splitlines() or [call.excinfo.typename]
            what = "wrong, so not timed" if call.excinfo.errisinstance(AssertionError) else call.excinfo.typename
            results.note(case.table, f"{what}: {item.name}: {lines[0]}")
        results.write(Options.of(item.config).report_dir / report.RESULTS)
    return made


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The tables, after everything else that is printed; and their files."""
    results = config.stash.get(RESULTS, None)
    if results is None or not results.cases:
        return
    terminalreporter.section("speed")
    for line in report.lines(results):
        terminalreporter.write_line(line)
    for path in report.write(results, Options.of(config).report_dir):
        terminalreporter.write_line(f"wrote {path}")
