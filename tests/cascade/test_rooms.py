"""The rooms of the package depend on each other in one direction: data and tensors, then the models, then what runs them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cascade

PACKAGE = Path(cascade.__file__).parent
ALLOWED = {"data": {"files"}, "tensors": set(), "model": {"data", "tensors"}}
"""What each room may import of the package, besides itself."""


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_is_below_them(room: str) -> None:
    outside = {
        node.module.split(".")[0]
        for file in (PACKAGE / room).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level == 2
    }
    assert outside == ALLOWED[room]
