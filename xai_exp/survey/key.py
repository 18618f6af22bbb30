"""The key of a survey: what its page does not say, kept in a file apart."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xai_exp.config import InputError

PAIRS, GUESSES = "pairs", "mechanism"  # the kinds of surveys


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question.

    Attributes:
        network: its number.
        choices: what may be answered.
        methods: of pairs, which method each choice is.
        image: of pairs, the number of the image.
        right: of guesses, the network's mechanism.
        condition: of guesses, what was shown.
    """

    network: int
    choices: Sequence[str]
    methods: Mapping[str, str] = field(default_factory=dict)
    image: int = 0
    right: str = ""
    condition: str = ""


@dataclass(frozen=True, kw_only=True)
class Key:
    """All that is needed to judge answers.

    Attributes:
        title: the survey's question.
        kind: pairs, or mechanism.
        items: questions by id, their choices as the first form has them.
        forms: of the page; of pairs the second is the mirror of the first.
        controls: methods that know no network, and exact truth.
        placebo: what heatmaps are compared with in a survey of mechanisms.
        scores: by metric, network, method and image; None is missing.
        higher: whether more is better, by metric.
        truths: metrics that compare with exact truth.
    """

    title: str
    kind: str
    items: Mapping[str, Item]
    forms: int
    controls: Sequence[str] = ()
    placebo: str = ""
    scores: Mapping[str, Sequence[Mapping[str, Sequence[float | None]]]] = field(
        default_factory=dict
    )
    higher: Mapping[str, bool] = field(default_factory=dict)
    truths: Sequence[str] = ()

    @property
    def survey(self) -> str:
        """The survey's id: a hash of all this."""
        return hashlib.sha256(self._text().encode()).hexdigest()[:16]

    def _text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def written(self) -> str:
        """As a file."""
        return json.dumps({"survey": self.survey, **asdict(self)}, indent=1)


def read(path: Path) -> Key:
    """The key in a file.

    Raises:
        InputError: when it is none, or was changed.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        survey = found.pop("survey")
        items = {name: Item(**one) for name, one in found.pop("items").items()}
        key = Key(items=items, **found)
    except OSError as error:
        raise InputError(f"--key: got {path}, which can't be read; allowed: a .key.json") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"--key: got {path}, which is no key of a survey; allowed: the .key.json beside a page"
        ) from error
    if key.survey != survey:
        raise InputError(f"--key: got {path}, which was changed; allowed: it as it was written")
    return key
