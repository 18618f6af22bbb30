"""Modules are loaded without looking for garbage meanwhile."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, Python looks for no garbage, as what is loaded stays until the end.

    Python looks through all objects that there are again and again while modules make new ones,
    which takes a fifth of the time of loading torch and MLflow.
    """
    looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looking:
            gc.enable()


@cache
def settle() -> None:
    """Once all is loaded, look for garbage only among what comes after; once in a process.

    With less set apart Python would look through the rest more often than before: it waits until a
    quarter has been added to what it knows.
    """
    gc.freeze()
