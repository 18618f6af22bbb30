"""Feature visualisation: one objective's images, and a contact sheet for every layer."""

from collections.abc import Mapping
from dataclasses import field
from functools import partial
from typing import Annotated, ClassVar

import pandas as pd

from xai_exp.config import Count, InputError, Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.insight.features.lens import layers
from xai_exp.insight.features.objectives import Channel, Objective, width
from xai_exp.insight.features.of_images import Inversion, TensorDirection
from xai_exp.insight.features.optimise import Made, Plan, Robustness, optimised
from xai_exp.insight.features.parameterisations import Fourier, Parameterisation
from xai_exp.insight.features.penalties import Penalty
from xai_exp.insight.features.tiles import tiles

Rate = Annotated[float, Range(0, exclusive_low=True)]


@configured
class Visualise:
    """Images that one objective likes best (Olah et al. 2017), with others and penalties beside it.

    The numbers are the objective's mean value at the start and at the end, images seen as they are:
    an optimisation that gained nothing shows nothing. What an image shows makes the layer answer;
    that real images make it answer for the same reason is not said.

    Args:
        objective: what is wanted; it says how many images there are.
        also: other objectives that are added, by name, each with its weight.
        penalties: what is taken off, by name, each with its weight.
        parameterisation: what is optimised instead of pixels.
        robust: random transformations under which it must hold; null: none.
        steps: of Adam.
        rate: its learning rate.
    """

    shows: ClassVar[str] = "images that a feature answers to most"
    objective: Objective = field(default_factory=Channel)
    also: Mapping[str, Objective] = field(default_factory=dict)
    penalties: Mapping[str, Penalty] = field(default_factory=dict)
    parameterisation: Parameterisation = field(default_factory=Fourier)
    robust: Robustness | None = field(default_factory=Robustness)
    steps: Count = 96
    rate: Rate = 0.05

    def plan(self) -> Plan:
        """How images are optimised."""
        return Plan(
            parameterisation=self.parameterisation,
            robust=self.robust,
            penalties=self.penalties,
            steps=self.steps,
            rate=self.rate,
        )

    def made(self, subject: Subject) -> tuple[Made, tuple[str, ...]]:
        """The images and their names."""
        wanted = [self.objective, *self.also.values()]
        fitted = [(one.weight, one.fitted(subject)) for one in wanted]
        return optimised(subject, fitted, self.plan()), fitted[0][1].names

    def __call__(self, subject: Subject) -> Finding:
        """The images."""
        made, names = self.made(subject)
        table = pd.DataFrame(
            {"name": names, "start": made.start.tolist(), "score": made.score.tolist()}
        )
        start, score = float(made.start.mean()), float(made.score.mean())
        beside = None
        if isinstance(self.objective, Inversion | TensorDirection):
            beside = subject.images(len(names)).cpu()
        return Finding(
            figures={"images": partial(tiles, made.images.cpu(), names, beside=beside)},
            tables={"scores": table},
            numbers={"start": start, "score": score},
            lines=(f"from {start:.3g} to {score:.3g} in {self.steps} steps",),
        )


@configured
class ContactSheets:
    """A sheet for every layer: what each of its first channels answers to most.

    Args:
        channels: of a layer, the first ones.
        most_layers: how many sheets there are at most, from the first layer to the last.
        steps: of Adam.
        rate: its learning rate.
    """

    shows: ClassVar[str] = "what the channels of every layer answer to most"
    channels: Annotated[int, Range(1, 64)] = 16
    most_layers: Count = 12
    steps: Count = 64
    rate: Rate = 0.05

    def __call__(self, subject: Subject) -> Finding:
        """The sheets.

        Raises:
            InputError: when there are no layers.
        """
        known = layers(subject.network)
        if not known:
            raise InputError(
                f"sheets: got a network ({type(subject.network).__name__}) without layers; "
                "allowed: networks of convolutions or linear layers"
            )
        figures, rows = {}, []
        for place in spread(len(known), self.most_layers):
            name = known[place]
            made, names = self._of(subject, name)
            figures[f"layer-{name.replace('.', '_')}"] = partial(
                tiles, made.images.cpu(), [one.rpartition(":")[2] for one in names], name
            )
            rows += zip(names, made.start.tolist(), made.score.tolist(), strict=True)
        table = pd.DataFrame(rows, columns=["name", "start", "score"])
        return Finding(figures=figures, tables={"scores": table}, lines=(f"{len(figures)} sheets",))

    def _of(self, subject: Subject, name: str) -> tuple[Made, tuple[str, ...]]:
        count = min(self.channels, width(subject, name))
        objective = Channel(layer=name, channels=tuple(range(count)))
        return Visualise(objective=objective, steps=self.steps, rate=self.rate).made(subject)


def spread(count: int, most: int) -> list[int]:
    """At most so many places, evenly from the first to the last.

    >>> spread(3, 12), spread(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    if count <= most:
        return list(range(count))
    return sorted({round(one * (count - 1) / max(1, most - 1)) for one in range(most)})
