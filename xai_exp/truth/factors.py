r"""The factor game: what each cue of an image is worth to a network, wherever its pixels are.

The players are not parts but cues: how roofs are turned, how large they are, how many, the tint of
the sensor. With N the cues of an image and S those that keep their own value while each other one
has the value of another class, everything else being drawn from the same numbers,

    v(S) = f_t(rendered with the cues of S its own, the others those of the other class),

and a cue's worth is its Shapley value in this game: v(N) - v({}) is shared out among the cues.

No heatmap can show it: a heatmap has one number a pixel, and cues such as orientation, size and
number lie on the very same pixels, or, like a tint, on all of them. Only a cue that has a part of
its own can be read off a heatmap.

Cost: 2^k renderings and forward passes an image, k the number of cues: 256 for eight. Images of
mixed cues are off the training data unless classes were drawn with mixed cues.
"""

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.compute.streamline import streamlined
from xai_exp.config import InputError
from xai_exp.truth.coalitions import subsets
from xai_exp.truth.games import MOST_EXACT, Truth, solved
from xai_exp.truth.shares import shares
from xai_exp.types import Flags, Labels, Readout, Scores, Varied


def cue_worth(
    model: nn.Module, scenes: Varied, targets: Labels, *, value: Readout = ops.pick
) -> Truth:
    """The exact worth of every cue of every scene, in units of the value; parts are the cues.

    Args:
        model: the network; it is run in evaluation mode and left as it was.
        scenes: the images to explain.
        targets: the explained class.
        value: what of the logits is explained: (logits, targets) -> a number an image.

    Raises:
        InputError: when there are more than 12 cues.
    """
    count = len(scenes.cues)
    if count > MOST_EXACT:
        raise InputError(f"factor game: got {count} cues; allowed: at most {MOST_EXACT}")
    own = subsets(count).to(targets.device)
    values = torch.zeros(len(scenes), len(own), dtype=torch.float64, device=targets.device)
    with ops.evaluating(model), torch.no_grad():
        quick = streamlined(model, scenes[:1].render())
        for row in range(len(scenes)):
            copies = scenes[torch.full((len(own),), row, device=targets.device)]
            assert isinstance(copies, Varied)
            logits = ops.in_chunks(quick, copies.varied(own).render()).double()
            values[row] = value(logits, targets[row].expand(len(own)))
    return solved(values)


def hidden(scenes: Varied) -> Flags:
    """Which cues have no pixels of their own, so that no heatmap can show them: (cue)."""
    return torch.tensor([cue not in scenes.part_names for cue in scenes.cues])


def hidden_share(worth: Tensor, without_pixels: Tensor) -> Scores:
    """The share of the cues' worth, in magnitude, that lies in cues without pixels of their own.

    >>> hidden_share(torch.tensor([[3.0, -1.0]]), torch.tensor([False, True]))
    tensor([0.2500])
    """
    return (shares(worth).abs() * without_pixels.to(worth.device)).sum(1)
