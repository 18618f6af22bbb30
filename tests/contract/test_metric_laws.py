"""Laws that every metric is put through, found in conf/metric by itself.

The network is known: each class has a channel, and its logit is the sum of what is brighter there
than the background, which the imputer knows. So the exact heatmap of a target is known, its
opposite is the worst one, and noise is worth nothing.
"""

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from xai_exp.types import Case

CONF = Path(__file__).parents[2] / "conf"
OTHERS = ["dataset", "model", "trainer", "explainer", "tracking"]
BACKGROUND, BRIGHT, COUNT, SIDE, CLASSES = 0.3, 0.9, 12, 16, 3


@cache
def composed(*names):
    constant = ["imputer=constant", f"imputer.value={BACKGROUND}"]
    with initialize_config_dir(str(CONF), version_base=None):
        absent = [f"~{group}" for group in OTHERS]
        config = compose("config", [*absent, *constant, f"metric=[{','.join(names)}]"]).metric
    OmegaConf.set_readonly(config, True)  # one composition serves all tests
    return config


def members(preset):
    listed = OmegaConf.load(CONF / "metric" / f"{preset}.yaml").defaults
    return {name for name in listed if name != "_self_"}


FAITHFUL, LOCAL = members("faithfulness"), members("localisation")
RENDERED = (
    members("truth") | members("funny_birds") | {"scene_equivariance"}
)  # they need scenes; see test_metrics.py
ALL = {
    path.stem for path in (CONF / "metric").glob("*.yaml") if "defaults" not in OmegaConf.load(path)
} - RENDERED

# What is not expected to prefer the exact map to noise and noise to its opposite, and why.
NO_ORDER = {
    "average_gain": "this network is never surer of a darker image",
    "average_increase": "this network is never surer of a darker image",
    "monotonicity_arya": "pixels against the target come first and lower the output, a fault to it",
    "sufficiency": "this network keeps its class with any tenth of the pixels",
    "monotonicity_nguyen": "takes magnitudes: the opposite is as good as the exact map",
}
ORDERED = sorted((FAITHFUL | LOCAL) - set(NO_ORDER))
SCALED = {"completeness"}  # measures the heatmap's own amount
TIED = sorted(set(ORDERED) - {"faithfulness_correlation", "infidelity", "focus", "sensitivity_n"})
NO_LUCK = {  # of equal pixels and regions, by definition or since the regions are as equal
    "average_drop": "a constant heatmap has no score",
    "attribution_localisation": "a sum",
    "relevance_mass": "a sum",
    "earth_mover": "a sum",
    "auc": "ties count half",
    "faithfulness_estimate": "a correlation, undefined without differences",
}


class Sums(nn.Module):
    """The logit of a class: a tenth of what its channel has beyond the background."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(CLASSES, CLASSES, SIDE, bias=True)
        self.layer.weight.data = 0.1 * torch.eye(CLASSES)[..., None, None].expand(
            -1, -1, SIDE, SIDE
        )
        self.layer.bias.data = torch.full((CLASSES,), -0.1 * BACKGROUND * SIDE**2)

    def forward(self, images):
        return self.layer(images).flatten(1)


@pytest.fixture(scope="module")
def case():
    source = torch.Generator().manual_seed(11)
    targets = torch.arange(COUNT) % CLASSES
    parts = torch.zeros(COUNT, 1, SIDE, SIDE)
    for part in parts[:, 0]:
        row, column = torch.randint(1, SIDE - 6, (2,), generator=source)
        part[row : row + 5, column : column + 5] = 1
    images = BACKGROUND + 0.01 * torch.randn(COUNT, CLASSES, SIDE, SIDE, generator=source)
    level = BRIGHT + 0.05 * torch.randn(COUNT, SIDE, SIDE, generator=source)
    rows = torch.arange(COUNT)
    images[rows, targets] = torch.where(parts[:, 0] > 0, level, images[rows, targets])
    model = Sums().eval()
    return Case(
        model=model,
        images=images,
        targets=targets,
        heatmaps=exact(model, images, targets),
        explain=exact,
        parts=parts,
        generator=torch.Generator().manual_seed(0),
    )


def exact(model, images, targets):
    """What each pixel adds to the target's logit over the background."""
    weights = model.layer.weight[targets]  # (batch, channel, height, width)
    return (weights * (images - BACKGROUND)).sum(1).detach()


def noise_like(maps, seed=5):
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(seed))
    return noise * maps.flatten(1).std(1)[:, None, None] / noise.flatten(1).std(1)[:, None, None]


def with_maps(case, change):
    """The case with other heatmaps, also of images that a metric explains again."""
    return replace(
        case,
        heatmaps=change(case.heatmaps),
        explain=lambda model, images, targets: change(exact(model, images, targets)),
    )


def goodness(metric, case):
    """The mean score, its sign so that more is better."""
    scores = metric(case)
    assert scores.isfinite().any()
    return scores.nanmean().item() * (1 if metric.higher_is_better else -1)


@pytest.fixture(scope="module")
def metrics():
    config = composed(*sorted(ALL))
    return {name: instantiate(config[name], _convert_="all") for name in config}


@pytest.mark.parametrize("name", ORDERED)
def test_the_exact_map_beats_noise_and_noise_beats_the_opposite(case, metrics, name):
    metric = metrics[name]
    best = goodness(metric, case)
    noise = goodness(metric, with_maps(case, noise_like))
    worst = goodness(metric, with_maps(case, torch.neg))
    assert best > noise > worst


@pytest.mark.parametrize("name", ORDERED)
def test_noise_mixed_in_step_by_step_lowers_the_score(case, metrics, name):
    def mixed(share):
        return lambda maps: (1 - share) * maps + share * noise_like(maps)

    scores = [goodness(metrics[name], with_maps(case, mixed(share))) for share in (0, 0.5, 0.8, 1)]
    slack = 1e-4 * (abs(scores[0]) + abs(scores[-1]))
    assert all(first >= second - slack for first, second in pairwise(scores))
    assert scores[0] > scores[-1] + slack


@pytest.mark.parametrize("name", ["average_gain", "average_increase"])
def test_nothing_is_gained_by_shading_an_image_of_this_network(case, metrics, name):
    for change in (torch.Tensor.clone, noise_like, torch.neg):
        assert (metrics[name](with_maps(case, change)).nan_to_num() == 0).all()


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_positive_factor_changes_nothing_unless_the_amount_is_measured(case, metrics, name):
    metric = metrics[name]
    once, eightfold = metric(case), metric(with_maps(case, lambda maps: 8 * maps))
    same = torch.allclose(once, eightfold, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert same is (name not in SCALED)


@pytest.mark.parametrize("name", sorted(set(TIED) - set(NO_LUCK)))
def test_ties_are_broken_by_the_seed_and_never_by_position(case, metrics, name):
    """Objects above or below make no difference to a map without differences; the seed does."""
    top = case.parts[:, 0].any(2).int().argmax(1)
    rows = (torch.arange(SIDE) + top[:, None]) % SIDE  # every object moved to the upper border
    index = rows[:, None, :, None]
    above = replace(
        case,
        images=case.images.gather(2, index.expand_as(case.images)),
        parts=case.parts.gather(2, index.expand_as(case.parts)),
        heatmaps=torch.ones_like(case.heatmaps),
    )
    below = replace(above, images=above.images.flip(2), parts=above.parts.flip(2))

    def drawn(of, seed):
        return metrics[name](replace(of, generator=torch.Generator().manual_seed(seed)))

    seeds = range(24 if name == "pointing_game" else 4)  # one pixel an image is much luck
    first, second = (torch.stack([drawn(of, seed) for seed in seeds]) for of in (above, below))
    assert torch.equal(first[0], drawn(above, 0))
    # Shares of few hits are often alike by chance.
    assert any(not torch.equal(first[0], drawn(above, seed)) for seed in range(1, 21))
    true = above.parts[:, 0]
    ends = [goodness(metrics[name], replace(above, heatmaps=maps)) for maps in (true, -true)]
    apart = (first.nanmean() - second.nanmean()).abs()
    assert apart < 0.15 * abs(ends[0] - ends[1])


# Traps in other libraries.


@pytest.mark.parametrize("name", sorted(LOCAL))
def test_a_share_of_signed_relevance_stays_within_its_bounds(case, metrics, name):
    """Quantus' relevance mass does not clip negatives and so has no bounds."""
    scores = metrics[name](with_maps(case, noise_like))
    assert ((scores >= 0) & (scores <= 1) | scores.isnan()).all()


@pytest.mark.parametrize("name", sorted(LOCAL - {"focus"}))
def test_an_empty_mask_is_no_hit_but_undefined(case, metrics, name):
    assert metrics[name](replace(case, parts=torch.zeros_like(case.parts))).isnan().all()


@pytest.mark.parametrize("name", sorted((FAITHFUL | LOCAL) - {"focus"}))
def test_an_image_has_the_same_score_alone_and_in_a_batch(case, metrics, name):
    """Quantus' attribution localisation takes a size along the batch, its ROAD keeps one batch."""
    tensors = {
        name: getattr(case, name)[4:5] for name in ("images", "targets", "heatmaps", "parts")
    }
    alone = metrics[name](replace(case, **tensors))
    assert torch.allclose(alone, metrics[name](case)[4:5], rtol=1e-4, atol=1e-4, equal_nan=True)


def test_completeness_keeps_the_amount_by_default(case, metrics):
    """Quantus normalises by default, which destroys the sum."""
    black = replace(metrics["completeness"], baseline=BACKGROUND)
    assert (black(case) < 1e-4).all()
    assert (black(with_maps(case, lambda maps: 2 * maps)) > 1).all()


def test_defaults_are_made_for_images_and_classes_of_any_number(case, metrics):
    """Quantus marks 1000 pixels of 1024 and draws from 1000 classes."""
    k = metrics["top_k_intersection"].k
    assert k is None or k <= case.heatmaps[0].numel() / 2
    assert metrics["random_logit"](case).isfinite().all()


def test_the_default_ground_is_no_colour_that_an_object_may_have():
    """Black as a baseline may be the object."""
    with initialize_config_dir(str(CONF), version_base=None):
        default = compose("config", [f"~{group}" for group in OTHERS]).imputer
    assert instantiate(default).random


def test_region_perturbation_counts_the_clean_image_and_takes_the_logit(case, metrics):
    curves = metrics["region_perturbation"].curves(case)["morf"]
    clean = case.model(case.images)[range(COUNT), case.targets].detach()
    assert torch.allclose(curves[:, 0], clean, atol=1e-4)


def test_infidelity_asks_for_more_than_a_small_norm(case, metrics):
    """Without the best scale a heatmap of nothing can beat a right one of another scale."""
    right, tiny = (
        goodness(metrics["infidelity"], with_maps(case, change))
        for change in (lambda m: 100 * m, lambda m: 1e-3 * noise_like(m))
    )
    assert right > tiny


@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_an_area_is_each_images_own(case, metrics, name):
    """Xplique averages over images before it takes the area."""
    curves = metrics[name].curves(case)
    curve = next(values for kind, values in curves.items() if kind != "x")
    assert torch.allclose(metrics[name](case), torch.trapezoid(curve, curves["x"]))


# Half precision is an option.


@pytest.mark.parametrize("name", ["pixel_flipping", "deletion", "insertion", "abpc", "irof"])
def test_bfloat16_moves_a_probability_score_by_less_than_a_thousandth(case, metrics, name):
    noisy = with_maps(case, lambda maps: maps + 0.3 * noise_like(maps))
    exactly = metrics[name](noisy)
    seen = []
    hook = case.model.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    half = metrics[name](replace(noisy, precision="bfloat16"))
    hook.remove()
    assert torch.bfloat16 in seen
    assert half.dtype == torch.float32
    assert not torch.equal(half, exactly)
    assert (half.mean() - exactly.mean()).abs() < 1e-3
