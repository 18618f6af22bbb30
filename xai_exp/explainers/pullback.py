"""From the target's logit back to the pixels: what every method with a backward pass shares."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.compute.norms import right_gradients
from xai_exp.compute.streamline import streamlined
from xai_exp.config import InputError
from xai_exp.types import Images, Labels

_OVERWRITTEN = "modified by an inplace operation"
_ENOUGH = 16  # passes, for which two more and the time to find fewer steps are worth it
Context = Callable[[], AbstractContextManager[object]]


def pullback(
    model: nn.Module,
    images: Images,
    targets: Labels,
    *,
    from_logit: bool = False,
    positive: bool = False,
    together: int = 1,
    within: Context = nullcontext,
    check: Callable[[Tensor], None] = lambda _: None,
) -> Images:
    """What comes back at the pixels from each image's target logit, signed and by channel.

    It is made in chunks; model and images are left as they were. Works under `torch.no_grad` and
    `torch.inference_mode`, too.

    Args:
        model: the network.
        images: (batch, channel, height, width).
        targets: the class of each image.
        from_logit: start from the logit's value (relevance) rather than from 1 (gradient).
        positive: start from nothing where the logit is not positive.
        together: so many neighbouring images are never torn apart by chunks.
        within: makes the context of each forward pass.
        check: called with the chosen logits before the backward pass.

    Raises:
        InputError: when the logits do not depend on the images.
    """

    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        pixels, chosen = forward(model, part, wanted, within)
        check(chosen)
        start = chosen.detach() if from_logit else torch.ones_like(chosen)
        if positive:
            start = start.where(chosen.detach() > 0, 0)
        # Not by telling autograd where to start: it would load SymPy to compare shapes.
        return torch.autograd.grad((chosen * start).sum(), pixels)[0]

    with differentiable(model):
        if within is nullcontext:
            model = in_fewer_steps(model, images)
        return ops.in_chunks(chunk, images, targets, together=together).detach()


def in_fewer_steps(model: nn.Module, images: Images, passes: int = 1) -> nn.Module:
    """The same function with the same gradients, in less time if there is enough to be done.

    Args:
        model: the network, in evaluation mode for the time of the gradients or already so.
        images: what is explained.
        passes: for each of them.
    """
    if len(images) * passes < _ENOUGH:
        return model
    with ops.evaluating(model):
        return streamlined(model, images[:1], folded=False)


@contextmanager
def differentiable(model: nn.Module) -> Iterator[nn.Module]:
    """Graphs are made within it, whatever the caller's mode; the model is frozen, and restored.

    Raises:
        InputError: when a step in place overwrites what the gradient of an earlier one needs.
    """
    with torch.inference_mode(False), torch.enable_grad(), ops.evaluating(model):
        try:
            yield model
        except RuntimeError as error:
            if _OVERWRITTEN not in str(error):
                raise
            raise InputError(
                "network: got a step in place that overwrites what the gradient of an earlier one "
                "needs; allowed: the same step out of place (inplace=False, x * y for x.mul_(y))"
            ) from error


def forward(
    model: nn.Module, part: Images, wanted: Labels, within: Context = nullcontext
) -> tuple[Tensor, Tensor]:
    """The pixels at the root of a graph, and each image's target logit at its end.

    Args:
        model: the network.
        part: the images of one chunk.
        wanted: the class of each.
        within: makes the context that the model runs in.

    Raises:
        InputError: when the logits do not depend on the images.
    """
    pixels = part.detach().clone().requires_grad_()
    # The model gets a copy, since work in place on a leaf of the graph is forbidden; targets made
    # in inference mode can't be in a graph, copies of them can.
    seen, wanted = pixels.clone(), wanted.clone()
    seen._seen = True  # pyright: ignore[reportAttributeAccessIssue] - for what watches functions
    with right_gradients(part), within():
        logits = model(seen).clone()  # so that who watches is asked about the last step, too
    if not logits.requires_grad:
        raise InputError(
            "this explainer needs gradients: got logits that do not depend on the images; "
            "allowed: models without detach() or no_grad() between images and logits"
        )
    return pixels, ops.pick(logits, wanted)


def gradients_at(
    model: nn.Module,
    images: Images,
    targets: Labels,
    count: int,
    points: Callable[[range], Tensor],
) -> Iterator[tuple[range, Tensor]]:
    """The gradients at `count` points for every image, as many points at once as fill a chunk.

    Args:
        model: the network.
        images: (batch, channel, height, width).
        targets: the class of each image.
        count: points for each image.
        points: those of a run of numbers in 0..count: (point, batch, channel, height, width).

    Yields:
        The numbers of the points and the gradients there, shaped like the points.
    """
    together = max(1, ops.chunk_size(images) // max(1, len(images)))
    model = in_fewer_steps(model, images, count)
    for first in range(0, count, together):
        group = range(first, min(first + together, count))
        at = points(group)
        found = pullback(model, at.flatten(0, 1), targets.repeat(len(group)))
        yield group, found.view(at.shape)
