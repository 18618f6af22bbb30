"""Any classification model of torchvision, by its name, fitted to the data."""

import torchvision
from torch import nn
from torchvision.models import get_model, list_models

from xai_exp.config import InputError, configured
from xai_exp.errors import unknown
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

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network for images of this kind.

        Raises:
            InputError: when there is no such model or the images don't fit it.
        """
        names = list_models(module=torchvision.models)
        if self.name not in names:
            raise InputError(unknown("model of torchvision", self.name, names))
        options: dict[str, object] = {"weights": None, "num_classes": classes}
        if self.name.startswith("vit_"):
            options["image_size"] = size[0]
        if self.name in ("googlenet", "inception_v3"):
            # Their auxiliary heads return tuples in training, which no loss here knows.
            options |= {"aux_logits": False, "init_weights": True}
        try:
            network = get_model(self.name, **options)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise InputError(
                f"model {self.name}: got images of {size[0]}x{size[1]} pixels; allowed: what "
                f"torchvision lets it take ({error})"
            ) from error
        if channels != 3:
            _adapt_first_convolution(network, channels)
        for module in network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # pyright: ignore
        return fitted(network, channels, size, self.name)


def _adapt_first_convolution(network: nn.Module, channels: int) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            parent = network.get_submodule(name.rpartition(".")[0])
            fresh = nn.Conv2d(
                channels,
                module.out_channels,
                module.kernel_size,  # pyright: ignore
                module.stride,  # pyright: ignore
                module.padding,  # pyright: ignore
                bias=module.bias is not None,
            )
            setattr(parent, name.rpartition(".")[2], fresh)
            return
