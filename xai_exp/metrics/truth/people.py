"""The parts of a scene that a person would look at, and what they are worth to the network."""

import torch
from torch import Tensor

from xai_exp.metrics.truth.parts import NO_REASON, divided, exact_truth, reached, scenes_of
from xai_exp.types import Case, Flags, Scenes, Scores


def strategy(case: Case, division: str | None) -> str:
    """What a person would look at: corners where there are some, else objects."""
    return division or ("corners" if "corners" in scenes_of(case).divisions else "objects")


def by_person(scenes: Scenes) -> Flags:
    """Which parts a person would look at: all but a planted tag, a cloud and vegetation."""
    chosen = [name not in NO_REASON for name in scenes.part_names]
    return torch.tensor(chosen, device=scenes.present.device)


def of_people(case: Case, division: str, depth: float | None, margin: int) -> Tensor:
    """How much of each pixel belongs to parts that a person would look at."""
    chosen = by_person(divided(case, division, depth))
    return reached(case, division, depth, margin)[:, chosen].sum(1)


def worth_and_area(case: Case, division: str, depth: float | None) -> tuple[Scores, Scores]:
    """The parts' exact values and areas in pixels, summed over what a person would look at."""
    scenes = divided(case, division, depth)
    chosen = by_person(scenes)
    values = exact_truth(case, division, depth).shapley[:, chosen]
    return values.sum(1), scenes.parts()[:, chosen].sum((1, 2, 3)).to(values)
