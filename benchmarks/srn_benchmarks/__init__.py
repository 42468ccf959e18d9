"""The parts of the benchmarks: workloads, timing, results, tables and plots. Run them with ``pytest benchmarks/``."""
