"""Any classification model of torchvision, by its name, fitted to the data."""

import difflib

import torchvision
from torch import nn
from torchvision.models import get_model, list_models

from xai_exp.config import InputError, configured
from xai_exp.models.blocks import fitted


@configured
class Torchvision:
    """An untrained model of torchvision.models.

    The first convolution is made anew if the data are not RGB; in-place activations are made
    out-of-place, since explainers need what went into them.

    Args:
        name: as torchvision calls it, such as mobilenet_v3_small.
    """

    name: str

    def __post_init__(self) -> None:
        names = list_models(module=torchvision.models)
        if self.name not in names:
            close = difflib.get_close_matches(self.name, names, n=4, cutoff=0.4)
            raise InputError(
                f"Torchvision.name: got {self.name!r}; allowed: a classification model of "
                f"torchvision, such as {', '.join(close or ['resnet18', 'densenet121'])}"
            )

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network for images of this kind.

        Raises:
            InputError: when the images don't fit it.
        """
        try:
            network = get_model(self.name, weights=None, num_classes=classes, **self._options(size))
        except (ValueError, RuntimeError, AssertionError) as error:
            raise InputError(
                f"model {self.name}: got images of {size[0]}x{size[1]} pixels; allowed: what "
                f"torchvision lets it take ({' '.join(str(error).split())[:120]})"
            ) from error
        if channels != 3:
            _adapt_first_convolution(network, channels)
        for module in network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # pyright: ignore
        return fitted(network, channels, size, self.name)

    def _options(self, size: tuple[int, int]) -> dict[str, object]:
        """What some models want besides the number of classes."""
        if self.name.startswith("vit_"):
            return {"image_size": size[0]}
        if self.name.startswith("maxvit_"):
            return {"input_size": size}
        if self.name in ("googlenet", "inception_v3"):
            # Their auxiliary heads return tuples in training, which no loss here knows.
            return {"aux_logits": False, "init_weights": True}
        return {}


def _adapt_first_convolution(network: nn.Module, channels: int) -> None:
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    fresh = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # pyright: ignore
        old.stride,  # pyright: ignore
        old.padding,  # pyright: ignore
        bias=old.bias is not None,
    )
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, fresh)
