"""What explains, and what takes pixels away; what they need and can do beyond the least."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from xai_exp.config import InputError
from xai_exp.types.data import Scenes
from xai_exp.types.shapes import Copies, Heatmaps, Images, Index, Keys, Labels, Parts, StepMasks


class NoOtherHeatmapsError(InputError):
    """Heatmaps that an explainer does not make are asked for: a score less, no fault of its own."""


@runtime_checkable
class Explainer(Protocol):
    """A post-hoc explanation method: (model, images, targets) -> heatmaps of the targets' logits.

    An explainer that needs more than these is bound to it first and says so by one of the protocols
    below; binding returns another explainer and leaves the first as it was.
    """

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Explain the logit of each image's target."""
        ...


@runtime_checkable
class IsFitted(Protocol):
    """An explainer that needs reference images of the training split first."""

    def fit(self, model: nn.Module, images: Images) -> Explainer:
        """This explainer with these references."""
        ...


@runtime_checkable
class UsesReferences(IsFitted, Protocol):
    """One that says how many of them it uses at most."""

    @property
    def references(self) -> int:
        """Their number."""
        ...


@runtime_checkable
class NeedsParts(Protocol):
    """An explainer that is made of the truth: a control."""

    def with_parts(self, images: Images, parts: Parts) -> Explainer:
        """This explainer for these images and their parts."""
        ...


@runtime_checkable
class TakesScenes(Protocol):
    """An explainer that can take parts of a scene away exactly, where there are scenes."""

    def with_scenes(self, images: Images, scenes: Scenes) -> Explainer:
        """This explainer for these images and their scenes."""
        ...


@runtime_checkable
class AsksForOutput(Protocol):
    """An explainer that can explain a probability by itself."""

    output: str


@runtime_checkable
class OnlyKnownImages(Protocol):
    """A bound explainer that has no heatmap for an image which is moved or turned."""

    only_known_images: ClassVar[bool]


@runtime_checkable
class OfCertainImages(Protocol):
    """An explainer that finds its heatmaps by which images these are."""

    def for_images(self, images: Images, numbers: Index, files: Sequence[str] | None) -> Explainer:
        """This explainer for these images, with their numbers and the names of their files."""
        ...


@runtime_checkable
class MakesNone(Protocol):
    """An explainer that has heatmaps and makes none: there are no others than those it gave."""

    makes_none: ClassVar[bool]


@runtime_checkable
class Diagnoses(Protocol):
    """An explainer that says how its own work went: what it promises and how far off it is."""

    def diagnostics(
        self, model: nn.Module, images: Images, targets: Labels
    ) -> Mapping[str, Tensor]:
        """Numbers by name, one an image."""
        ...


@runtime_checkable
class Removal(Protocol):
    """Images made ready to lose pixels: whatever does not depend on the pixels is done already."""

    def __call__(self, rows: slice, masks: StepMasks) -> Copies:
        """The images at `rows`, each once for every step, without the pixels under its masks.

        A pixel under its mask (True = gone) is replaced in every channel. The result is flat:
        (rows * steps, channel, height, width), all steps of the first image first.
        """
        ...


@runtime_checkable
class Together(Protocol):
    """A removal for which so many masks at once cost least."""

    together: int


@runtime_checkable
class NeedsScenes(Protocol):
    """An imputer that looks at the scenes, so that only rendered images can lose pixels."""

    needs_scenes: ClassVar[bool]


@runtime_checkable
class Imputer(Protocol):
    """A way to take pixels away: (images, scenes, keys) -> removal.

    The work that is the same for every mask (a blurred image, an empty scene, a draw of noise) is
    done in this call, so that the removal of thousands of masks costs one selection each.
    `random` says whether another key gives another result, so that repeats are worth their cost.
    """

    random: ClassVar[bool]

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:
        """Make the images ready; random imputers draw from each image's own key."""
        ...
