"""The real ASR worker, on the one core that `BENCH_CORE` names."""

import os
import sys

from hearsight_asr_worker.__main__ import main

if __name__ == "__main__":
    # Before the model is loaded: it takes as many threads as it finds cores.
    os.sched_setaffinity(0, {int(os.environ["BENCH_CORE"])})
    sys.exit(main())
