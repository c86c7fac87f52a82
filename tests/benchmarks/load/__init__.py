"""What the system bears: `make bench-load`, or `python -m tests.benchmarks.load SUBJECT ...`."""
