"""What can be claimed, and what the scores say of it in each setting.

Scores come as one tidy table, a row a score, with the columns `setting` (what was varied, in words:
dataset, architecture, imputer ...), `model` (a trained network), `accuracy` (of that network),
`explainer`, `image`, `metric`, `higher_is_better` and `score` (NaN: undefined). Models of one
setting differ by their seed and explain the same images.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from scipy import stats

from xai_exp.config import InputError, Range, configured
from xai_exp.statistics import Array, Paired, paired

Share = Annotated[float, Range(0.5, 1)]
ACCURACY = "test accuracy"  # where a row names the metric


@runtime_checkable
class Claim(Protocol):
    """A sentence that scores can support or refute.

    `text` says it, `source` who claims it, `share` in what share of the settings it has to hold
    (and in none be reversed).
    """

    @property
    def text(self) -> str:
        """The sentence."""
        ...

    @property
    def source(self) -> str:
        """Who claims it."""
        ...

    @property
    def share(self) -> float:
        """Of the settings in which it has to hold."""
        ...

    @property
    def sides(self) -> tuple[str, str]:
        """What speaks for it and what against it, in a few words."""
        ...

    @property
    def audited(self) -> bool:
        """Whether its metrics have to pass the audit."""
        ...

    def rows(self, scores: pd.DataFrame) -> pd.DataFrame:
        """A row a setting and metric: setting, metric, difference, low, high, effect, p, n.

        The difference is oriented so that above 0 speaks for the claim.
        """
        ...


@configured
class Better:
    """That one explainer is better than another, by some metrics.

    Args:
        text: the claim in a sentence.
        better: the explainer that is said to be better.
        worse: the other.
        metrics: by which; those that fail the audit are left out of the verdict.
        source: who claims it.
        share: of the settings in which a claim has to hold, and in none be reversed, in 0.5..1.
    """

    text: str
    better: str
    worse: str
    metrics: tuple[str, ...]
    source: str = ""
    share: Share = 2 / 3

    @property
    def sides(self) -> tuple[str, str]:
        """The explainers."""
        return f"{self.better} better", f"{self.worse} better"

    @property
    def audited(self) -> bool:
        """Yes."""
        return True

    def rows(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Paired comparison on the same images of the same models.

        Raises:
            InputError: when it names an explainer or a metric that was not scored.
        """
        _known(self.text, scores, (self.better, self.worse), self.metrics)
        return _by_setting(
            scores,
            self.metrics,
            {self.better, self.worse},
            lambda mine: paired(*oriented(mine, self.better, self.worse)),
        )


@configured
class Beyond:
    """That an explainer's score is beyond a value that is known beforehand, such as chance.

    Args:
        text: the claim in a sentence.
        explainer: whose score.
        value: what it is compared with; beyond is above where higher is better, else below.
        metrics: by which. They are not audited, since no two heatmaps are compared.
        source: who claims it.
        share: of the settings in which a claim has to hold, and in none be reversed, in 0.5..1.
    """

    text: str
    explainer: str
    value: float
    metrics: tuple[str, ...]
    source: str = ""
    share: Share = 2 / 3

    @property
    def sides(self) -> tuple[str, str]:
        """Beyond the value, or not."""
        return f"beyond {self.value:g}", f"short of {self.value:g}"

    @property
    def audited(self) -> bool:
        """No."""
        return False

    def rows(self, scores: pd.DataFrame) -> pd.DataFrame:
        """The scores of every image and model against the value.

        Raises:
            InputError: when it names an explainer or a metric that was not scored.
        """
        _known(self.text, scores, (self.explainer,), self.metrics)

        def compared(mine: pd.DataFrame) -> Paired:
            table, sign = wide(mine, self.explainer), direction(mine)
            return paired(sign * table.to_numpy(float), sign * np.full(table.shape, self.value))

        return _by_setting(scores, self.metrics, {self.explainer}, compared)


@configured
class Accurate:
    """That networks reach a test accuracy, or stay below it.

    Args:
        text: the claim in a sentence.
        setting: words that the names of the settings in question have in common.
        at_least, at_most: the bound on the mean over models, in 0..1; one of them.
        source: who claims it.
        share: of the settings in which a claim has to hold, and in none be reversed, in 0.5..1.
    """

    text: str
    setting: str = ""
    at_least: Annotated[float, Range(0, 1)] | None = None
    at_most: Annotated[float, Range(0, 1)] | None = None
    source: str = ""
    share: Share = 2 / 3

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise InputError(
                f"claim {self.text!r}: got at_least {self.at_least} and at_most {self.at_most}; "
                "allowed: one of them"
            )

    @property
    def sides(self) -> tuple[str, str]:
        """The accuracy and its bound."""
        up = self.at_least is not None
        words = f"{'at least' if up else 'at most'} {self._bound:.1%}"
        return words, "less" if up else "more"

    @property
    def audited(self) -> bool:
        """No."""
        return False

    @property
    def _bound(self) -> float:
        return self.at_least if self.at_least is not None else float(self.at_most or 0)

    def rows(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Student's t test of the models' accuracies against the bound, setting by setting.

        Raises:
            InputError: when no setting has the words.
        """
        models = scores.drop_duplicates(["setting", "model"])
        names = [name for name in models["setting"].unique() if self.setting in name]
        if not names:
            raise InputError(
                f"claim {self.text!r}: got setting {self.setting}; allowed: words of "
                f"{'; '.join(models['setting'].unique())}"
            )
        sign = 1 if self.at_least is not None else -1
        rows = []
        for name in names:
            apart = models.loc[models["setting"] == name, "accuracy"].to_numpy(float) - self._bound
            rows.append({"setting": name, "metric": ACCURACY, **_tested(sign * apart)._asdict()})
        return pd.DataFrame(rows)


def made(fields: Mapping[str, Any]) -> Claim:
    """The claim that these fields describe: its kind is read off what it is about.

    Raises:
        InputError: when they are of no kind.
    """
    words: dict[str, Any] = {
        key: tuple(one) if key == "metrics" else one for key, one in fields.items()
    }
    kind: Callable[..., Claim] = Accurate
    if "better" in words:
        kind = Better
    elif "explainer" in words:
        kind = Beyond
    try:
        return kind(**words)
    except TypeError as error:
        raise InputError(
            f"claim {words.get('text', '')!r}: got the fields {', '.join(words)}; allowed: those "
            "of Better (better, worse, metrics), Beyond (explainer, value, metrics) or Accurate "
            "(setting, at_least or at_most) in xai_exp.claims"
        ) from error


def oriented(scores: pd.DataFrame, first: str, second: str) -> tuple[Array, Array]:
    """Two explainers' scores as (models, images), the same cells, so that more is better."""
    sign, tables = direction(scores), [wide(scores, name) for name in (first, second)]
    models = tables[0].index.intersection(tables[1].index)
    one, other = (sign * table.loc[models].to_numpy(float) for table in tables)
    return one, other


def wide(scores: pd.DataFrame, explainer: str) -> pd.DataFrame:
    """One explainer's scores, models by all images of the table."""
    table = scores.pivot_table(
        index=["model", "explainer"], columns="image", values="score", dropna=False
    )
    return pd.DataFrame(table.xs(explainer, level="explainer"))


def direction(scores: pd.DataFrame) -> int:
    """1 where higher is better, -1 where lower is."""
    return 1 if bool(scores["higher_is_better"].iloc[0]) else -1


def _by_setting(
    scores: pd.DataFrame,
    metrics: Sequence[str],
    explainers: set[str],
    compare: Any,  # noqa: ANN401
) -> pd.DataFrame:
    chosen = pd.DataFrame(scores[scores["metric"].isin(list(metrics))])
    rows = []
    for names, mine in chosen.groupby(["setting", "metric"], sort=False):
        setting, metric = tuple(names)  # pyright: ignore
        if explainers <= set(mine["explainer"]):
            found = compare(pd.DataFrame(mine))
            if found.n:  # a metric that is undefined on these data says nothing of the claim
                rows.append({"setting": setting, "metric": metric, **found._asdict()})
    return pd.DataFrame(rows, columns=["setting", "metric", *Paired._fields])


def _known(
    text: str, scores: pd.DataFrame, explainers: Sequence[str], metrics: Sequence[str]
) -> None:
    for kind, names in (("explainer", explainers), ("metric", metrics)):
        known = list(scores[kind].unique())
        for name in names:
            if name not in known:
                raise InputError(
                    f"claim {text!r}: got {kind} {name}; allowed: one of {', '.join(known)}"
                )


def _tested(differences: Array) -> Paired:
    """One sample of models against 0; the effect is the share above minus the share below."""
    mean, effect = float(differences.mean()), float(np.sign(differences).mean())
    if len(differences) < 3:
        nothing = float("nan")
        return Paired(mean, nothing, nothing, effect, nothing, len(differences))
    if np.ptp(differences) == 0:  # Student's t is infinite, or 0 / 0
        return Paired(mean, mean, mean, effect, float(mean == 0), len(differences))
    tested: Any = stats.ttest_1samp(differences, 0)
    low, high = tested.confidence_interval(0.95)
    return Paired(mean, float(low), float(high), effect, float(tested.pvalue), len(differences))
