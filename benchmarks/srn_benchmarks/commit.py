"""The commit that is measured or tested."""

from __future__ import annotations

from pytest_benchmark.utils import get_commit_info

UNVERSIONED = "unversioned"
"""What a folder without version control has for a commit."""


def present_commit() -> str:
    """The checkout's commit, shortened, and whether there is more in it than was committed; or ``unversioned``."""
    found = get_commit_info("srn-kernels")
    return found["id"][:12] + (" with uncommitted changes" if found["dirty"] else "")
