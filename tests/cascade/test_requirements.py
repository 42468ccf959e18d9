"""``cascade`` without what its extra installs."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

import cascade


@pytest.mark.parametrize("absent", ["transformers", "tokenizers", "accelerate", "tabulate", "sentencex", "regex"])
def test_what_is_missing_is_named_with_the_way_to_get_it(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *args: None if name == absent else find(name, *args))
    with pytest.raises(ModuleNotFoundError, match=rf'^cascade needs {absent}, .*"srn-kernels\[cascade\]"'):
        importlib.reload(cascade)
