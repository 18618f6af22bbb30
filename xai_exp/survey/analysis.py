"""What answers say: what people prefer, whether they agree, what heatmaps are good for."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xai_exp.statistics import Interval, crossed_interval, rank_correlation
from xai_exp.statistics.preferences import Preferences, bradley_terry
from xai_exp.statistics.raters import krippendorff_alpha
from xai_exp.survey.answers import Answers
from xai_exp.survey.key import Item, Key

Told = Callable[[Item, str, int], float]  # of a question, the choice and the form


class Agreement(NamedTuple):
    """People and one metric.

    Attributes:
        share: of answers that choose the heatmap which is better by the metric; 0.5 is chance.
        order: Spearman's correlation of strengths and mean scores, over methods.
    """

    share: Interval
    order: float


class Preferred(NamedTuple):
    """A survey of pairs.

    Attributes:
        methods: their names.
        strengths: of preference.
        chosen: how often each was chosen where it was shown.
        alpha: agreement of raters on which of the two is better.
        left: how often the left one was chosen; 0.5 if sides do not matter.
        metrics: agreement with each.
    """

    methods: Sequence[str]
    strengths: Preferences
    chosen: Mapping[str, Interval]
    alpha: Interval
    left: Interval
    metrics: Mapping[str, Agreement]

    def lead(self, first: str, second: str) -> Interval:
        """By how much one is preferred to another; all such intervals hold together."""
        count = len(self.methods)
        confidence = 1 - 0.05 / (count * (count - 1) / 2)  # Bonferroni: the best is chosen by data
        places = (self.methods.index(first), self.methods.index(second))
        return self.strengths.lead(*places, confidence)


class Guessed(NamedTuple):
    """A survey of mechanisms.

    Attributes:
        chance: the share of right guesses without any knowledge.
        right: under each condition.
        effect: of each condition against the placebo: the difference of right guesses.
        alpha: agreement of raters on which mechanism it is.
    """

    chance: float
    right: Mapping[str, Interval]
    effect: Mapping[str, Interval]
    alpha: Interval


def preferred(key: Key, answers: Sequence[Answers]) -> Preferred:
    """Judge a survey of pairs; people and questions are both drawn from many."""
    methods, strengths = ranked(key, answers)
    first = _table(key, answers, lambda item, choice, _: float(choice == item.choices[0]))
    left = _table(key, answers, lambda item, choice, form: float(choice == item.choices[form]))
    return Preferred(
        methods=methods,
        strengths=strengths,
        chosen={name: _share(_chosen(key, answers, name)) for name in methods},
        alpha=krippendorff_alpha(first),
        left=_share(left),
        metrics={name: _agreement(key, answers, name, methods, strengths) for name in key.scores},
    )


def ranked(key: Key, answers: Sequence[Answers]) -> tuple[list[str], Preferences]:
    """The methods that were shown, and their strengths."""
    methods = sorted({name for item in key.items.values() for name in item.methods.values()})
    won, lost, who, where = [], [], [], []
    pictures = sorted({(item.network, item.image) for item in key.items.values()})
    for rater, one in enumerate(answers):
        for name, choice in one.given.items():
            item = key.items[name]
            rest = next(other for other in item.choices if other != choice)
            won.append(methods.index(item.methods[choice]))
            lost.append(methods.index(item.methods[rest]))
            who.append(rater)
            where.append(pictures.index((item.network, item.image)))
    return methods, bradley_terry(won, lost, who, len(methods), where)


def guessed(key: Key, answers: Sequence[Answers]) -> Guessed:
    """Judge a survey of mechanisms; people and networks are both drawn from many."""
    conditions = list(dict.fromkeys(item.condition for item in key.items.values()))
    right = {name: _right(key, answers, name) for name in conditions}
    named = list(next(iter(key.items.values())).choices)
    said = _table(key, answers, lambda _, choice, __: float(named.index(choice)))
    return Guessed(
        chance=1 / len(named),
        right={name: _share(table) for name, table in right.items()},
        effect={
            name: crossed_interval(table - right[key.placebo])
            for name, table in right.items()
            if name != key.placebo
        },
        alpha=krippendorff_alpha(said),
    )


def _right(key: Key, answers: Sequence[Answers], condition: str) -> np.ndarray:
    """(rater, network) whether the guess was right under this condition."""
    items = [(name, one) for name, one in key.items.items() if one.condition == condition]
    items.sort(key=lambda both: both[1].network)
    return np.array([[float(one.given[n] == item.right) for n, item in items] for one in answers])


def _table(key: Key, answers: Sequence[Answers], told: Told) -> np.ndarray:
    """(rater, question) what `told(item, choice, form)` makes of every answer."""
    return np.array(
        [
            [told(item, one.given[name], one.form) for name, item in key.items.items()]
            for one in answers
        ]
    )


def _share(table: np.ndarray) -> Interval:
    """The mean of zeros and ones, and an interval that ends where shares do."""
    found = crossed_interval(table)
    low, high = (float(np.clip(end, 0, 1)) for end in (found.low, found.high))
    return found._replace(low=low, high=high)


def _chosen(key: Key, answers: Sequence[Answers], method: str) -> np.ndarray:
    """(rater, question) whether a method was chosen; NaN where it was not shown."""

    def told(item: Item, choice: str, _: int) -> float:
        shown = method in item.methods.values()
        return float(item.methods[choice] == method) if shown else float("nan")

    return _table(key, answers, told)


def _agreement(
    key: Key,
    answers: Sequence[Answers],
    metric: str,
    methods: Sequence[str],
    strengths: Preferences,
) -> Agreement:
    """Where both heatmaps have scores that differ, whether the better one was chosen."""
    sign = 1 if key.higher[metric] else -1

    def told(item: Item, choice: str, _: int) -> float:
        scores = {
            one: sign * _score(key, metric, item.network, method, item.image)
            for one, method in item.methods.items()
        }
        rest = next(other for one, other in scores.items() if one != choice)
        if np.isnan(rest) or np.isnan(scores[choice]) or rest == scores[choice]:
            return float("nan")
        return float(scores[choice] > rest)

    means = np.array([sign * _mean(key, metric, method) for method in methods])
    order = rank_correlation(means[None], strengths.strengths[None])[0]
    return Agreement(_share(_table(key, answers, told)), float(order))


def _score(key: Key, metric: str, network: int, method: str, image: int) -> float:
    rows = key.scores[metric][network].get(method)
    value = rows[image] if rows is not None and image < len(rows) else None
    return float("nan") if value is None else float(value)


def _mean(key: Key, metric: str, method: str) -> float:
    """Over all networks and images that have a score."""
    every = [one for rows in key.scores[metric] for one in rows.get(method, ()) if one is not None]
    return float(np.mean(every)) if every else float("nan")
