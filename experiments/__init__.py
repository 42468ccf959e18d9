"""Experiments on what models learn; their speed is measured by ``benchmarks/``."""
