"""The timer of the cascade's stages: it replaces the profiler's labels, and leaves those of others alone."""

from __future__ import annotations

import time

import pytest
from srn_benchmarks.stage_timer import StageTimer
from torch import profiler


def test_labelled_stages_are_timed():
    timer = StageTimer()
    with timer.listening():
        for name in ("cascade.encode", "cascade.decode", "cascade.encode"):
            with profiler.record_function(name):
                time.sleep(0.002)
    assert timer.seconds.keys() == {"encode", "decode"}
    assert timer.seconds["encode"] >= 0.004
    assert 0.002 <= timer.seconds["decode"] < timer.seconds["encode"]


def test_labels_of_others_stay_the_profilers():
    timer, label = StageTimer(), profiler.record_function
    with timer.listening():
        assert isinstance(profiler.record_function("optimizer"), label)
    assert not timer.seconds


def test_the_profilers_label_is_back_even_after_an_error():
    label = profiler.record_function
    with pytest.raises(RuntimeError), StageTimer().listening():
        raise RuntimeError
    assert profiler.record_function is label
