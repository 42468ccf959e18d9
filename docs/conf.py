"""How Sphinx makes these pages: ``sphinx-build -W docs build/docs``, with the extras ``cascade`` and ``docs``."""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, get_origin, get_type_hints

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from cascade.model import CascadeConfig, ExtractorConfig, TableConfig
from cascade.prediction import Predictor
from cascade.training import CascadeTrainingArguments
from srn_kernels import __version__

project = "srn-kernels"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
myst_heading_anchors = 4  # links to headings are those of code hosts
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!(srn_kernels|cascade)\b).*|cascade\.model\..*Reading")]
autoclass_content = "both"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100


def describe(options: type, meanings: dict[str, str]) -> None:
    lines = [f":param {name}: {meaning}" for name, meaning in meanings.items()]
    options.__doc__ = "\n".join([inspect.cleandoc(options.__doc__), "", *lines])


# An option's meaning is a part of its annotation, or of its field.
for options in (ExtractorConfig, CascadeConfig, TableConfig, Predictor):
    hints = get_type_hints(options.__init__, include_extras=True)
    annotated = {name: hint for name, hint in hints.items() if get_origin(hint) is Annotated}
    describe(options, {name: hint.__metadata__[0] for name, hint in annotated.items()})
    options.__init__.__annotations__ |= {name: hint.__origin__ for name, hint in annotated.items()}
describe(
    CascadeTrainingArguments,
    {
        field.name: f"{field.metadata['help']} Default: {field.default}."
        for field in fields(CascadeTrainingArguments)
        if field.name in CascadeTrainingArguments.__annotations__
    },
)


def without_objects(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returns: str):
    """Defaults that are no literals cannot be read: ``<factory>``, ``<function <lambda>>``."""
    return (re.sub(r"= <.*?>+", "= ...", signature) if signature else signature), returns


def from_here(app: Sphinx, path: Path, page: str, text: list[str]) -> None:
    """The text of a page beside this folder, with links that start in this folder."""
    text[0] = re.sub(r"\]\((?!https?:|#)", "](../", text[0])


def to_here(app: Sphinx, page: nodes.document) -> None:
    """A link to a page beside this folder leads to the page here that includes it."""
    for link in page.findall(pending_xref):
        if link["reftype"] == "myst" and Path(link["reftarget"]).is_absolute():
            link["reftarget"] = Path(link["reftarget"]).name.replace("README", "index")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", without_objects)
    app.connect("include-read", from_here)
    app.connect("doctree-read", to_here)
