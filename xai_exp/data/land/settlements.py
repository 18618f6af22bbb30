"""Settlements from above: planned, informal or unbuilt, with confounds, cities and single cues."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from xai_exp.config import Added, InputError, Range, configured
from xai_exp.data import loading
from xai_exp.data.land import ground, placing
from xai_exp.data.land.kinds import CLASSES, CUES, INFORMAL, OF_LAND, OTHER, Cue
from xai_exp.data.land.scene import Land
from xai_exp.data.loading import Kept, SceneSplit, Splits, stream

Confound = Literal["none", "tint", "haze", "season", "cloud", "stamp"]
TestConfound = Literal["aligned", "flipped", "absent"]
_SKY = ("haze", "cloud", "stamp")
_CHANCE = (0.3, 0.3, 0.0)  # of each where it is no confound


@configured
class Settlements(Splits):
    """Patches of land at a metre a pixel: roofs, roads and plants as each class has them.

    Every image is of one of four cities (test_city: of two others). Sensor tint and season are
    either of two, haze and a cloud are there or not, and none tells of the class, unless it is the
    confound: then it is there (warm, dry) on informal land and only there, with probability
    `agreement`.

    Args:
        count: images in all splits together.
        pixels: height and width; numbers of roofs are those of 96 x 96 m at the same density.
        unbuilt: whether there is a third class, unbuilt land.
        only: the one cue that tells of the class, all others being of either class at random;
            null: every cue but tint and season does.
        confound: none, or which of tint, haze, season, cloud and stamp goes with the class.
        agreement: how often it does, 0.5 (chance) to 1.
        test_confound: in the test split: aligned (always with the class), flipped (never), absent
            (nowhere); null: as in training.
        test_city: whether test images are of known cities or of new ones, which have another
            palette and another sensor.
        conflict: the cue that shows the other class in the test split.
        alike: whether data of every `only` show the same images, each labelled by its own cue.
        coalitions: objects: half of the training images lack random parts, so that networks know
            images of every coalition; null: none does.
        validation_share, test_share: the share of images held out.
        seed: of the scenes; models of all seeds see the same images.
    """

    count: Annotated[int, Range(30)] = 24_000
    pixels: Annotated[int, Range(48, 256)] = 96
    unbuilt: bool = True
    only: Cue | None = None
    confound: Confound = "none"
    agreement: Annotated[float, Range(0.5, 1)] = 0.9
    test_confound: TestConfound | None = None
    test_city: Literal["known", "new"] = "known"
    conflict: Cue | None = None
    alike: Annotated[bool, Added(False)] = False
    coalitions: Literal["objects"] | None = "objects"
    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.05
    test_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    seed: Annotated[int, Range(0)] = 0

    channels = 3
    undeciding = frozenset({"test_confound", "test_city", "conflict"})

    def __post_init__(self) -> None:
        if self.only is not None and self.unbuilt:
            raise InputError(
                f"Settlements.only: got {self.only} with unbuilt=true; allowed: unbuilt=false, for "
                "land without roofs shows no cue of theirs"
            )
        if self.test_confound is not None and self.confound == "none":
            raise InputError(
                f"Settlements.test_confound: got {self.test_confound} without a confound; allowed: "
                "null, or confound=tint, haze, season, cloud or stamp"
            )
        if self.alike and (self.only is None or self.confound != "none" or self.conflict):
            raise InputError(
                "Settlements.alike: got true without only, or with a confound or conflict, which "
                "would change the images; allowed: alike=true with only and neither of them"
            )
        if self.confound in (self.only, self.conflict):
            raise InputError(
                f"Settlements.confound: got {self.confound}, which is also the cue of only or "
                "conflict; allowed: another one"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """What the land is."""
        return CLASSES if self.unbuilt else CLASSES[:2]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.pixels, self.pixels)

    def split(self, which: int) -> SceneSplit[Land]:
        """Sample the scenes of one split."""
        count = loading.sizes(self.count, self.validation_share, self.test_share)[which]
        generator = stream(self.seed, which)
        labels = torch.randint(len(self.classes), (count,), generator=generator)
        keys = torch.randint(2**62, (count,), generator=generator)
        shown = self._shown(labels, which, generator)
        if self.alike and self.only is not None:
            labels = shown[:, CUES.index(self.only)].clone()
        sky = torch.rand(count, len(_SKY), generator=generator) < torch.tensor(_CHANCE)
        states = self._states(labels == INFORMAL, which, generator)
        if self.confound == "stamp":
            sky[:, _SKY.index("cloud")] = False
        if self.confound in _SKY:
            sky[:, _SKY.index(self.confound)] = states
        elif self.confound != "none":
            shown[:, CUES.index(self.confound)] = states.long()
        new = which == loading.TEST and self.test_city == "new"
        cities = (ground.KNOWN, ground.KNOWN + ground.NEW) if new else (0, ground.KNOWN)
        land = Land(
            keys=keys,
            shown=shown,
            city=torch.randint(*cities, (count,), generator=generator),
            sky=sky,
            placed=placing.placed(keys, shown, self.pixels),
            pixels=self.pixels,
            stamped=self.confound == "stamp",
            coalitions=self.coalitions,
        )
        lacking = which == loading.TRAIN and self.coalitions is not None
        kept = Kept(division="objects", seed=self.seed) if lacking else None
        return SceneSplit(everything=land, labels=labels, kept=kept)

    def _shown(self, labels: Tensor, which: int, generator: torch.Generator) -> Tensor:
        """The class that each cue shows: (batch, cue)."""
        shown = torch.randint(2, (len(labels), len(CUES)), generator=generator)
        told = slice(OF_LAND) if self.only is None else CUES.index(self.only)
        if not self.alike:
            shown.T[told] = labels
        if which == loading.TEST and self.conflict is not None:
            place = CUES.index(self.conflict)
            shown[:, place] = torch.tensor(OTHER)[shown[:, place]]
        return shown

    def _states(self, informal: Tensor, which: int, generator: torch.Generator) -> Tensor:
        """Whether the confound is there."""
        agrees = torch.rand(len(informal), generator=generator) < self.agreement
        if which == loading.TEST and self.test_confound == "absent":
            return torch.zeros_like(agrees)
        if which == loading.TEST and self.test_confound is not None:
            agrees = torch.full_like(agrees, self.test_confound == "aligned")
        return informal == agrees
