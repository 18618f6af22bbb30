"""The core types: shapes, protocols and the Case. Every shape string of the code base lives here.

Conventions that hold everywhere:

- Images are float32 in 0..1 (batch, channel, height, width); a network sees them as they are.
- A heatmap is signed, summed over channels, and explains the LOGIT of the target.
- Parts are coverages in 0..1: how much of each pixel the part fills. A part that an image does not
  have is all zero.
- A score that is undefined for an image is NaN, never a number made up.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Images = Float[Tensor, "batch channel height width"]
Labels = Int[Tensor, " batch"]
Levels = Float[Tensor, "batch channel 1 1"]
Logits = Float[Tensor, "batch class"]
Heatmaps = Float[Tensor, "batch height width"]
Scores = Float[Tensor, " batch"]
Parts = Float[Tensor, "batch part height width"]
Keep = Bool[Tensor, "batch part"]
Curves = Float[Tensor, "batch step"]
StepLogits = Float[Tensor, "batch step target"]
Grid = Float[Tensor, "row column ..."]
Index = Int[Tensor, " batch"]
Keys = Int[Tensor, " batch"]
Rows = Float[Tensor, "batch count"]
Order = Int[Tensor, "batch count"]
Blocks = Float[Tensor, "batch rows columns"]
Masks = Bool[Tensor, "batch height width"]
Neighbours = Float[Tensor, "batch sample height width"]
Samples = Float[Tensor, "batch sample"]
Copies = Float[Tensor, "copy channel height width"]
StepMasks = Bool[Tensor, "batch step height width"]
Places = Int[Tensor, "batch height width"]
Segments = Int[Tensor, "batch height width"]
Counts = Int[Tensor, " step"]
Flags = Bool[Tensor, " batch"]
Vertices = Float[Tensor, "shape vertex 2"]
Points = Float[Tensor, "shape 2"]
Lengths = Float[Tensor, " shape"]
Corner = Int[Tensor, "shape 2"]
Windows = Float[Tensor, "shape window window"]
PerObject = Float[Tensor, "batch object"]
Sides = Int[Tensor, "batch object"]
Centres = Float[Tensor, "batch object 2"]
Owners = Int[Tensor, "batch part"]
Planes = Float[Tensor, "batch height width"]
FeatureMaps = Float[Tensor, "batch map rows columns"]
PlanesLast = Float[Tensor, "height width plane"]
Stack = Float[Tensor, "1 plane _ _"]
Effects = Float[Tensor, "batch part"]
PartsAndRest = Float[Tensor, "batch part_and_rest"]
Interactions = Float[Tensor, "batch part part"]
Games = Float[Tensor, "batch subset"]
Subsets = Bool[Tensor, "batch_or_one subset part"]
PartMasks = Bool[Tensor, "batch part height width"]
RankedParts = Bool[Tensor, "batch part pixel"]
PartPlaces = Int[Tensor, "batch part pixel"]
PartPeaks = Int[Tensor, "batch part"]

Precision = Literal["float32", "bfloat16"]
Nested = Callable[[slice, Counts], Copies]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


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

    def divided(self, division: str, depth: float | None = None) -> "Scenes":
        """The same scenes with other parts; a scene starts out divided into "objects".

        `depth` says how far cuts go (null: as before).
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

    def layers(self) -> tuple[Planes, Parts]:
        """What no part draws and what each part adds: image = the first + the sum of those kept."""
        ...

    def parts(self) -> Parts:
        """The exact coverage of every part."""
        ...


@runtime_checkable
class Split(Protocol):
    """One split of a dataset, indexed by tensors so that a batch is one operation."""

    @property
    def labels(self) -> Labels:
        """The class of every image."""
        ...

    def __len__(self) -> int:
        """The number of images."""
        ...

    def images(self, index: Index) -> Images:
        """The images at `index`, on the index's device."""
        ...

    def scenes(self, index: Index) -> Scenes | None:
        """Their scenes, if the data are rendered."""
        ...

    def parts(self, index: Index) -> Parts | None:
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
class Architecture(Protocol):
    """A model's configuration, which builds a network fitted to the data."""

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network from images (batch, channels, *size) to logits (batch, classes).

        Raises:
            InputError: when the network does not fit the image size.
        """
        ...


@runtime_checkable
class Explainer(Protocol):
    """A post-hoc explanation method: (model, images, targets) -> heatmaps of the targets' logits.

    An explainer that needs more than these is bound to it first: one with `fit(model, images)` to
    reference images of the training split, one with `with_parts(images, parts)` to ground truth.
    Both return a bound explainer and leave the first as it was.
    """

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Explain the logit of each image's target."""
        ...


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


@dataclass(frozen=True, kw_only=True)
class Case:
    """One (model, explainer) on one set of images: everything that a metric may look at.

    The generator is only asked for its seed, so that no metric changes what another one draws.
    `memo` holds what several metrics share (clean outputs, rankings, curves); `dataclasses.replace`
    starts an empty one. `across` holds what does not depend on the heatmaps, so that explainers can
    share it (exact truth); what is kept there names the inputs that it was made of. `precision` is
    that of the forward passes of perturbed images; clean ones and explanations are in float32.
    """

    model: nn.Module
    images: Images
    targets: Labels
    heatmaps: Heatmaps
    explain: Explain
    scenes: Scenes | None = None
    parts: Parts | None = None
    generator: torch.Generator
    precision: Precision = "float32"
    across: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    memo: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)


@runtime_checkable
class Metric(Protocol):
    """A measure of a heatmap's quality: one score an image.

    `needs` names what the Case must hold beyond model, images and heatmaps: "parts", "scenes".
    `undefined` says in a few words when a score is NaN.
    """

    higher_is_better: ClassVar[bool]
    needs: ClassVar[frozenset[str]]
    undefined: ClassVar[str]

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        ...


@runtime_checkable
class CurveMetric(Metric, Protocol):
    """A metric that is read off curves (perturbation steps), which are worth a plot."""

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """Named curves, one row an image; `x` (the share of pixels perturbed) is among them."""
        ...

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The score of every image from its curves; `__call__` is `score(curves(case))`."""
        ...
