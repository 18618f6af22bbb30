r"""Which value of a class is explained: the network with its logits turned into that value.

Logits $z$ are known up to one function of the image added to all of them: it changes no prediction
and no probability, but every Shapley value and most heatmaps. So the question has to say which
value of the target t it asks about:

- centred: $z_t - \frac1K \sum_c z_c$;
- pair: $z_t - z_r$, r being one other class;
- log_odds: $z_t - \log \sum_{c \ne t} e^{z_c} = \log \frac{p_t}{1 - p_t}$;
- probability: $p_t = e^{z_t} / \sum_c e^{z_c}$;
- logit: $z_t$ itself, the literature's.

All but the last stay what they were when the same function is added to every logit. Centred and
paired logits are linear in the logits, so they are folded into the network's last linear layer,
whose weights are centred or subtracted: every method explains them as it explains a logit. Log-odds
and probability stand as a function behind the network; a method without a rule for it refuses.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.types import Images, Labels, Logits, Value

TARGETS = ("predicted", "label", "runner_up", "all")  # and any class
_CLOSE = 1e-4  # of the largest output: how well a folded network must agree


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a network about every image.

    Attributes:
        target: the explained class: predicted, label, runner_up, all, or one class by its number.
        value: which value of it; see `xai_exp.compute.values`.
        against: the other class of the value `pair`: runner_up (the likeliest class that is not the
            target), or one by its number.
    """

    target: str | int = "predicted"
    value: Value = "centred"
    against: str | int = "runner_up"

    def targets(self, logits: Logits, labels: Labels) -> Labels:
        """The explained class of each image."""
        if isinstance(self.target, int):
            return torch.full_like(labels, self.target)
        if self.target == "all":
            classes = torch.arange(logits.shape[1], device=labels.device)
            return classes.repeat(len(labels) // len(classes))
        if self.target == "label":
            return labels
        place = 1 if self.target == "runner_up" and logits.shape[1] > 1 else 0
        return logits.topk(place + 1, 1).indices[:, place]

    def others(self, logits: Logits, targets: Labels) -> Labels:
        """The class that each image's target is compared with; 0 where the value needs none."""
        if self.value != "pair":
            return torch.zeros_like(targets)
        if isinstance(self.against, int):
            return torch.full_like(targets, self.against)
        own = functional.one_hot(targets, logits.shape[1]).bool()
        return logits.masked_fill(own, -torch.inf).argmax(1)


def valued(model: nn.Module, value: Value, images: Images, against: int = 0) -> nn.Module:
    """A network whose outputs are this value of every class; weights that stay are shared.

    Args:
        model: from images to logits (batch, class); it is left as it was.
        value: as this module has it.
        images: some, on which a folded network is held against the model.
        against: the other class of `pair`.
    """
    with torch.no_grad(), ops.evaluating(model):
        classes = model(images[:1]).shape[1]
    if value == "logit" or classes == 1:
        return model
    if value == "log_odds":
        return _Behind(model, LogOdds()).eval()
    if value == "probability":
        return _Behind(model, nn.Softmax(1)).eval()
    mix = torch.eye(classes, dtype=torch.float64, device=images.device)
    mix[:, against if value == "pair" else slice(None)] -= 1 if value == "pair" else 1 / classes
    return _mixed(model, mix, images[:2])


def probabilities(outputs: Logits, value: Value) -> Logits:
    """The probability of every class from outputs that are this value."""
    if value == "probability":
        return outputs
    return outputs.sigmoid() if value == "log_odds" else outputs.softmax(1)


class LogOdds(nn.Module):
    """Logits to log-odds: each class against all others."""

    def forward(self, logits: Tensor) -> Tensor:
        """Log p - log(1 - p) of every class."""
        own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
        others = logits[:, None].expand(-1, logits.shape[1], -1).masked_fill(own, -torch.inf)
        return logits - others.logsumexp(2)


class Mix(nn.Parameter):
    """Weights that make a value of logits: to a rule one layer with the linear one that gave them.

    They stand in the last layer where that is a module, so that it may not matter what it is.
    """


class _Behind(nn.Module):
    """A network and a function of its logits."""

    def __init__(self, network: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.network, self.last = network, last

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.network(images))


def _mixed(model: nn.Module, mix: Tensor, images: Images) -> nn.Module:
    """The network whose outputs are `mix` times the logits, in its last layer if that is linear."""
    with torch.no_grad(), ops.evaluating(model):
        wanted = model(images) @ mix.T.to(images)
        for name in _last_layers(model, len(mix)):
            try:
                made = ops.shared_copy(model)
            except Exception:
                break  # of a network that can't be copied nothing is replaced
            layer = made.get_submodule(name)
            weight, bias = layer.weight, layer.bias
            assert isinstance(weight, Tensor)
            layer.weight = _like(weight, mix @ weight.flatten(1).double())
            if isinstance(bias, Tensor):
                layer.bias = _like(bias, mix @ bias.double())
            if (made(images) - wanted).abs().amax() <= _CLOSE * wanted.abs().amax():
                return made
    return _Behind(model, _linear(mix.to(images))).eval()


def _last_layers(model: nn.Module, classes: int) -> Iterator[str]:
    """Names of layers that may be the last: linear ones with an output for each class."""
    for name, module in reversed(list(model.named_modules())):
        width = {nn.Linear: "out_features", nn.Conv2d: "out_channels"}.get(type(module))
        if width and getattr(module, width) == classes and name:
            yield name


def _like(old: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.view_as(old).to(old), requires_grad=False)


def _linear(mix: Tensor) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(len(mix), len(mix), bias=False)
    layer.weight = Mix(mix, requires_grad=False)
    return layer
