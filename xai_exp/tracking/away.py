"""A tracking server that goes away: results are kept on this machine until it can have them.

MLflow by itself tries for minutes and then fails, and what was computed is lost. Here a call that
the server did not answer is made again if it answers within seconds; else everything goes into a
store of this machine from then on, marked with the server's address, for `python -m xai_exp sync`.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pandas as pd
from torch import nn

from xai_exp.config import InputError
from xai_exp.tracking.connection import gist, public
from xai_exp.tracking.interface import Arrays, Found, Kept, Link, Number, Record, Tracker
from xai_exp.tracking.whole import Unreachable
from xai_exp.types import Images

UNSENT = "unsent_to"  # the tag of runs that a server does not have yet, with its address
PATIENCE = 20.0  # seconds that a server has to come back
_PROBES = 8
_ATTEMPTS = 3
_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
_STORES = ("botocore", "boto3")  # of a server that leaves its files to its clients
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(kw_only=True)
class Away:
    """A server's tracker, and a store on this machine once the server does not answer.

    Attributes:
        server: the server's.
        uri: its address.
        store: opens the one on this machine.
        root: where that is, in words.
    """

    server: Tracker
    uri: str
    store: Callable[[], Tracker]
    root: str
    _here: Tracker | None = field(default=None, init=False)
    _training: tuple[Record, dict[str, Any]] | None = field(default=None, init=False)
    _mine: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """What the user has not set is short: a dead server is known in seconds."""
        for name, value in _LIMITS.items():
            os.environ.setdefault(name, value)

    def record_training(
        self,
        record: Record,
        *,
        network: nn.Module,
        example: Images,
        history: Sequence[Mapping[str, Number]],
    ) -> Link | None:
        self._training = record, {"network": network, "example": example, "history": history}
        return self._ask(self._trained)

    def explained(self, key: str) -> Found | None:
        found = self._ask(lambda tracker: tracker.explained(key))
        self._noted(found.run if found else None)
        return found

    def record_explanation(
        self,
        record: Record,
        *,
        link: Link | None,
        heatmaps: Arrays,
        scores: pd.DataFrame,
        anew: bool = False,
    ) -> str | None:
        def work(tracker: Tracker) -> str | None:
            # The server's network is unknown to the store here, so it is recorded there as well.
            known = self._trained(tracker) if tracker is self._here and link else link
            given: dict[str, Any] = {"heatmaps": heatmaps, "scores": scores, "anew": anew}
            return tracker.record_explanation(self._marked(tracker, record), link=known, **given)

        return self._noted(self._ask(work))

    def record_report(
        self,
        record: Record,
        *,
        pages: Mapping[str, str],
        tables: Mapping[str, pd.DataFrame],
    ) -> str | None:
        def work(tracker: Tracker) -> str | None:
            return tracker.record_report(self._marked(tracker, record), pages=pages, tables=tables)

        return self._noted(self._ask(work))

    def attach(self, run: str, record: Record, tables: Mapping[str, pd.DataFrame]) -> None:
        def work(tracker: Tracker) -> None:
            for one in self._of(tracker, [run]) or []:
                tracker.attach(one, record, tables)

        self._ask(work)

    def reported(self, key: str) -> str | None:
        return self._noted(self._ask(lambda tracker: tracker.reported(key)))

    def kept(self, runs: Iterable[str] | None = None, condition: str = "") -> list[Kept]:
        wanted = None if runs is None else list(runs)
        return self._ask(lambda tracker: tracker.kept(self._of(tracker, wanted), condition))

    def of_model(self, model: str, keys: Iterable[str]) -> Mapping[str, Kept]:
        wanted = list(keys)
        return self._ask(lambda tracker: tracker.of_model(model, wanted))

    def tag(self, runs: Iterable[str], tags: Mapping[str, str]) -> None:
        wanted = list(runs)
        self._ask(lambda tracker: tracker.tag(self._of(tracker, wanted) or [], tags))

    def ui_command(self, runs: Iterable[str] = ()) -> str:
        wanted = list(runs)
        return self._ask(lambda tracker: tracker.ui_command(self._of(tracker, wanted) or []))

    def address(self, runs: Iterable[str] = ()) -> str:
        wanted = list(runs)
        return self._ask(lambda tracker: tracker.address(self._of(tracker, wanted) or []))

    def _ask(self, work: Callable[[Tracker], _T]) -> _T:
        """What the server says, or from when on it says nothing, the store on this machine."""
        for _ in range(_ATTEMPTS if self._here is None else 0):
            try:
                return work(self.server)
            except Exception as error:
                if not is_lost(error):
                    raise
                lost = error
            if not comes_back(self.uri):
                break
        else:
            lost = None
        if self._here is None:
            self._here = self.store()
            _log.warning(
                "tracking: %s does not answer (%s): results are kept in %s from here on, and "
                "`python -m xai_exp sync --root %s` sends them once it is back",
                public(self.uri),
                gist(lost) if lost else "again and again",
                self.root,
                self.root,
            )
        return work(self._here)

    def _trained(self, tracker: Tracker) -> Link | None:
        """The network of the last training, recorded or found."""
        if self._training is None:
            return None
        record, given = self._training
        link = tracker.record_training(self._marked(tracker, record), **given)
        self._noted(link.run if link else None)
        return link

    def _marked(self, tracker: Tracker, record: Record) -> Record:
        """A record of the store on this machine says for whom it is."""
        if tracker is self.server:
            return record
        return replace(record, tags={**record.tags, UNSENT: public(self.uri)})

    def _noted(self, run: str | None) -> str | None:
        if self._here is not None and run is not None:
            self._mine.add(run)
        return run

    def _of(self, tracker: Tracker, runs: list[str] | None) -> list[str] | None:
        """Those of the runs that a tracker has: the server's ids say nothing to the store here."""
        if runs is None or tracker is self.server:
            return runs
        return [run for run in runs if run in self._mine]


def is_lost(error: BaseException) -> bool:
    """Whether an error, or what it came of, is that a server, or its store, did not answer."""
    import requests

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, requests.ConnectionError | requests.Timeout | Unreachable):
            return True
        if type(seen).__module__.partition(".")[0] in _STORES:
            return True
        if "API request to" in str(seen) and "failed with" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


@contextmanager
def answering(what: str, uri: str) -> Iterator[None]:
    """Work that only the server can do.

    Args:
        what: is done, in a word.
        uri: the server's address.

    Raises:
        InputError: when it, or the store of its files, does not answer.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not is_lost(error):
            raise
        raise InputError(
            f"{what}: got {public(uri)}, where the server or the store of its files does not "
            f"answer ({gist(error)}); allowed: the same again once it is back"
        ) from error


def comes_back(uri: str) -> bool:
    """Whether a server answers within a short while, be it that it can't serve."""
    for probe in range(_PROBES):
        if probe:
            time.sleep(PATIENCE / _PROBES)
        if answers(uri):
            return True
    return False


def answers(uri: str) -> bool:
    """Whether a server says anything that is no error of its own."""
    import requests

    try:
        return requests.get(f"{uri.rstrip('/')}/health", timeout=5).status_code < 500
    except requests.RequestException:
        return False
