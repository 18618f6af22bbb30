"""One training on several processes of this machine: they are started, heard and ended here.

Each is `python -m xai_exp.training.worker`, a program of its own: a process that was forked from
one that has used threads can hang, one that is spawned runs the user's own script once more, and
Lightning's own launcher runs the whole command again. What this process keeps is the bar, the sweep
that watches, and the last word: when one of them dies, or this process, none is left.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.files import leftovers, whole
from xai_exp.training import Trainer
from xai_exp.training.callbacks import Meter
from xai_exp.types import Dataset

JOB = "job"  # the file, in a folder of this training's own, that says what to do
MEETING = "meeting"  # the file by which the processes find one another
GO = "go on"  # what the first process waits for after every epoch

_GRACE = 2.0  # seconds in which the others can say what they died of
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """What the processes are to do together; see `Trainer.fit`.

    Args:
        resume: whether there is a checkpoint in the folder to go on from.
        deterministic: whether sums are to be taken in one order.
    """

    config: Trainer
    data: Dataset
    network: nn.Module
    seed: int
    folder: Path
    device: torch.device
    resume: bool
    deterministic: bool = field(default_factory=torch.are_deterministic_algorithms_enabled)


class _RemoteError(Exception):
    """Where in another process an error arose."""


@runtime_checkable
class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None:
        """How it ended, if it has."""
        ...

    def wait(self) -> int:
        """How it ends, once it has."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


@dataclass
class _Member:
    """One of the processes, and what was heard of its end."""

    rank: int
    process: Process
    link: Connection
    error: BaseException | None = None

    def end(self) -> None:
        """End it, if it lives."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.link.close()


def refuse(config: Trainer, data: Dataset, device: torch.device) -> None:
    """Refuse what several processes can't do.

    Raises:
        InputError: for more processes than GPUs, one GPU by name, another kind of device, or splits
            that are too small to be shared.
    """
    count, gpus = config.processes, torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type not in ("cpu", "cuda") or (gpus and device.index is not None):
        allowed = "device=cpu, device=cuda with as many GPUs, or 1 process"
        raise InputError(f"trainer.processes: got {count} on device {device}; allowed: {allowed}")
    if device.type == "cuda" and count > gpus:
        raise InputError(
            f"trainer.processes: got {count} where the number of GPUs is {gpus}; allowed: at most "
            "one process a GPU, or device=cpu"
        )
    some = config.epoch(len(data.train))
    few = min(some // 2, len(data.validation))
    if count > few:
        raise InputError(
            f"trainer.processes: got {count} for {some} images to train and "
            f"{len(data.validation)} to validate with; allowed: at most {max(1, few)}, so that "
            "each process has some"
        )


def train(job: Job, meter: Meter, watch: Callable[[int, float], None] | None) -> None:
    """Train on several processes; what comes of it is the checkpoint in the job's folder.

    Raises:
        InputError: when they can't be started, one of them died, or it refused something.
    """
    refuse(job.config, job.data, job.device)
    with ExitStack() as after:
        room = Path(after.enter_context(tempfile.TemporaryDirectory(prefix="xai_exp-")))
        _write(job, room / JOB)
        after.callback(meter.close)
        members: list[_Member] = []
        after.callback(_end, members, job.folder)
        members.extend(_started(rank, room, job) for rank in range(job.config.processes))
        _hear(members, meter, watch)


def _end(members: Sequence[_Member], folder: Path) -> None:
    """End all that live, and remove what they had begun to write."""
    for member in members:
        member.end()
    dead = {member.process.pid for member in members}
    for part in leftovers(folder, lambda number: number not in dead):
        part.unlink(missing_ok=True)


def _write(job: Job, path: Path) -> None:
    """Write the job down; tensors can be read from there without a copy for each process."""
    try:
        with whole(path) as part:
            torch.save(job, part, pickle_module=_pickling())
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(
            f"trainer.processes: got {job.config.processes} for data or a network that can't be "
            f"given to another process ({why}); allowed: 1"
        ) from error


def _pickling() -> ModuleType:
    """What can pickle classes of a notebook, if it is there."""
    try:
        import cloudpickle
    except ImportError:
        return pickle
    return cloudpickle


def _started(rank: int, room: Path, job: Job) -> _Member:
    ours, theirs = Pipe()
    words = [str(room), str(rank), str(os.getpid()), str(theirs.fileno())]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "xai_exp.training.worker", *words],
        env=_environment(rank, job.config.processes),
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # gloo tells of itself there
        process_group=0,  # Ctrl-C is for this process alone
    )
    theirs.close()
    return _Member(rank, process, ours)


def _environment(rank: int, count: int) -> dict[str, str]:
    """The same modules are found; cores are shared; the network stays within this machine."""
    share = str(max(1, torch.get_num_threads() // count))
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    inside = {f"{kind}_SOCKET_IFNAME": names[0] for kind in ("GLOO", "NCCL") if names}
    return {
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # it warns of looking for parameters that are not used
        **inside,
        **os.environ,
        **dict.fromkeys(_THREADS, share),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "PYTHONPATH": os.pathsep.join(str(Path(place).absolute()) for place in sys.path),
    }


def _hear(
    members: Sequence[_Member], meter: Meter, watch: Callable[[int, float], None] | None
) -> None:
    """Show and pass on what the processes say until all have ended well.

    Raises:
        InputError: when one died, or what one raised.
    """
    living = {member.link: member for member in members}
    shown: dict[str, Callable[..., None]]
    shown = {"start": meter.start, "step": meter.step, "epoch": meter.epoch}
    while living:
        for link in _ready(living):
            member = living[link]
            said = _said(member)
            if said is None:
                del living[link]
                if member.process.wait():
                    raise _failure(members, living)
            elif said[0] == "kept":
                if watch is not None:
                    watch(*said[1:])
                link.send(GO)
            else:
                shown[said[0]](*said[1:])


def _ready(living: dict[Connection, _Member], seconds: float | None = None) -> list[Connection]:
    return [one for one in wait(list(living), seconds) if isinstance(one, Connection)]


def _said(member: _Member) -> tuple[Any, ...] | None:
    """What a process says; None when it has ended. Of its error it is the last word."""
    try:
        said = member.link.recv()
        while said[0] == "failed":
            _, error, where = said
            error.__cause__ = _RemoteError(f"\n{where}")
            member.error = error
            said = member.link.recv()
    except (EOFError, ConnectionError):
        return None
    return said


def _failure(members: Sequence[_Member], living: dict[Connection, _Member]) -> BaseException:
    """Why a training failed: what one refused, or who died, before what the others made of it."""
    end = time.monotonic() + _GRACE
    while living and (left := end - time.monotonic()) > 0:
        for link in _ready(living, left):
            if _said(living[link]) is None:
                living.pop(link).process.wait()
    errors = [member.error for member in members if member.error is not None]
    refused = [error for error in errors if not isinstance(error, RuntimeError)]
    dead = [m for m in members if m.error is None and m.process.poll()]
    if refused or not dead:
        return [*refused, *errors][0]
    code = dead[0].process.poll() or 0
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    short = " (is memory short?)" if code == -signal.SIGKILL else ""
    return InputError(
        f"training: got an end of process {dead[0].rank + 1} of {len(members)} {how}{short}; "
        "allowed: processes that live; epochs that were finished are kept, and the same command "
        "goes on from there"
    )
