"""Start a job with its signals held back until it listens: `python held.py PROGRAM WORDS`.

Slurm tells a job that it is preempted, or at its limit of time, by signals that end a process which
has no handler yet; submitit has one only when everything is imported. Held back, they wait and are
answered then. It imports nothing heavy, and knows nothing of the package.
"""

import os
import signal
import sys

_PREEMPT = "SUBMITIT_PREEMPT_SIGNAL"  # submitit's own name for a cluster's other signal


def held() -> set[int]:
    """The signals that a job of submitit answers."""
    return {signal.SIGTERM, signal.Signals[f"SIG{os.environ.get(_PREEMPT, 'USR2')}"]}


def let_in() -> None:
    """What has come meanwhile, and what comes from now on, meets the handlers."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, held())


def main() -> None:
    """Become the program that the words name; the mask outlives the change."""
    signal.pthread_sigmask(signal.SIG_BLOCK, held())
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
