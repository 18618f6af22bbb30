"""The ways to take a pixel away: what stands in an image where its pixels are gone.

An imputer is called once, `imputer(images, scenes, keys)`, and does all the work that no mask
changes; the removal that it gives, `removal(rows, masks)`, is then called for every chunk of masks.
No way is neutral: a constant may look like the object, noise and constants leave the data's
manifold (the model may answer to the new edges), a blur keeps the coarse information. Only
`known_background` takes away exactly the object and nothing else, and only rendered data have it.
Scores of removal-based metrics compare only under the same imputer (Bluecher et al. 2024).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.removal import harmonic
from xai_exp.types import Copies, Counts, Images, Keys, Nested, Places, Removal, Scenes, StepMasks


@dataclass(frozen=True, slots=True)
class Replacement:
    """A removal that takes pixels from reference images: one selection, with nothing copied first.

    >>> gone = torch.tensor([[[[True, False]]]])
    >>> Replacement(torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))(slice(0, 1), gone)
    tensor([[[[0., 1.]]]])
    """

    images: Tensor
    references: Tensor

    def __call__(self, rows: slice, masks: StepMasks) -> Copies:
        """The images at `rows` under every step's mask, flat."""
        chosen = torch.where(
            masks[:, :, None], self.references[rows, None], self.images[rows, None]
        )
        return chosen.flatten(0, 1)

    def nested(self, places: Places) -> Nested:
        """The same copies without a mask, for pixels that go in the order of `places`, from 0.

        In half of the time: a step from 1 to 0 at the count, and a `lerp` between the images, which
        is exact at both ends. In floats, all at once: exact, as places are whole numbers below
        2^24.
        """
        images, places = self.images, places.to(self.images)

        def copies(rows: slice, counts: Counts) -> Copies:
            step = (counts.to(images)[:, None, None, None] - places[rows, None, None]).clamp_(0, 1)
            return images[rows, None].lerp(self.references[rows, None], step).flatten(0, 1)

        return copies


@configured
class Constant:
    """One value everywhere: black is 0, grey 0.5.

    Pixels that have the value already are not taken away at all, however relevant they are: on data
    with a black background or black objects the score says little.
    """

    random: ClassVar[bool] = False
    value: Annotated[float, Range(0, 1)] = 0.5

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Make the images ready."""
        return Replacement(images, images.new_full((), self.value).expand_as(images))


@configured
class Mean:
    """The mean of each image's own channels, which keeps its overall brightness."""

    random: ClassVar[bool] = False

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Make the images ready."""
        return Replacement(images, images.mean((2, 3), keepdim=True).expand_as(images))


@configured
class Border:
    """The median of the pixels on each image's own border, channel by channel.

    An estimate of the background that needs no scenes, exact where the background is uniform and
    fills more than half of the border; then it takes away what `known_background` does.
    """

    random: ClassVar[bool] = False

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Make the images ready."""
        return Replacement(images, ops.border_level(images).expand_as(images))


@configured
class Invert:
    """The opposite value, 1 - x: the flip of pixel flipping on binary digits (Bach et al. 2015)."""

    random: ClassVar[bool] = False

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Make the images ready."""
        return Replacement(images, 1 - images)


@configured
class Noise:
    """Uniform noise, every pixel and channel on its own (Samek et al. 2017, Section III).

    A pixel keeps the value that it was given at every later step, as in the paper's recursion. The
    noise of an image comes from its own key: the same alone, in a batch and on every device.
    """

    random: ClassVar[bool] = True
    low: Annotated[float, Range(0, 1)] = 0.0
    high: Annotated[float, Range(0, 1)] = 1.0

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise InputError(f"Noise.low: got {self.low}; allowed: less than high, {self.high}")

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Draw the noise of every image."""
        uniform = ops.keyed_uniform(keys, images[0].numel()).view(images.shape)
        return Replacement(images, (self.low + (self.high - self.low) * uniform).to(images.dtype))


@configured
class Blur:
    """The image under a Gaussian blur; at the border the weights are normalised to the image.

    `sigma` is in pixels. Flat areas stay as they are, so a uniform object larger than a few sigma
    is not taken away (Sturmfels et al. 2020).
    """

    random: ClassVar[bool] = False
    sigma: Annotated[float, Range(0, exclusive_low=True)] = 4.0

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Blur the images."""
        return Replacement(images, gaussian_blur(images, self.sigma))


@configured
class NoisyLinear:
    """Each lost pixel is the weighted mean of its eight neighbours, lost or not, and some noise.

    Rong et al. 2022 (ICML, ROAD): weights 1/6 beside and above, 1/12 across corners; the noise is
    normal with standard deviation `noise`. It takes away what the hole's edge would tell the model:
    a constant shows the removed pixels' shape, this fills holes smoothly. Scene and object outside
    of the hole flow into it, so a hole inside the object is filled with the object. An image
    without any pixel left is filled with its mean.

    The linear system of every mask is solved on the device, all masks together, until the root mean
    square of the error that is left is about `tolerance` (see `xai_exp.removal.harmonic`): mostly
    below it, which is a tenth of the noise by default; a smaller tolerance costs more cycles. With
    the default a mask of 64x64 costs half a forward pass of the small CNN where single pixels are
    lost here and there, and about one where the holes are large.
    """

    random: ClassVar[bool] = True
    noise: Annotated[float, Range(0)] = 0.01
    tolerance: Annotated[float, Range(1e-7, 1)] = 0.001

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Draw the noise of every image."""
        normal = ops.keyed_normal(keys, images[0].numel()).view(images.shape)
        noise = (self.noise * normal).to(images.dtype)
        return Filling(_pixels_first(images), _pixels_first(noise), self.tolerance)


@dataclass(frozen=True, slots=True)
class Filling:
    """The removal of `NoisyLinear`: holes filled from around them, and each image's noise.

    Images, noise and masks have their pixels first, (height, width, image, ...): what the solver
    needs is then moved once for all steps.
    """

    together: ClassVar[int] = 2  # chunks: a cycle has some fifty small steps; more leave the cache

    images: Tensor
    noise: Tensor
    tolerance: float

    def __call__(self, rows: slice, masks: StepMasks) -> Copies:
        """The images at `rows` with every step's holes filled, flat."""
        return self._filled(rows, masks.permute(2, 3, 0, 1).to(self.images))

    def nested(self, places: Places) -> Nested:
        """The same copies for pixels that go in the order of `places`, from 0."""
        last = _pixels_first(places.to(self.images))

        def copies(rows: slice, counts: Counts) -> Copies:
            return self._filled(rows, (counts.to(last) - last[:, :, rows, None]).clamp_(0, 1))

        return copies

    def _filled(self, rows: slice, lost: Tensor) -> Copies:
        """The copies, `lost` (height, width, image, step) being 1 where a pixel is lost."""
        height, width, _, channels = self.images.shape
        steps = lost.shape[3]
        images, noise = (
            given[:, :, rows, None].expand(-1, -1, -1, steps, -1).flatten(2)
            for given in (self.images, self.noise)
        )
        holes = lost[..., None].expand(*lost.shape, channels).flatten(2)
        found = harmonic.filled(images, holes, self.tolerance).addcmul_(noise, holes)
        return found.flatten(0, 1).t().contiguous().view(-1, channels, height, width)


def _pixels_first(images: Tensor) -> Tensor:
    """(image, ..., height, width) as (height, width, image, ...)."""
    *before, height, width = images.shape
    return images.reshape(-1, height * width).t().contiguous().view(height, width, *before)


@configured
class KnownBackground:
    """The scene rendered again without any of its parts: what was truly behind the object.

    The only removal that stays on the data's own manifold once whole objects are gone. Scenes that
    know their background only; pixels of the background are not changed by being taken away.
    """

    random: ClassVar[bool] = False
    needs_scenes: ClassVar[bool] = True

    def __call__(self, images: Images, scenes: Scenes | None, keys: Keys) -> Removal:  # noqa: ARG002
        """Render the empty scenes.

        Raises:
            InputError: when the data are not rendered.
        """
        if scenes is None:
            raise InputError(
                "imputer known_background: got data without scenes; allowed: rendered data only"
            )
        empty = scenes.render(keep=torch.zeros_like(scenes.present))
        return Replacement(images, empty.to(images))


def gaussian_blur(images: Images, sigma: float) -> Images:
    """The images under a Gaussian of `sigma` pixels, cut at four sigma, border weights normalised.

    A constant image stays constant, which zero padding would not give.
    """
    reach = max(1, round(4 * sigma))
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    planes = images.flatten(0, 1)[:, None]
    ones = torch.ones_like(planes[:1])
    for kernel in (weights[None, None, :, None], weights[None, None, None, :]):
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
        planes = functional.conv2d(planes, kernel, padding=padding)
        ones = functional.conv2d(ones, kernel, padding=padding)
    return (planes / ones).view_as(images)
