"""The package in layers, in the order of ``docs/architecture.md``: nothing imports from a later one."""

from __future__ import annotations

import ast
from pathlib import Path

import cascade

PACKAGE = Path(cascade.__file__).parent
LAYERS = (
    {"files"},
    {"data"},
    {"display"},
    {"tensors"},
    {"model"},
    {"markers", "spacing", "vocabulary", "windows"},
    {"tokenization"},
    {"loading", "prediction", "scoring", "tiny"},
    {"creation", "error_analysis", "tuning"},
    {"pipeline", "workers"},
    {"transformers_task"},
    {"training"},
    {"output"},
    {"options"},
    {"cli"},
    {"__init__", "__main__"},
)


def imports(file: Path) -> set[str]:
    """The rooms and modules at the top of the package that a file imports from, except its own room."""
    up = len(file.relative_to(PACKAGE).parts)
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    return {node.module.split(".")[0] for node in nodes if node.level == up}


def test_nothing_imports_from_a_later_layer() -> None:
    layer_of = {name: n for n, layer in enumerate(LAYERS) for name in layer}
    for file in PACKAGE.rglob("*.py"):
        layer = layer_of[file.relative_to(PACKAGE).parts[0].removesuffix(".py")]
        wrong = {name for name in imports(file) if layer_of[name] > layer}
        assert not wrong, f"{file} imports from {wrong}"
