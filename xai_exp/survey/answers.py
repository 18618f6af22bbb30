"""Files of answers, as the page saves them: read whole, or refused in one line."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_exp.config import InputError
from xai_exp.survey.key import Key

_RATER = re.compile(r"[\w-]{1,40}")
_NAMED = 5  # items that a line names


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one person has answered.

    Attributes:
        rater: their code.
        form: of the page that they saw.
        given: the choice, for each question.
        seconds: that each question took.
    """

    rater: str
    form: int
    given: Mapping[str, str]
    seconds: Mapping[str, float]


def read(paths: Iterable[Path], key: Key) -> list[Answers]:
    """All answers to one survey.

    Raises:
        InputError: when a file can't be read, belongs to another survey, has questions without an
            answer or several, answers that the survey does not have; or for two files of one rater.
    """
    found = [(path, _one(path, key)) for path in paths]
    if not found:
        raise InputError("survey: got no answers; allowed: files that its page has saved")
    seen: dict[str, Path] = {}
    for path, one in found:
        if one.rater in seen:
            raise InputError(
                f"{path}: got rater {one.rater}, of whom {seen[one.rater]} is as well; allowed: "
                "one file a rater"
            )
        seen[one.rater] = path
    return [one for _, one in found]


def _one(path: Path, key: Key) -> Answers:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read; allowed: a file of answers") from error
    told = _sheet(text) if path.suffix == ".csv" else _object(text)
    if told is None:
        raise InputError(
            f"{path}: got something else than answers; allowed: a file that the survey's page saved"
        )
    survey, rater, form, rows = told
    if survey != key.survey:
        raise InputError(
            f"{path}: got answers to survey {survey}; allowed: to {key.survey}, whose key this is"
        )
    if not _RATER.fullmatch(rater) or not 0 <= form < key.forms:
        raise InputError(
            f"{path}: got rater {rater!r} of form {form}; allowed: letters, digits, - and _, and a "
            f"form from 0 to {key.forms - 1}"
        )
    _refuse_items(path, [item for item, _, _ in rows], key)
    for item, answer, _ in rows:
        if answer not in key.items[item].choices:
            raise InputError(
                f"{path}: got {answer!r} for {item}; allowed: {', '.join(key.items[item].choices)}"
            )
    return Answers(
        rater=rater,
        form=form,
        given={item: answer for item, answer, _ in rows},
        seconds={item: seconds for item, _, seconds in rows},
    )


def _refuse_items(path: Path, items: Sequence[str], key: Key) -> None:
    twice = [item for item, count in Counter(items).items() if count > 1]
    unknown = [item for item in items if item not in key.items]
    missing = [item for item in key.items if item not in set(items)]
    for what, names in (("twice", twice), ("unknown", unknown), ("missing", missing)):
        if names:
            more = f" and {len(names) - _NAMED} more" * (len(names) > _NAMED)
            raise InputError(
                f"{path}: got {what}: {', '.join(names[:_NAMED])}{more}; allowed: one answer to "
                f"each of the {len(key.items)} questions"
            )


Told = tuple[str, str, int, list[tuple[str, str, float]]]


def _object(text: str) -> Told | None:
    try:
        told: Any = json.loads(text)
        rows = [
            (str(one["item"]), str(one["answer"]), float(one["seconds"])) for one in told["answers"]
        ]
        return str(told["survey"]), str(told["rater"]), int(told["form"]), rows
    except (ValueError, TypeError, KeyError):
        return None


def _sheet(text: str) -> Told | None:
    try:
        lines = list(csv.DictReader(text.splitlines(), strict=True))
        heads = {(one["survey"], one["rater"], int(one["form"])) for one in lines}
        rows = [(one["item"], one["answer"], float(one["seconds"])) for one in lines]
    except (ValueError, TypeError, KeyError, csv.Error):
        return None
    if len(heads) != 1:
        return None
    return *heads.pop(), rows
