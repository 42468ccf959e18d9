"""Tests of the Triton backend (not named after it: as a package, ``triton`` would hide Triton itself)."""
