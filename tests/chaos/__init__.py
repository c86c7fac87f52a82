"""Real processes, real faults: see `__main__`."""
