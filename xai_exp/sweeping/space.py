"""The search space: what may be varied, as YAML or as sweeps on the command line."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from xai_exp.config import InputError

_SPEC = frozenset({"type", "choices", "low", "high", "step", "log", "when", "replicate"})
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Varied:
    """One key that a sweep varies.

    Attributes:
        key: As the command line names it, such as model.width, or a group such as model.
        kind: What Optuna samples from.
        when: Values of earlier keys under which this key exists at all.
        replicate: Whether everything else is run with each of the choices (as with seeds).
    """

    key: str
    kind: BaseDistribution
    when: Mapping[str, tuple[Scalar, ...]]
    replicate: bool = False

    def exists(self, chosen: Mapping[str, Any]) -> bool:
        """Whether this key is there beside what was chosen so far."""
        return all(key in chosen and chosen[key] in values for key, values in self.when.items())


def parse(tree: Mapping[str, Any]) -> tuple[Varied, ...]:
    """The space that a YAML describes.

    A list is a choice; a mapping has `choices`, or `low` and `high` with `type` (int, float),
    `step` and `log`; `when` names values of earlier keys; `replicate: true` runs everything else
    with each choice.

    Raises:
        InputError: for what is none of these.

    >>> [one.key for one in parse({"model.width": [4, 8], "model": {"depth": {"low": 2,
    ...                                                                      "high": 4}}})]
    ['model.width', 'model.depth']
    """
    space = tuple(_varied(key, spec) for key, spec in _flat(tree, ""))
    known: set[str] = set()
    for one in space:
        for key in one.when:
            if key not in known:
                raise InputError(
                    f"sweep space: got {one.key} when {key} has some value; allowed: a key that "
                    f"stands above it, {', '.join(sorted(known)) or 'and there is none'}"
                )
        known.add(one.key)
    return space


def suggest(space: Sequence[Varied], trial: optuna.Trial) -> dict[str, Any]:
    """Values for every key that exists, each asked of the trial's sampler."""
    chosen: dict[str, Any] = {}
    for one in space:
        if one.exists(chosen):
            chosen[one.key] = _suggested(trial, one)
    return chosen


def _suggested(trial: optuna.Trial, one: Varied) -> Scalar:
    kind = one.kind
    if isinstance(kind, IntDistribution):
        return trial.suggest_int(one.key, kind.low, kind.high, step=kind.step, log=kind.log)
    if isinstance(kind, FloatDistribution):
        return trial.suggest_float(one.key, kind.low, kind.high, step=kind.step, log=kind.log)
    assert isinstance(kind, CategoricalDistribution)
    return trial.suggest_categorical(one.key, kind.choices)


def grid(space: Sequence[Varied]) -> Iterator[dict[str, Any]]:
    """All combinations, the last key fastest; what does not exist in one is left out of it.

    >>> list(grid(parse({"a": [1, 2], "b": {"choices": [3], "when": {"a": 2}}})))
    [{'a': 1}, {'a': 2, 'b': 3}]
    """
    seen: set[tuple[tuple[str, Any], ...]] = set()
    for values in itertools.product(*(_points(one) for one in space)):
        chosen: dict[str, Any] = {}
        for one, value in zip(space, values, strict=True):
            if one.exists(chosen):
                chosen[one.key] = value
        if tuple(chosen.items()) not in seen:
            seen.add(tuple(chosen.items()))
            yield chosen


def replicas(space: Sequence[Varied], chosen: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What has to be run beside `chosen`: the same with the other choices of replicated keys."""
    several = [one for one in space if one.replicate and one.key in chosen]
    for values in itertools.product(*(_points(one) for one in several)):
        other = dict(chosen) | {one.key: v for one, v in zip(several, values, strict=True)}
        if other != dict(chosen):
            yield other


def override(key: str, value: Scalar) -> str:
    """A choice as a word of the command line.

    >>> override("model.norm", "none"), override("a", None), override("b", "two words")
    ('model.norm=none', 'a=null', "b='two words'")
    """
    if value is None:
        return f"{key}=null"
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    if isinstance(value, str) and not _PLAIN.fullmatch(value) and value[:1] not in "[{":
        escaped = value.replace("'", "\\'")
        return f"{key}='{escaped}'"
    return f"{key}={value}"


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, spec in tree.items():
        nested = isinstance(spec, Mapping) and not ({"choices", "low"} & set(spec))
        if nested:
            yield from _flat(spec, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", spec


def _varied(key: str, spec: Any) -> Varied:  # noqa: ANN401
    spec = {"choices": spec} if isinstance(spec, Sequence) and not isinstance(spec, str) else spec
    if not isinstance(spec, Mapping) or set(spec) - _SPEC:
        raise InputError(
            f"sweep space {key}: got {spec!r}; allowed: a list of choices, or a mapping with "
            "choices, or with low, high, and maybe type, step, log, when, replicate"
        )
    when = {
        other: tuple(values)
        if isinstance(values, Sequence | tuple) and not isinstance(values, str)
        else (values,)
        for other, values in spec.get("when", {}).items()
    }
    try:
        return Varied(
            key=key, kind=_kind(spec), when=when, replicate=bool(spec.get("replicate", False))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"sweep space {key}: got {dict(spec)!r}; allowed: low <= high, a positive step, no "
            f"step with log ({error})"
        ) from error


def _kind(spec: Mapping[str, Any]) -> BaseDistribution:
    if "choices" in spec:
        return CategoricalDistribution(tuple(_scalar(value) for value in spec["choices"]))
    low, high = spec["low"], spec["high"]
    whole = isinstance(low, int) and isinstance(high, int)
    kind: Literal["int", "float"] = spec.get("type", "int" if whole else "float")
    log, step = bool(spec.get("log", False)), spec.get("step")
    if kind == "int":
        return IntDistribution(low, high, log=log, step=step or 1)
    if kind == "float":
        return FloatDistribution(float(low), float(high), log=log, step=step)
    raise ValueError(f"type {kind} is neither int nor float")


def _scalar(value: Any) -> Scalar:  # noqa: ANN401
    """Choices as Optuna keeps them; lists and mappings become the command line's text."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_inner(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(_inner(one) for one in value) + "]"
    return value


def _inner(value: Any) -> str:  # noqa: ANN401
    return override("", _scalar(value)).removeprefix("=")


def _points(one: Varied) -> list[Any]:
    """Every value of a key, as a grid needs."""
    kind = one.kind
    if isinstance(kind, CategoricalDistribution):
        return list(kind.choices)
    if isinstance(kind, IntDistribution) and not kind.log:
        return list(range(kind.low, kind.high + 1, kind.step))
    if isinstance(kind, FloatDistribution) and kind.step:
        count = round((kind.high - kind.low) / kind.step) + 1
        return [kind.low + i * kind.step for i in range(count)]
    raise InputError(
        f"sweep space {one.key}: got {kind}; allowed in a grid: choices, whole numbers, or a step"
    )
