"""Whether a type checker knows the type of all that the packages export; prints what it does not. Needs basedpyright."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

unknown = []
for package in ("srn_kernels", "cascade"):
    done = subprocess.run(
        ["basedpyright", "--ignoreexternal", "--outputjson", "--verifytypes", package],
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # it does not find editable installations
        stdout=subprocess.PIPE,
        check=False,  # it asks for more than is asked for here
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    print(f"{package}: {report['exportedSymbolCounts']}")
    for symbol in report["symbols"]:
        # it calls ambiguous what it infers, as the type of an attribute from the value
        if symbol["isExported"] and not (symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]):
            unknown += [symbol["name"], *(f"  {diagnostic['message']}" for diagnostic in symbol["diagnostics"])]
if unknown:
    raise SystemExit("\n".join(unknown))
