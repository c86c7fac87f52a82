"""How fast recordings become text: `python -m tests.benchmarks.recognition SUBJECT ...`."""
