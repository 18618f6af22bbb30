"""What can be claimed, and what the scores say of it in each setting.

Scores come as the tidy table of `xai_exp.verdicts.scores`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol, runtime_checkable

import pandas as pd

from xai_exp.config import InputError, Range, configured
from xai_exp.verdicts.scores import (
    Compared,
    by_setting,
    differences,
    direction,
    refuse_unknown,
    wide,
)

Share = Annotated[float, Range(0.5, 1)]
Margin = Annotated[float, Range(0)]
ACCURACY = "test accuracy"  # where a row names the metric


@runtime_checkable
class Claim(Protocol):
    """A sentence that scores can support or refute.

    `text` says it, `source` who claims it (of other data than these), `share` in what share of the
    settings it has to hold (and in none be reversed), `margin` how small a difference is none.
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
    def margin(self) -> float:
        """The difference, in the metric's units, within which both are alike."""
        ...

    @property
    def sides(self) -> tuple[str, str]:
        """What speaks for it and what against it, in a few words."""
        ...

    @property
    def audited(self) -> bool:
        """Whether its metrics have to pass the audit."""
        ...

    def compared(self, scores: pd.DataFrame) -> list[Compared]:
        """The differences of each setting and metric; above 0 speaks for the claim."""
        ...


@configured
class _ByMetrics:
    """What claims by metrics have in common."""

    text: str
    metrics: tuple[str, ...]
    source: str = ""
    share: Share = 2 / 3
    margin: Margin = 0.05


@configured
class Better(_ByMetrics):
    """That one explainer is better than another, by some metrics.

    Args:
        text: the claim in a sentence.
        better: the explainer that is said to be better.
        worse: the other.
        metrics: by which; those that fail the audit are left out of the verdict.
        source: who claims it, of other data than these; then the opposite is 'not found here'.
        share: of the settings in which a claim has to hold, and in none be reversed, in 0.5..1.
        margin: the difference, in the metric's units, within which both are alike.
    """

    better: str
    worse: str

    @property
    def sides(self) -> tuple[str, str]:
        """The explainers."""
        return f"{self.better} better", f"{self.worse} better"

    @property
    def audited(self) -> bool:
        """Yes."""
        return True

    def compared(self, scores: pd.DataFrame) -> list[Compared]:
        """Paired comparison on the same images of the same models.

        Raises:
            InputError: when it names an explainer or a metric that was not scored.
        """
        refuse_unknown(self.text, scores, (self.better, self.worse), self.metrics)
        return by_setting(
            scores,
            self.metrics,
            {self.better, self.worse},
            lambda mine: differences(mine, self.better, self.worse),
        )


@configured
class Beyond(_ByMetrics):
    """That an explainer's score is beyond a value that is known beforehand, such as chance.

    Args:
        text: the claim in a sentence.
        explainer: whose score.
        value: what it is compared with; beyond is above where higher is better, else below.
        metrics: by which. They are not audited, since no two heatmaps are compared.
        source: who claims it, of other data than these; then the opposite is 'not found here'.
        share: of the settings in which a claim has to hold, and in none be reversed, in 0.5..1.
        margin: the difference, in the metric's units, within which both are alike.
    """

    explainer: str
    value: float

    @property
    def sides(self) -> tuple[str, str]:
        """Beyond the value, or not."""
        return f"beyond {self.value:g}", f"short of {self.value:g}"

    @property
    def audited(self) -> bool:
        """No."""
        return False

    def compared(self, scores: pd.DataFrame) -> list[Compared]:
        """The scores of every image and model against the value.

        Raises:
            InputError: when it names an explainer or a metric that was not scored.
        """
        refuse_unknown(self.text, scores, (self.explainer,), self.metrics)

        return by_setting(
            scores,
            self.metrics,
            {self.explainer},
            lambda mine: (
                direction(mine) * (wide(mine, [self.explainer])[self.explainer] - self.value)
            ),
        )


@configured
class Accurate:
    """That networks reach a test accuracy, or stay below it.

    Args:
        text: the claim in a sentence.
        setting: words that the names of the settings in question have in common.
        at_least, at_most: the bound on the mean over models, in 0..1; one of them.
        source: who claims it, of other data than these; then the opposite is 'not found here'.
        share: of the settings in which a claim has to hold, and in none be reversed, in 0.5..1.
        margin: the difference, in the metric's units, within which both are alike.
    """

    text: str
    setting: str = ""
    at_least: Annotated[float, Range(0, 1)] | None = None
    at_most: Annotated[float, Range(0, 1)] | None = None
    source: str = ""
    share: Share = 2 / 3
    margin: Margin = 0.05

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

    def compared(self, scores: pd.DataFrame) -> list[Compared]:
        """The networks' accuracies against the bound, setting by setting.

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
        found = []
        for name in names:
            mine = models[models["setting"] == name].set_index("model")[["accuracy"]]
            above = pd.DataFrame(sign * (mine - self._bound))
            found.append(Compared(name, ACCURACY, {}, above))
        return found


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
            "(setting, at_least or at_most) in xai_exp.verdicts.claims"
        ) from error
