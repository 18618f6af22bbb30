"""One of several processes of a training: `python -m xai_exp.training.worker`; see `parallel`.

It ends with the process that started it, however that one ended.
"""

import os
import pickle
import shutil
import sys
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

_LOOK = 1.0  # seconds between looks whether the parent lives, were its end of the pipe held open


class Link:
    """The pipe to the process that started this one."""

    def __init__(self, pipe: Connection, parent: int, room: Path) -> None:
        self.pipe, self.parent, self.room = pipe, parent, room
        self.heard: SimpleQueue[Any] = SimpleQueue()
        os.set_inheritable(pipe.fileno(), False)
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Hear what the parent says, and end with it."""
        try:
            while os.getppid() == self.parent:
                if self.pipe.poll(_LOOK):
                    self.heard.put(self.pipe.recv())
        except (EOFError, OSError):
            pass
        shutil.rmtree(self.room, ignore_errors=True)
        os._exit(1)

    def say(self, *words: Any) -> None:  # noqa: ANN401
        """Tell the parent; without one there is nobody to tell, and `_listen` ends this process."""
        self.pipe.send(words)

    def fail(self, error: BaseException) -> None:
        """Tell what went wrong, and end at once: the others may wait for this process."""
        where = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # some errors can't be made from what they say
            error = RuntimeError(f"{type(error).__name__}: {error}")
        self.say("failed", error, where)
        os._exit(1)


def main(words: list[str]) -> None:
    """Train as the job in the folder says, as the process of this rank."""
    room, rank, parent = Path(words[0]), int(words[1]), int(words[2])
    link = Link(Connection(int(words[3])), parent, room)
    if rank:  # the first one says it for all
        warnings.simplefilter("ignore")
    try:
        _train(room, rank, link)
    except BaseException as error:
        link.fail(error)


def _train(room: Path, rank: int, link: Link) -> None:
    import torch
    from torch import distributed

    from xai_exp.compute import machine
    from xai_exp.training import loop
    from xai_exp.training.callbacks import Told, quiet
    from xai_exp.training.parallel import JOB, MEETING, Job
    from xai_exp.training.shares import Share, join_batch_norm

    job: Job = _read(room / JOB)
    share = Share(rank, job.config.processes)
    device = job.device if job.device.type == "cpu" else torch.device("cuda", rank)
    machine.tune_allocator()
    with machine.settled(deterministic=job.deterministic), quiet():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store = distributed.FileStore(  # pyright: ignore[reportPrivateImportUsage]
            str(room / MEETING), share.processes
        )
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=share.processes)
        if device.type == "cpu":
            join_batch_norm(job.network)
        learner = loop.Learner(job.config, job.data, job.network, job.seed, device, share)
        loop.run(learner, job.folder, [Told(link.say, link.heard.get)], resume=job.resume)
        distributed.barrier()
        distributed.destroy_process_group()


def _read(path: Path) -> Any:  # noqa: ANN401
    """The job; the process that started this one wrote it a moment ago, where no other may."""
    import torch

    from xai_exp.config import InputError

    try:
        return torch.load(path, map_location="cpu", weights_only=False, mmap=True)
    except (AttributeError, ImportError) as error:
        raise InputError(
            "trainer.processes: got data or a network of a class that another process can't import "
            f"({' '.join(str(error).split())}); allowed: classes of a module, or 1"
        ) from error


if __name__ == "__main__":
    main(sys.argv[1:])
