"""What is measured: each file holds a workload, how it is checked and timed, and the notes under its table."""
