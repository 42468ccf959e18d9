"""Early, late and packed fusion in sentences a second (Table 4 of arXiv 2202.07281), over a trunk of SciBERT's shape."""

from __future__ import annotations

import pytest
from srn_benchmarks.bench import Bench
from srn_benchmarks.options import Options
from srn_benchmarks.workloads.fusion import measure, procedures, settings
from srn_benchmarks.workloads.procedures import Setting


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize(
        ("setting", "procedure"),
        [
            pytest.param(
                setting, procedure, id=f"{setting}-{procedure}", marks=pytest.mark.benchmark(group=f"fusion {setting}")
            )
            for setting in settings(Options.of(metafunc.config))
            for procedure in procedures(setting)
        ],
    )


def test_fusion(bench: Bench, setting: Setting, procedure: str) -> None:
    measure(bench, setting, procedure)
