"""What data are: scenes, splits, datasets, and what they can do beyond the least."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from xai_exp.types.shapes import (
    Flags,
    Images,
    Index,
    Keep,
    Labels,
    Layers,
    Parts,
    Players,
    Positions,
    Subsets,
    Unions,
)


@runtime_checkable
class Drawing(Protocol):
    """Images with any subsets of their parts, each part being drawn once for all subsets."""

    @property
    def empty(self) -> Images:
        """The images without any part."""
        ...

    def whole(self) -> Images:
        """The images with every part, the same bit for bit alone and in a batch."""
        ...

    def only(self, rows: Index, players: Players) -> "Drawing":
        """The images at `rows`, with these of their parts; other parts are never drawn."""
        ...

    def __call__(self, rows: slice, subsets: Subsets) -> Images:
        """The images at `rows` with each subset of their parts, all of the first image first.

        Subsets are (rows or 1, subset, part), true for a part that is kept.
        """
        ...


@runtime_checkable
class Scenes(Protocol):
    """A batch of rendered scenes: small parameters from which images and exact masks are drawn."""

    def __len__(self) -> int:
        """The number of scenes."""
        ...

    def __getitem__(self, index: Any) -> "Scenes":  # noqa: ANN401
        """The scenes at `index` (slice, index tensor or mask), still as a batch."""
        ...

    def to(self, device: torch.device | str) -> "Scenes":
        """The same scenes with their parameters on `device`."""
        ...

    @property
    def divisions(self) -> tuple[str, ...]:
        """The ways these scenes can be divided into parts, such as ("objects", "corners")."""
        ...

    def divided(
        self, division: str, depth: float | None = None, cells: int | None = None
    ) -> "Scenes":
        """The same scenes with other parts; a scene starts out divided into "objects".

        `depth` says how far cuts go, `cells` how many patches a grid's side has (null: as before).
        """
        ...

    @property
    def part_names(self) -> tuple[str, ...]:
        """What the parts are, in order, such as ("object 1", "object 2", ...)."""
        ...

    @property
    def present(self) -> Keep:
        """Which parts each scene has."""
        ...

    def render(self, keep: Keep | None = None) -> Images:
        """Draw the scenes, without the parts that `keep` leaves out (None: with all)."""
        ...

    def layers(self) -> tuple[Images, Layers]:
        """What no part draws and what each part adds: image = the first + the sum of those kept.

        Raises:
            InputError: when parts hide one another, so that there are no such layers.
        """
        ...

    def drawing(self) -> Drawing:
        """The scenes ready to be drawn with many subsets of their parts."""
        ...

    def drawable(self, keep: Keep) -> Flags:
        """Whether the generator of these scenes draws such an image, with these parts alone."""
        ...

    def redrawn(self, keep: Keep, generator: torch.Generator) -> "Scenes":
        """The scenes with the parts that `keep` leaves out drawn anew, given those that stay.

        Raises:
            InputError: when their generator does not know how, or they are not in objects.
        """
        ...

    def parts(self) -> Parts:
        """The exact coverage of every part."""
        ...


@runtime_checkable
class InUnions(Protocol):
    """Scenes whose players come in unions, such as the roofs of a block."""

    def in_unions(self) -> tuple[Drawing, Unions, Parts]:
        """Players drawn by themselves, each one's union (-1: not there), the pixels of each."""
        ...


@runtime_checkable
class Turning(Protocol):
    """Scenes that can be turned about the centre of the image."""

    def turned(self, angle: float) -> Scenes:
        """The same scenes, turned by an angle in radians."""
        ...


@runtime_checkable
class Varied(Scenes, Protocol):
    """Scenes whose classes differ in cues, of which each can be given another class's value."""

    @property
    def cues(self) -> tuple[str, ...]:
        """What the cues are; one that has pixels of its own is called like the part they are."""
        ...

    def varied(self, own: Keep) -> Scenes:
        """The scenes with another class's value of every cue that `own` (batch, cue) leaves out."""
        ...


@runtime_checkable
class Split(Protocol):
    """One split of a dataset, indexed by tensors (or lists) so that a batch is one operation."""

    @property
    def labels(self) -> Labels:
        """The class of every image."""
        ...

    def __len__(self) -> int:
        """The number of images."""
        ...

    def images(self, index: Positions) -> Images:
        """The images at `index`, on the index's device."""
        ...

    def scenes(self, index: Positions) -> Scenes | None:
        """Their scenes, if the data are rendered."""
        ...

    def parts(self, index: Positions) -> Parts | None:
        """Their part masks, if the data have ground truth."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """A dataset: what it is and its three splits, which never overlap."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; a label is a position in them."""
        ...

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def train(self) -> Split:
        """What the model learns from."""
        ...

    @property
    def validation(self) -> Split:
        """What training is stopped by."""
        ...

    @property
    def test(self) -> Split:
        """What accuracy is measured and heatmaps are made on."""
        ...


@runtime_checkable
class PartlyLearnt(Protocol):
    """A dataset with fields that training never sees, such as what only the test split shows."""

    undeciding: ClassVar[frozenset[str]]


@runtime_checkable
class OfKinds(Protocol):
    """A dataset whose objects are of several kinds, in any order."""

    @property
    def kind_names(self) -> tuple[str, ...]:
        """What the kinds are called, in order."""
        ...

    def kinds_of(self, scene: Any) -> Tensor:  # noqa: ANN401
        """The kind of each object of its scenes: (image, object), -1 for none."""
        ...


@runtime_checkable
class FromFiles(Protocol):
    """A dataset that comes from files, whose content decides as much as the configuration."""

    @property
    def fingerprint(self) -> str:
        """A hash of the images' content."""
        ...

    @property
    def truth_fingerprint(self) -> str:
        """A hash of the masks' content; empty without masks."""
        ...


@runtime_checkable
class Architecture(Protocol):
    """A model's configuration, which builds a network fitted to the data."""

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network from images (batch, channels, *size) to logits (batch, classes).

        Raises:
            InputError: when the network does not fit the image size.
        """
        ...


@runtime_checkable
class NamesClasses(Protocol):
    """A model that brings weights, and so classes of its own in an order of its own."""

    def ordered(self, network: nn.Module, data: Dataset) -> nn.Module:
        """The network that it built, with an output for each of the data's classes, in their order.

        Raises:
            InputError: when the data have a class that the network does not have.
        """
        ...
