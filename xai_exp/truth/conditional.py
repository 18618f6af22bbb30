r"""The truth given what is kept: other parts are not taken away, but drawn anew.

The value of a set S of parts is what the network says on average of images that have them,

    v(S) = E[ f_t(X) | the parts of S, and no more parts than before ],

X being drawn by the data's own generator given the parts of S and the background (Aas et al. 2021
for features; here the conditional distribution is known). All images asked are then of the data,
whatever the network was trained on; but a part that the network ignores can be worth something,
because it tells of the others.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.compute.streamline import streamlined
from xai_exp.config import InputError
from xai_exp.truth.coalitions import shapley_weights, subsets
from xai_exp.truth.games import MOST_EXACT, Truth, filled, solved
from xai_exp.types import Labels, Readout, Scenes

DRAWS = 32
_SCENES_AT_ONCE = 4096


def conditional(
    model: nn.Module,
    scenes: Scenes,
    targets: Labels,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    value: Readout = ops.pick,
) -> Truth:
    """The truth of every object, with the others drawn anew, and its standard error.

    Cost: (2^k - 1) * draws + 1 forward passes for an image of k objects. `error` is the standard
    error that the draws leave in the Shapley values; effects and interactions are estimates too.
    Draws come from the image's own key, so an image gets the same numbers alone and in a batch.

    Args:
        model: the network; it is run in evaluation mode and left as it was.
        scenes: the images to explain, in objects.
        targets: the explained class.
        draws: of the other parts, for each set that is kept.
        seed: of these draws.
        value: what of the logits is explained: (logits, targets) -> a number an image.

    Raises:
        InputError: when the scenes can't be drawn anew, have more than 12 objects, or there are
            fewer than two draws.
    """
    if draws < 2:
        raise InputError(f"conditional truth: got {draws} draws; allowed: 2 or more")
    counts = scenes.present.sum(1)
    if len(counts) and int(counts.max()) > MOST_EXACT:
        raise InputError(
            f"conditional truth: got an image of {int(counts.max())} objects; allowed: at most "
            f"{MOST_EXACT}, since every subset is drawn {draws} times"
        )
    found = []
    with ops.evaluating(model), torch.no_grad():
        images = scenes.render()
        keys = ops.named_keys(ops.image_keys(images, seed), "conditional").tolist()
        quick = streamlined(model, images[:1])
        for row in range(len(scenes)):
            own = torch.Generator().manual_seed(keys[row] & (2**63 - 1))
            one = slice(row, row + 1)
            found.append(_one(quick, scenes[one], targets[one], draws, own, value))
    return filled(scenes.present, found)


def _one(
    model: nn.Module,
    scene: Scenes,
    target: Labels,
    draws: int,
    generator: torch.Generator,
    value: Readout,
) -> Truth:
    """The truth of one image, its parts being those that it has."""
    players = scene.present[0].nonzero()[:, 0]
    sets = subsets(len(players))
    keep = torch.zeros(len(sets), scene.present.shape[1], dtype=torch.bool)
    keep[:, players.cpu()] = sets
    some = keep[:-1].repeat_interleave(draws, 0)

    def asked(scenes: Scenes) -> Tensor:
        logits = ops.in_chunks(model, scenes.render()).double()
        return value(logits, target.expand(len(logits)))

    said = [
        asked(scene[torch.zeros(len(part), dtype=torch.long)].redrawn(part, generator))
        for part in some.split(_SCENES_AT_ONCE)
        if len(part)
    ]
    whole = asked(scene)
    drawn = torch.cat([*said, whole[:0]]).view(len(sets) - 1, draws)
    means = drawn.mean(1)
    spread = (drawn - means[:, None]).square().sum(1) / (draws - 1)
    values = torch.cat([means, whole])[None]
    noise = torch.cat([spread / draws, torch.zeros_like(whole)])[None]
    weights = shapley_weights(len(players))[0].to(values)
    return replace(solved(values), error=(noise @ weights.square().T).sqrt())
