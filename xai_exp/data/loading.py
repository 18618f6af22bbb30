"""Splits: rendered on access or held in memory, indexed by tensors, and how data are divided."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.data.scenes.scene import Scene
from xai_exp.types import Images, Index, Labels, Parts, Positions, Scenes, Split

TRAIN, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Random parts left out of half of the images, always the same ones of an image.

    How many are kept is uniform between none and all, as in a Shapley value.

    Args:
        division: whose parts.
        seed: of what is left out.
    """

    division: str
    seed: int

    def drawn(self, scenes: Scenes, index: Index) -> Images:
        """The scenes, which lie at `index` of their split, without what is left out."""
        divided = scenes.divided(self.division)
        keys = ops.named_keys(index.long() + (self.seed << 32), "coalitions")
        draws = ops.keyed_uniform(keys, divided.present.shape[1] + 2)
        keep = (draws[:, 2:] < draws[:, 1:2]) | (draws[:, :1] < 0.5)
        return divided.render(keep)


Drawn = TypeVar("Drawn", bound=Scenes)


@dataclass(frozen=True, kw_only=True)
class SceneSplit(Generic[Drawn]):
    """Rendered images: only the scenes' parameters are kept.

    Args:
        everything: the scenes.
        labels: their classes.
        kept: which parts an image is drawn with; None: all.
    """

    everything: Drawn
    labels: Labels
    kept: Kept | None = None
    _moved: dict[str, Drawn] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        """Another process moves the scenes by itself."""
        return {**vars(self), "_moved": {}}

    def __len__(self) -> int:
        return len(self.labels)

    def scenes(self, index: Positions) -> Drawn:
        """The scenes at `index`, on its device."""
        where = positions(index, len(self))
        device = str(where.device)
        if device not in self._moved:
            self._moved[device] = cast(Drawn, self.everything.to(where.device))
        return cast(Drawn, self._moved[device][where])

    def images(self, index: Positions) -> Images:
        """The images at `index`, drawn on its device."""
        scenes = self.scenes(index)
        return (
            scenes.render()
            if self.kept is None
            else self.kept.drawn(scenes, positions(index, len(self)))
        )

    def parts(self, index: Positions) -> Parts:
        """The exact coverage of every object."""
        return self.scenes(index).parts()

    def files(self, index: Index) -> None:  # noqa: ARG002
        """None: these images are drawn, not read."""
        return


@dataclass(frozen=True, kw_only=True)
class TensorSplit:
    """Images in memory, as bytes (0..255) or floats (0..1), perhaps with masks.

    `names` are those of the files, within the folder of the data, where each image has one.
    """

    pixels: Tensor
    labels: Labels
    masks: Tensor | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def scenes(self, index: Positions) -> None:  # noqa: ARG002
        """None: these images are not rendered."""
        return

    def images(self, index: Positions) -> Images:
        """The images at `index`, on its device."""
        return _at(self.pixels, positions(index, len(self)))

    def parts(self, index: Positions) -> Parts | None:
        """The masks at `index` (one part an image), if there are any."""
        if self.masks is None:
            return None
        return _at(self.masks, positions(index, len(self)))

    def files(self, index: Index) -> list[str] | None:
        """The file names of the images at `index`, if they were read from files of their own."""
        return None if self.names is None else [self.names[int(place)] for place in index]


def files_of(split: object, index: Index) -> list[str] | None:
    """The names of the files of a split's images, where they were read from files of their own."""
    return split.files(index) if isinstance(split, TensorSplit) else None


def coalition_split(
    scene: Scene, labels: Labels, division: str | None, which: int, seed: int
) -> SceneSplit:
    """A split whose training images lack random parts of a division, if one is named."""
    scene = replace(scene, coalitions=division)
    kept = None if division is None or which != TRAIN else Kept(division=division, seed=seed)
    return SceneSplit(everything=scene, labels=labels, kept=kept)


class Splits(ABC):
    """The three splits of a dataset, each made when first asked for by `split(which)`."""

    channels: int = 1

    @abstractmethod
    def split(self, which: int) -> Split:
        """Make the split TRAIN, VALIDATION or TEST."""

    @cached_property
    def train(self) -> Split:
        """What the model learns from."""
        return self.split(TRAIN)

    @cached_property
    def validation(self) -> Split:
        """What training is stopped by."""
        return self.split(VALIDATION)

    @cached_property
    def test(self) -> Split:
        """What accuracy is measured and heatmaps are made on."""
        return self.split(TEST)


def positions(index: Positions, count: int) -> Index:
    """The positions as a tensor; those of a list are checked, for it is a person who writes one.

    >>> positions([0, 2], 3)
    tensor([0, 2])

    Raises:
        InputError: for a position that there is not.
    """
    if isinstance(index, Tensor):
        return index
    wrong = [place for place in index if not 0 <= place < count]
    if wrong:
        raise InputError(f"split: got position {wrong[0]}; allowed: 0 to {count - 1}")
    return torch.tensor(list(index), dtype=torch.long)


def _at(values: Tensor, index: Index) -> Tensor:
    return _floats(values[index.to(values.device)].to(index.device))


def _floats(values: Tensor) -> Tensor:
    return values.float() / 255 if values.dtype == torch.uint8 else values.float()


def stream(seed: int, split: int) -> torch.Generator:
    """A generator of its own for each split of each seed."""
    return torch.Generator().manual_seed(10 * seed + split)


def sizes(count: int, validation: float, test: float) -> tuple[int, int, int]:
    """How many of `count` go to train, validation and test; at least one to each.

    >>> sizes(100, 0.1, 0.2)
    (70, 10, 20)
    """
    held = max(1, round(count * validation)), max(1, round(count * test))
    if count - sum(held) < 1:
        raise InputError(f"size of a dataset: got {count} images; allowed: enough for three splits")
    return (count - sum(held), *held)


def stratified(labels: Labels, validation: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Disjoint positions for train, validation and test, each with its share of every class."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    split: list[list[Tensor]] = [[], [], []]
    for label in labels.unique():
        members = order[labels[order] == label]
        pieces = members.split(list(sizes(len(members), validation, test)))
        for mine, piece in zip(split, pieces, strict=True):
            mine.append(piece)
    joined = [torch.cat(pieces) for pieces in split]
    return tuple(p[torch.randperm(len(p), generator=generator)] for p in joined)


def grey_levels(
    count: int, min_contrast: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Uniformly random pairs of grey levels in 0..1 that differ by at least `min_contrast`.

    Either may be the brighter. The difference d of such pairs has a density that falls linearly
    with d, hence the square root.
    """
    draws = torch.rand(3, count, generator=generator)
    room = (1 - min_contrast) * draws[0].sqrt()
    low = draws[1] * room
    high = low + 1 - room
    swap = draws[2] < 0.5
    return torch.where(swap, high, low), torch.where(swap, low, high)


def levels_beside(
    background: Tensor, count: int, min_contrast: float, generator: torch.Generator
) -> Tensor:
    """`count` grey levels for each background, each at least `min_contrast` away from it."""
    draws = torch.rand(*background.shape, count, generator=generator)
    below = (background - min_contrast).clamp(min=0)[..., None]
    above = (1 - background - min_contrast).clamp(min=0)[..., None]
    place = draws * (below + above)
    return torch.where(place < below, place, place - below + background[..., None] + min_contrast)
