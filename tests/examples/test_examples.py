"""The examples do what they say, run as a user runs them, for fewer steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.data import sample_corpus, write_corpus

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *arguments: object, folder: Path) -> str:
    """What an example prints, started in a folder that is not the checkout."""
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("network", ["SRN", "LSTM"])
def test_tagger_beats_a_list_of_words(network: str, tmp_path: Path) -> None:
    files = [tmp_path / "train.json", tmp_path / "dev.json"]
    for file in files:
        write_corpus(file, sample_corpus(file.stem))
    others = {"SRN": (), "LSTM": ("--lstm", "--files", *files)}[network]
    printed = run("tagger.py", "--epochs", 25, *others, folder=tmp_path)
    assert re.match(rf"{network}\(48, \d+, bidirectional=True.*20 sentences, 7 held out\n", printed)
    baseline = float(re.search(r"usual tag .* ([\d.]+)\n", printed)[1])
    curve = [(float(loss), float(f1)) for loss, f1 in re.findall(r"loss ([\d.]+) .* ([\d.]+)\n", printed)]
    assert len(curve) == 5
    assert curve[-1][0] < curve[0][0] / 2
    assert curve[-1][1] > max(baseline, curve[0][1])


def test_language_model_learns_and_writes(tmp_path: Path) -> None:
    printed = run("language_model.py", "--steps", 150, folder=tmp_path)
    baseline = float(re.search(r"of their frequencies alone: ([\d.]+)\n", printed)[1])
    reports = list(re.finditer(r"step \d+: ([\d.]+) bits per character, held out ([\d.]+)\n", printed))
    (seen, unseen), *_, (seen_later, unseen_later) = ([float(bits) for bits in report.groups()] for report in reports)
    assert seen_later < seen
    assert unseen_later < min(unseen, baseline - 0.5)
    start, bar, written = 64, 1, 300
    assert len(printed) - reports[-1].end() == start + bar + written + len("\n")


def test_streaming_is_the_whole_sequence_and_timed(tmp_path: Path) -> None:
    printed = run("streaming.py", "--steps", 200, "--streams", 3, "--hidden", 64, folder=tmp_path)
    assert float(re.search(r"200 steps .* largest difference ([\d.e+-]+)\n", printed)[1]) < 1e-5
    times = dict(re.findall(r"(\S+) +([\d.]+) µs/step\n", printed))
    assert times.keys() == {"SRNCell", "nn.LSTMCell"}
    assert all(float(one) > 0 for one in times.values())
