"""A training that is killed, at any moment, and resumed gives the weights of one that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_models import tiny_trunk

from cascade.data import sample_corpus, write_corpus

SCRIPT = Path(__file__).with_name("killed.py")


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_as_if_it_was_not(tmp_path: Path, effort: int, seeded: int) -> None:
    """``--effort 7``: at 21 moments."""
    files = {split: tmp_path / f"{split}.jsonl" for split in ("train", "dev")}
    for split, path in files.items():
        write_corpus(path, sample_corpus(split))
    data = ("--train_file", files["train"], "--dev_file", files["dev"], "--trunk", tiny_trunk())
    sizes = ("--hidden_size", 8, "--tag_size", 4, "--per_device_train_batch_size", 4)
    arguments = (*data, *sizes, "--num_train_epochs", 8, "--use_cpu", "true")
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, (tmp_path / "runs", 3 * effort, seeded, *arguments))],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    killed = json.loads(done.stdout)
    assert len(killed) == 3 * effort
    assert killed[0][1] is not None, "no training was resumed from a checkpoint"
    runs = [folder for folder in (tmp_path / "runs").iterdir() if folder.name != "whole"]
    assert runs
    expected = load_file(tmp_path / "runs" / "whole" / "model" / "model.safetensors")
    for run in runs:
        found = load_file(run / "model" / "model.safetensors")
        assert found.keys() == expected.keys()
        assert all(found[name].equal(expected[name]) for name in expected), killed
