"""The vision transformer against torch's own layers, and the sizes it fits."""

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.models.vit import Attention, ViT


def test_attention_equals_torchs():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours, theirs = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
        tokens = torch.randn(2, 5, 12)
    theirs.in_proj_weight.data = ours.queries_keys_values.weight
    theirs.in_proj_bias.data = ours.queries_keys_values.bias
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = ours.out.weight, ours.out.bias
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])


@pytest.mark.parametrize("pooling", ["mean", "class"])
@pytest.mark.parametrize(("patch", "tokens"), [(None, 6 * 4), (4, 3 * 2), (1, 12 * 8)])
def test_a_token_for_each_patch_and_one_of_its_own(pooling, patch, tokens):
    network = ViT(patch=patch, pooling=pooling, depth=1).build(2, (12, 8), 3)
    seen = []
    network.norm.register_forward_hook(lambda _, __, found: seen.append(found.shape[1]))
    assert network(torch.rand(2, 2, 12, 8)).shape == (2, 3)
    assert seen == [tokens + (pooling == "class")]


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_positions_tell_patches_apart(pooling):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ViT(patch=4, pooling=pooling).build(1, (8, 8), 3).eval()
        images = torch.rand(1, 1, 8, 8)
    swapped = images.roll(4, 3)
    assert not torch.allclose(network(images), network(swapped), atol=1e-5)
    nn.init.zeros_(network.positions)
    torch.testing.assert_close(network(images), network(swapped))


def test_a_patch_that_does_not_divide_the_image_is_refused():
    with pytest.raises(InputError, match=r"got patch 5 for images of 12x8 .* divides both"):
        ViT(patch=5).build(1, (12, 8), 3)
    with pytest.raises(InputError, match=r"ViT\.heads: got 3 for width 64; allowed: a divisor"):
        ViT(heads=3)
