"""What cues are worth to the network that no part of an image stands for."""

from collections.abc import Hashable, Mapping
from typing import ClassVar

from xai_exp.config import InputError, configured
from xai_exp.metrics import shared
from xai_exp.truth.factors import cue_worth, hidden, hidden_share
from xai_exp.truth.games import Truth
from xai_exp.truth.shares import shares
from xai_exp.types import Case, Scores, Varied


def factor_game(case: Case) -> Truth | None:
    """The worth of every cue, computed once for all explainers; None of data without cues."""
    if not isinstance(case.scenes, Varied):
        return None
    key = _key(case)
    if key not in case.across:
        found = cue_worth(case.model, case.scenes, case.targets)
        # The inputs are kept beside it, so that no later object can have their ids.
        case.across[key] = (found, case.model, case.scenes)
    return case.across[key][0]


def _key(case: Case) -> Hashable:
    return ("cues", id(case.model), id(case.scenes), tuple(case.targets.tolist()))


def about_cues(case: Case) -> Mapping[str, Scores]:
    """If the factor game was played here: each cue's signed share as cue/NAME, and cue_hidden."""
    key = _key(case)
    if key not in case.across or not isinstance(case.scenes, Varied):
        return {}
    worth = case.across[key][0].shapley
    told = {
        f"cue/{cue}": share for cue, share in zip(case.scenes.cues, shares(worth).T, strict=True)
    }
    return {**told, "cue_hidden": hidden_share(worth, hidden(case.scenes))}


@configured
class CueWorth:
    r"""How much of what decides the network lies in cues that no heatmap can show.

    Ours. In the factor game (`xai_exp.truth.factors`) the players are the cues of an image, and a
    cue that is taken away has the value of another class. With phi_c the exact Shapley values and
    a_c = phi_c / sum over cues of |phi_c| the signed shares, the score is

    - cue null: the sum of |a_c| over cues without pixels of their own: orientation, size, density
      and colour share the roofs', tint and season lie everywhere. Range 0..1; it looks at the
      network alone and is the same for every heatmap; that LOWER is called better means only that
      heatmaps can do such a network justice.
    - a cue's name: its a_c. Range -1..1; the direction (HIGHER) is a convention.

    Undefined for data without cues, or where no cue changes the value. Cost: 2^k renderings and
    forward passes an image of k cues (256 for eight), shared by the explainers of a run.

    Pitfalls: it says what the network uses, not whether the heatmap is right; mixed cues may be off
    the training data; cues that only matter together share their worth.

    Args:
        cue: orientation, size, density, roads, vegetation, colour, tint or season; null: all that a
            heatmap cannot show.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = "the data have no cues, or none changes the value"

    cue: str | None = None

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better: not of what a heatmap cannot show."""
        return self.cue is not None

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case.

        Raises:
            InputError: when the data have cues, but none of this name.
        """
        game = factor_game(case)
        if game is None or not isinstance(case.scenes, Varied):
            return shared.undefined(case)
        cues = case.scenes.cues
        if self.cue is not None and self.cue not in cues:
            raise InputError(f"CueWorth.cue: got {self.cue!r}; allowed: {', '.join(cues)}, null")
        if self.cue is None:
            scores = hidden_share(game.shapley, hidden(case.scenes))
        else:
            scores = shares(game.shapley)[:, cues.index(self.cue)]
        return shared.where_defined(case, scores.to(case.heatmaps.dtype))
