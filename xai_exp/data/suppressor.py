"""XAI-TRIS: T and L tetrominoes in noise, whose background can be a suppressor (Clark et al. 2023).

With a correlated background the pixels around a tetromino tell nothing of the class by themselves,
but what background lies under the tetromino: a network that uses them (with the opposite sign)
sees it better. They are suppressors, and relevance there is a false positive to a user.
"""

from typing import Annotated, Literal

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from xai_exp.config import InputError, Range, configured
from xai_exp.data import loading
from xai_exp.data.loading import SceneSplit, Splits, stream
from xai_exp.data.scenes.tetrominoes import Tetrominoes

Scenario = Literal["linear", "multiplicative", "rigid", "xor"]
Background = Literal["white", "correlated"]
_UNITS = 8
_SQUARES = (((0, 0), (1, 0), (1, 1), (2, 0)), ((0, 0), (1, 0), (2, 0), (2, 1)))
_PLACES = ((1, 1), (4, 5))
_SNRS: dict[int, dict[str, dict[str, float]]] = {
    8: {
        "linear": {"white": 0.18, "correlated": 0.0125},
        "multiplicative": {"white": 0.7, "correlated": 0.1},
        "rigid": {"white": 0.65, "correlated": 0.2},
        "xor": {"white": 0.35, "correlated": 0.15},
    },
    64: {
        "linear": {"white": 0.03, "correlated": 0.02},
        "multiplicative": {"white": 0.2, "correlated": 0.65},
        "rigid": {"white": 0.575, "correlated": 0.375},
        "xor": {"white": 0.35, "correlated": 0.15},
    },
}
_SMOOTHING = {8: 3.0, 64: 10.0}
_SOFT = 1.5  # pixels by which tetrominoes are smoothed whose squares are larger than
_SHARP = 3
_TURNS = 4
_DEVIATIONS = 4.0  # of the noise that the grey levels hold; the rest (1 in 16,000) is cut


@configured
class Suppressor(Splits):
    """A T or an L (linear, multiplicative, rigid), or both with signs (xor), in normal noise.

    - linear: a T in its place is the first class, an L in another place the second; it is added.
    - multiplicative: the same, but the tetromino scales the noise by 1 - snr * pattern.
    - rigid: turned by any quarter and anywhere; it is added.
    - xor: both in their places, each brighter or darker; equal signs are the first class.

    Strengths after the paper's eq. 1 to 3 and its published generator: signal and background are
    each divided by their norm over the data, then weighted by snr and 1 - snr. Ours differs in
    three things: the norms are the expected ones (not the sample's), the result is scaled to 0..1
    by four standard deviations (not by its largest value), and masks hold the image's own
    tetrominoes. There are no photographs as backgrounds.

    Args:
        count: images in all splits together.
        pixels: height and width: 8 or 64, as in the paper.
        scenario: linear, multiplicative, rigid or xor.
        background: white or correlated (smoothed by 3 pixels of 8, or 10 of 64).
        snr: the signal's weight in 0..1; null: the paper's own.
        validation_share, test_share: the share of images held out.
        seed: of the scenes; models of all seeds see the same images.
    """

    count: Annotated[int, Range(30)] = 10_000
    pixels: Literal["8", "64"] = "8"
    scenario: Scenario = "linear"
    background: Background = "correlated"
    snr: Annotated[float, Range(0, 1)] | None = None
    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    test_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        if self.snr == 0:
            raise InputError("Suppressor.snr: got 0, no signal at all; allowed: > 0 and <= 1")

    @property
    def classes(self) -> tuple[str, ...]:
        """What the tetrominoes say."""
        return ("equal signs", "opposite signs") if self.scenario == "xor" else ("T", "L")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (int(self.pixels), int(self.pixels))

    def split(self, which: int) -> SceneSplit:
        """Sample the scenes of one split."""
        count = loading.sizes(self.count, self.validation_share, self.test_share)[which]
        generator = stream(self.seed, which)
        labels = torch.randint(2, (count,), generator=generator)
        chosen, places = labels[:, None], torch.tensor(_PLACES)[labels][:, None] * self._unit
        signs = torch.ones(count, 1)
        if self.scenario == "rigid":
            turns = torch.randint(_TURNS, (count, 1), generator=generator)
            chosen = _TURNS * chosen + turns
            high = torch.where(turns % 2 == 0, 3, 2) * self._unit
            tall = torch.stack([high, 5 * self._unit - high], 2)
            room = int(self.pixels) - tall + 1
            places = (torch.rand(room.shape, generator=generator) * room).long()
        if self.scenario == "xor":
            chosen = torch.arange(2).expand(count, 2).contiguous()
            places = (torch.tensor(_PLACES) * self._unit).expand(count, 2, 2).contiguous()
            first = 2 * torch.randint(2, (count,), generator=generator) - 1
            signs = torch.stack([first, first * (1 - 2 * labels)], 1).float()
        keys = torch.randint(2**62, (count,), generator=generator)
        return SceneSplit(everything=self._scenes(chosen, places, signs, keys), labels=labels)

    @property
    def _unit(self) -> int:
        """The side of a tetromino's squares; half as large where it moves in large images."""
        unit = int(self.pixels) // _UNITS
        return max(1, unit // 2) if self.scenario == "rigid" else unit

    def _scenes(self, chosen: Tensor, places: Tensor, signs: Tensor, keys: Tensor) -> Tetrominoes:
        pixels, together = int(self.pixels), chosen.shape[1]
        own = _SNRS[pixels][self.scenario][self.background]
        snr = own if self.snr is None else self.snr
        multiplicative = self.scenario == "multiplicative"
        patterns = self._patterns
        soft = _gaussian(pixels, _SOFT) if self._unit > _SHARP else torch.eye(pixels)
        # Norms of one image: of the patterns in it, and of noise of unit variance.
        middle = patterns.roll((pixels // 3, pixels // 3), (1, 2))
        norm = float(((soft @ middle @ soft.T).square().sum((1, 2)).mean() * together).sqrt())
        signal, noise = (snr, 1.0) if multiplicative else (snr / norm, (1 - snr) / pixels)
        most = _DEVIATIONS * noise + (0.0 if multiplicative else signal)
        return Tetrominoes(
            patterns=patterns,
            chosen=chosen,
            places=places,
            signs=signs,
            keys=keys,
            smoothing=self._smoothing,
            soft=soft,
            signal=signal if multiplicative else signal / most,
            noise=noise / most,
            multiplicative=multiplicative,
            fewest=together,
        )

    @property
    def _patterns(self) -> Tensor:
        """T and L in the upper left corner, with all their turns if rigid."""
        planes = []
        for squares in _SQUARES:
            small = torch.zeros(3, 2)
            small[tuple(torch.tensor(squares).T)] = 1
            for turn in range(_TURNS if self.scenario == "rigid" else 1):
                shape = torch.kron(small, torch.ones(self._unit, self._unit)).rot90(turn)
                planes.append(torch.zeros(self.size))
                planes[-1][: shape.shape[0], : shape.shape[1]] = shape
        return torch.stack(planes)

    @property
    def _smoothing(self) -> Tensor:
        """Noise smoothed along an axis, so that after both its mean variance is one."""
        pixels = int(self.pixels)
        if self.background == "white":
            return torch.eye(pixels)
        smooth = _gaussian(pixels, _SMOOTHING[pixels])
        return smooth / smooth.square().sum(1).mean().sqrt()


def _gaussian(pixels: int, sigma: float) -> Tensor:
    """The matrix of a Gaussian blur along an axis, reflected at its ends."""
    eye = torch.eye(pixels, dtype=torch.float64).numpy()
    return torch.from_numpy(gaussian_filter1d(eye, sigma, axis=0, mode="reflect")).float()
