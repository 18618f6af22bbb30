"""FORGrad: gradient methods without their high frequencies."""

from typing import Annotated

import torch
from torch import Tensor, nn

from xai_exp.config import Range, configured
from xai_exp.explainers.cost import OfAnother
from xai_exp.explainers.gradients import Gradient
from xai_exp.types import Explainer, Heatmaps, Images, Labels


@configured
class FORGrad(OfAnother):
    r"""FORGrad (Muzellec et al. 2024): another heatmap, its frequencies above a cut-off taken out.

    $\mathcal{F}^{-1}(\mathcal{F}(R) \cdot [|f| \le \sigma])$: strided and max pooling write high
    frequencies into gradients that say nothing of the image. The mean stays, and with it the sum.
    The paper chooses $\sigma$ for each network and method by faithfulness on other images; here it
    is a field, to be chosen by a sweep (`-m explainer.forgrad.cutoff=0.1,0.2,0.4`).

    Pitfalls: a ring lies around every sharp edge of the heatmap (Gibbs). At 1 nothing but the
    corners of the spectrum goes.

    Cost: the explainer's.

    Args:
        explainer: whose heatmap it is.
        cutoff: sigma, as a share of the highest frequency along a side (half a cycle a pixel).
    """

    explainer: Explainer = Gradient()
    cutoff: Annotated[float, Range(0, 1.5, exclusive_low=True)] = 0.3

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The filtered heatmap."""
        return low_passed(self.explainer(model, images, targets), self.cutoff)


def low_passed(heatmaps: Heatmaps, cutoff: float) -> Heatmaps:
    """The heatmaps with frequencies up to `cutoff` x half a cycle a pixel."""
    height, width = heatmaps.shape[1:]
    down: Tensor = torch.fft.fftfreq(height, device=heatmaps.device)[:, None]
    across = torch.fft.rfftfreq(width, device=heatmaps.device)
    kept = down**2 + across**2 <= (cutoff / 2) ** 2 + 1e-12
    return torch.fft.irfft2(torch.fft.rfft2(heatmaps) * kept, s=(height, width))
