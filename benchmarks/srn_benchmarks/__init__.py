"""What the benchmarks are made of: workloads, timing, results, tables and plots. Run them with ``pytest benchmarks/``."""
