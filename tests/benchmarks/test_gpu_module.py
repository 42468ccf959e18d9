"""The check of a native module that was built for another machine."""

from __future__ import annotations

import gpu_module

SYMBOLS = """
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.2.5) memcpy
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.34) pthread_create
0000000000000000      DO *UND*  0000000000000000 (GLIBCXX_3.4.9) _ZSt4cerr
0000000000000000      DF *UND*  0000000000000000 (GLIBCXX_3.4.29) _ZSt9from_chars
0000000000000000      DF *UND*  0000000000000000 (CXXABI_1.3.13) __cxa_throw
"""


def test_the_latest_version_that_is_needed() -> None:
    assert gpu_module.needed(SYMBOLS, "GLIBC") == "2.34"
    assert gpu_module.needed(SYMBOLS, "GLIBCXX") == "3.4.29"
    assert gpu_module.needed("", "GLIBC") == "0"


def test_a_machine_that_lacks_it() -> None:
    assert gpu_module.too_new(SYMBOLS, [("GLIBC", "2.39"), ("GLIBCXX", "3.4.29")]) == []
    assert gpu_module.too_new(SYMBOLS, [("GLIBC", None)]) == []
    [problem] = gpu_module.too_new(SYMBOLS, [("GLIBC", "2.31"), ("GLIBCXX", "3.4.30")])
    assert problem == "it needs GLIBC 2.34, the machine has 2.31"
