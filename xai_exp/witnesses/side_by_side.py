"""Trials in processes of their own: small networks train as fast on one core as on two.

A process ends with the one that began it, however that ends: it watches a pipe and its parent.
"""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from xai_exp.data.loading import TensorSplit
from xai_exp.types import Dataset, Split
from xai_exp.witnesses.trial import MOST, Asked, Subject, Trial, kept, known

_FEWEST = 4  # missing trials, below which a process takes longer to begin than it saves


def all_kept(
    subject: Subject,
    asked: Sequence[Asked],
    folder: Path,
    key: str,
    *,
    workers: int,
    done: Callable[[Asked], object],
) -> list[Trial]:
    """All trials, made or found, in the order that they are asked for.

    Args:
        subject: whose.
        asked: which.
        folder: where trials are kept.
        key: of the network and its pictures.
        workers: processes, at most.
        done: told of each trial that there is.

    Raises:
        InputError: for pictures too small for plants, or a network that can't be trained.
    """
    missing = [one for one in asked if known(subject, one, folder, key) is None]
    told = set()
    if workers > 1 and len(missing) >= _FEWEST and (mine := _sent(subject)) is not None:
        _in_processes(mine, missing, folder, key, workers, done)
        told = set(missing)
    found = []
    for one in asked:
        found.append(kept(subject, one, folder, key))
        if one not in told:
            done(one)
    return found


def workers_for(device: torch.device) -> int:
    """As many processes as there are cores; one on a GPU, which does one thing at a time."""
    return 1 if device.type != "cpu" else len(os.sched_getaffinity(0))


class _Held:
    """The pictures that trials use, and no others: what is sent to processes."""

    def __init__(self, data: Dataset) -> None:
        self.classes, self.channels, self.size = data.classes, data.channels, data.size
        self.train, self.validation, self.test = (
            _held(one) for one in (data.train, data.validation, data.test)
        )


def _held(split: Split) -> TensorSplit:
    index = torch.arange(min(MOST, len(split)))
    parts = split.parts(index)
    return TensorSplit(pixels=split.images(index), labels=split.labels[index].clone(), masks=parts)


def _sent(subject: Subject) -> bytes | None:
    """The subject as processes get it; None for a network or a method that can't be sent."""
    try:
        return pickle.dumps(replace(subject, data=_Held(subject.data)))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _in_processes(
    subject: bytes,
    missing: Sequence[Asked],
    folder: Path,
    key: str,
    workers: int,
    done: Callable[[Asked], object],
) -> None:
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    workers = min(workers, len(missing))
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    with (
        ours,
        ProcessPoolExecutor(workers, context, _began, (theirs, subject, threads)) as pool,
    ):
        waiting = {pool.submit(_made, one, folder, key): one for one in missing}
        try:
            for future, one in waiting.items():
                future.result()
                done(one)
        except BaseException:
            ours.close()
            raise


_SUBJECT: list[Subject] = []  # of a process: its only one


def _began(alive: Connection, subject: bytes, threads: int) -> None:
    """Get ready in a process."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([alive, parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(threads)
    _SUBJECT[:] = [pickle.loads(subject)]


def _made(asked: Asked, folder: Path, key: str) -> None:
    kept(_SUBJECT[0], asked, folder, key)
