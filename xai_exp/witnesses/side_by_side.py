"""Trials in processes of their own: small networks train as fast on one core as on two.

A process ends with the one that began it, however that ends: it watches a pipe and its parent.
"""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from xai_exp.compute import machine
from xai_exp.config import InputError
from xai_exp.data.loading import TensorSplit
from xai_exp.types import Dataset, Split
from xai_exp.witnesses.trial import MOST, Asked, Subject, Trial, kept, known

_FEWEST = 4  # missing trials, below which a process takes longer to begin than it saves


def all_kept(
    groups: Sequence[tuple[Subject, Sequence[Asked]]],
    folder: Path,
    key: str,
    *,
    workers: int,
    done: Callable[[Asked], object],
) -> list[list[Trial] | InputError]:
    """All trials of each subject, made or found, in the order that they are asked for.

    A subject that can't have any has the error in their place: pictures too small for plants, or a
    network that can't be trained.

    Args:
        groups: subjects, and what is asked of each.
        folder: where trials are kept.
        key: of the network and its pictures.
        workers: processes, at most.
        done: told of each trial that there is.
    """
    missing = [
        (place, one)
        for place, (subject, asked) in enumerate(groups)
        for one in asked
        if known(subject, one, folder, key) is None
    ]
    told: set[tuple[int, Asked]] = set()
    if workers > 1 and len(missing) >= _FEWEST:
        sent = _sent([subject for subject, _ in groups])
        if sent is not None:
            _in_processes(sent, missing, folder, key, workers, done)
            told = set(missing)
    found: list[list[Trial] | InputError] = []
    for place, (subject, asked) in enumerate(groups):
        trials = []
        try:
            for one in asked:
                trials.append(kept(subject, one, folder, key))
                if (place, one) not in told:
                    done(one)
        except InputError as error:
            found.append(error)
        else:
            found.append(trials)
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


def _sent(subjects: Sequence[Subject]) -> bytes | None:
    """The subjects as processes get them; None for a network or a method that can't be sent."""
    try:
        return pickle.dumps([replace(one, data=_Held(one.data)) for one in subjects])
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _in_processes(
    subjects: bytes,
    missing: Sequence[tuple[int, Asked]],
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
        ProcessPoolExecutor(workers, context, _began, (theirs, subjects, threads)) as pool,
    ):
        waiting = {pool.submit(_made, place, one, folder, key): one for place, one in missing}
        try:
            for future, one in waiting.items():
                future.result()
                done(one)
        except BaseException:
            ours.close()
            raise


_SUBJECTS: list[Subject] = []  # of a process


def _began(alive: Connection, subjects: bytes, threads: int) -> None:
    """Get ready in a process."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([alive, parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(threads)
    machine.tune_allocator()
    _SUBJECTS[:] = pickle.loads(subjects)


def _made(place: int, asked: Asked, folder: Path, key: str) -> None:
    with suppress(InputError):  # it is raised again, and said, where all are gathered
        kept(_SUBJECTS[place], asked, folder, key)
