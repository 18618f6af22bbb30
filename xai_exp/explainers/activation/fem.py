"""FEM: cells whose activation is unusual, weighed by their map's mean."""

from typing import Annotated, ClassVar

from torch import Tensor, nn

from xai_exp.config import Range, configured
from xai_exp.explainers.activation.feature_map import from_maps
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.sizes import enlarged, size_of
from xai_exp.types import Heatmaps, Images, Labels


@configured
class FEM:
    r"""Feature explanation method (Fuad et al. 2020): $\sum_k \mu_k [A^k \ge \mu_k + K \sigma_k]$.

    $\mu_k$ and $\sigma_k$ are mean and standard deviation of map k over the image; a cell counts
    for a map where its activation is K deviations above. No gradient is used and no target: it
    shows what is unusual in the layer, whatever the class, a control as `eigen_cam` is. Maps of
    few cells may have none so far above, and the heatmap is empty then. Enlarged bilinearly
    (Xplique: by a cubic).

    Cost: one forward pass.

    Args:
        layer: a module or a function (relu.3); null: the last maps on every way to the logits.
        deviations: K; the paper takes 1 for 3D networks, Xplique 2.
    """

    version: ClassVar[int] = 2
    layer: str | None = None
    deviations: Annotated[float, Range(0)] = 1.0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=0)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The weighed cells at every pixel."""

        def combine(maps: Tensor, _slopes: Tensor) -> Tensor:
            mean = maps.mean((2, 3), keepdim=True)
            spread = maps.std((2, 3), keepdim=True, correction=0)
            # A map that is the same everywhere has nothing unusual in it.
            unusual = (maps >= mean + self.deviations * spread) & (spread > 0)
            return (mean * unusual).sum(1)

        found = from_maps(model, images, targets, self.layer, combine, sloped=False)
        return enlarged(found, size_of(images))
