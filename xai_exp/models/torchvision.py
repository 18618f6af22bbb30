"""Any classification model of torchvision, by its name, fitted to the data or with own weights."""

import difflib
from typing import Annotated

import torchvision
from torch import nn
from torchvision.models import get_model, list_models

from xai_exp.config import Added, Content, InputError, configured
from xai_exp.models import weights
from xai_exp.models.asked import Preprocessing
from xai_exp.models.blocks import fitted
from xai_exp.models.weights import Head
from xai_exp.types import Dataset


@configured
class Torchvision:
    """A model of torchvision.models, untrained or with the weights in a file.

    The first convolution is made anew if the data are not RGB; in-place activations are made
    out-of-place, since explainers need what went into them.

    Args:
        name: as torchvision calls it, such as mobilenet_v3_small.
        weights: a file of torch.save(network.state_dict(), path), for three channels unless the
            network was made for others; null: untrained. As with model=file it is not trained
            unless asked, and the file's content decides.
        mean, std, size, classes, head: as in model=file, where there are weights.
    """

    name: str
    weights: Annotated[str | None, Content(), Added(None)] = None
    mean: Annotated[float | tuple[float, ...], Added(0.0)] = 0.0
    std: Annotated[float | tuple[float, ...], Added(1.0)] = 1.0
    size: Annotated[tuple[int, int] | None, Added(None)] = None
    classes: Annotated[str | None, Content(), Added(None)] = None
    head: Annotated[Head, Added("weights")] = "weights"

    def __post_init__(self) -> None:
        names = list_models(module=torchvision.models)
        if self.name not in names:
            close = difflib.get_close_matches(self.name, names, n=4, cutoff=0.4)
            raise InputError(
                f"Torchvision.name: got {self.name!r}; allowed: a classification model of "
                f"torchvision, such as {', '.join(close or ['resnet18', 'densenet121'])}"
            )
        own = (self.front.plain, self.classes, self.head) == (True, None, "weights")
        if self.weights is None and not own:
            raise InputError(
                "Torchvision: got mean, std, size, classes or head without weights; allowed: these "
                "with model.weights=PATH, an untrained network takes pictures as they are"
            )

    @property
    def front(self) -> Preprocessing:
        """What stands in front of the network."""
        return Preprocessing(mean=self.mean, std=self.std, size=self.size)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the network's classes, if they are known."""
        if self.weights is None:
            return None
        return weights.names_in(self.classes) or weights.read(self.weights).classes

    def ordered(self, network: nn.Module, data: Dataset) -> nn.Module:
        """The network with an output for each of the data's classes, in their order.

        Raises:
            InputError: when there are other classes.
        """
        if self.weights is None:
            return network
        return weights.ordered(network, self.names, self.head, data)

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """A network for images of this kind, untrained or with the weights in the file.

        Raises:
            InputError: when the images or the weights don't fit it.
        """
        if self.weights is not None:
            held = weights.read(self.weights)
            inside = self.size or size
            network = self._made(weights.planes(held), inside, len(list(held.state.values())[-1]))
            weights.give(network, held, self.weights)
            return weights.ready(network, self.front, self.head, channels, size, classes)
        return fitted(self._made(channels, size, classes), channels, size, self.name)

    def _made(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
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
        return network

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
