"""What is wrong in a store of results, and mending it: `python -m xai_exp doctor [--mend]`.

Mending loses nothing that is whole: what is broken is put aside, and the command that made it makes
it again.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xai_exp.files import held, leftovers
from xai_exp.tracking.doctor import Fault, faults
from xai_exp.training.store import ModelStore


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder of results and the networks that belong to it."""

    root: Path
    models: Path
    experiment: str = "xai_exp"

    def faults(self) -> Iterator[Fault]:
        """Everything that is wrong, each with how it is mended."""
        yield from self._networks()
        for path in leftovers(self.root, is_alive):
            yield Fault(words=f"{path}: half a file of a dead process", mend=path.unlink)
        yield from faults(self.root, self.experiment)

    def _networks(self) -> Iterator[Fault]:
        store = ModelStore(root=self.models)
        for folder in sorted(self.models.glob("*/")):
            key = folder.name
            if store.finished(key) and not held(folder / "lock") and (words := store.fault(key)):
                yield Fault(words=f"model {key}: {words}", mend=_discarding(store, key))


def _discarding(store: ModelStore, key: str) -> Callable[[], None]:
    def mend() -> None:
        with store.lock(key):
            store.discard(key)

    return mend


def is_alive(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
