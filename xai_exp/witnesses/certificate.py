"""Whether a copy of the network provably uses the plants as it should, which is printed first.

Of the plants' exact Shapley values in held-out pictures, in units of the value:

- good: accuracy (distract) of at least 0.95, R2 (worth) of at least 0.8;
- ratio (worth): what A is worth over what B is worth, 1.5 to 2.7 (2 is asked for);
- idle: the mean magnitude of what ought to be worth nothing over that of A, at most 0.15;
- spread: the standard deviation of A's worth over pictures as a share of its mean, at most 0.35
  (worth); not asked of distract, where a single A decides and its value saturates.

Without it, nothing is said of explainers: what they ought to show would not be known.
"""

import math
from dataclasses import dataclass

import torch

from xai_exp.truth.games import Truth
from xai_exp.types import Effects
from xai_exp.witnesses.planting import Design, Roles
from xai_exp.witnesses.tuning import LEAST_ACCURACY, LEAST_R2

RATIO, IDLE, SPREAD = (1.5, 2.7), 0.15, 0.35
_ROLE = {"a": 0, "b": 1, "c": 2}
_IDLE = {"distract": "b", "worth": "c"}


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is known of a copy.

    Attributes:
        good: accuracy or R2 on held-out pictures.
        ratio: A's mean worth over B's; 2 without a B that counts.
        idle: the mean magnitude of what is to be worth nothing, over A's.
        spread: the standard deviation of A's worth over its mean; 0 where it is not asked.
        fault: what it lacks, in words; empty if it holds.
    """

    good: float
    ratio: float
    idle: float
    spread: float
    fault: str = ""

    @property
    def holds(self) -> bool:
        """Whether explainers can be judged by this copy."""
        return not self.fault


NONE = Certificate(
    good=math.nan, ratio=math.nan, idle=math.nan, spread=math.nan, fault="never trained"
)


def certified(good: float, truth: Truth, roles: Roles, design: Design) -> Certificate:
    """The certificate of a copy from the exact worths of plants in held-out pictures."""
    worth = {name: _of(truth.shapley, roles, role) for name, role in _ROLE.items()}
    a = float(worth["a"].mean())
    scale = float(worth["a"].abs().mean())
    b = float(worth["b"].mean())
    ratio = 2.0 if design == "distract" else a / b if b else math.inf
    idle = float(worth[_IDLE[design]].abs().mean()) / scale if scale else math.inf
    spread = 0.0 if design == "distract" else float(worth["a"].std()) / a if a else math.inf
    return Certificate(
        good=good,
        ratio=ratio,
        idle=idle,
        spread=spread,
        fault=_fault(design, good, a, ratio, idle, spread),
    )


def _fault(design: Design, good: float, a: float, ratio: float, idle: float, spread: float) -> str:
    least, named = (LEAST_ACCURACY, "accuracy") if design == "distract" else (LEAST_R2, "R2")
    faults = [
        (not good >= least, f"{named} {good:.2f}, at least {least:g} is asked"),
        (not a > 0, f"A is worth {a:.2f}, more than 0 is asked"),
        (not RATIO[0] <= ratio <= RATIO[1], f"A is worth {ratio:.2f} times B, not {RATIO}"),
        (not idle <= IDLE, f"what is worth nothing has {idle:.2f} of A, at most {IDLE} is asked"),
        (not spread <= SPREAD, f"A's worth spreads by {spread:.2f}, at most {SPREAD} is asked"),
    ]
    return "; ".join(words for wrong, words in faults if wrong)


def _of(shapley: Effects, roles: Roles, role: int) -> torch.Tensor:
    found = shapley[roles == role]
    return found if len(found) else shapley.new_zeros(1)
