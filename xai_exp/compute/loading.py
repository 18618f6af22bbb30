"""Modules are loaded without looking for garbage meanwhile."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed(*, settle: bool = False) -> Iterator[None]:
    """Within, Python looks for no garbage, as what is loaded stays until the end.

    Python looks through all objects that there are again and again while modules make new ones,
    which takes a fifth of the time of loading torch and MLflow.

    Args:
        settle: never look at what is there at the end; for a process that is this program's own.
    """
    looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if settle:
            gc.freeze()
        if looking:
            gc.enable()
