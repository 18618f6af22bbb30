"""Scores of Quantus 0.6 on the same heatmaps, made by scripts/golden/from_quantus.py.

Where Quantus means the same, the numbers are equal; where it does not, or fails, a test says how.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from xai_exp.metrics import shared
from xai_exp.metrics.axioms import Completeness, NonSensitivity
from xai_exp.metrics.complexity import Complexity, EffectiveComplexity, Sparseness
from xai_exp.metrics.faithfulness import correlation, infidelity
from xai_exp.metrics.faithfulness.correlation import FaithfulnessCorrelation, FaithfulnessEstimate
from xai_exp.metrics.faithfulness.curves import Selectivity
from xai_exp.metrics.faithfulness.monotonicity import MonotonicityArya, MonotonicityNguyen
from xai_exp.metrics.faithfulness.removal import PixelFlipping, RegionPerturbation, removal_curve
from xai_exp.metrics.faithfulness.sufficiency import Sufficiency
from xai_exp.metrics.faithfulness.superpixels import IROF
from xai_exp.metrics.localisation.focus import share_on_target
from xai_exp.metrics.localisation.masks import PointingGame, RelevanceMass, RelevanceRank
from xai_exp.metrics.localisation.overlap import AUC, AttributionLocalisation, TopKIntersection
from xai_exp.removal.imputers import Constant, NoisyLinear
from xai_exp.types import Case

HERE = Path(__file__).parent
SCORES = json.loads((HERE / "quantus.json").read_text())["scores"]
ARRAYS = dict(np.load(HERE / "quantus.npz"))
NAMES = ["gradient", "epsilon", "positive"]
BLACK = Constant(value=0.0)
REGIONS = {"imputer": BLACK, "region": 4, "output": "logit"}


@pytest.fixture(scope="module")
def case_of(golden_network):
    """The golden network, images and one of the heatmaps, with the masks as the only part."""
    shared = dict(np.load(HERE / "innvestigate2_maxpool.npz"))
    network = golden_network(shared)

    def make(name, masks="masks"):
        return Case(
            model=network,
            images=torch.tensor(shared["x"]),
            targets=torch.tensor(shared["target"]).long(),
            heatmaps=torch.tensor(ARRAYS[f"heatmap/{name}"]),
            explain=lambda model, images, targets: images.sum(1),  # noqa: ARG005
            parts=torch.tensor(ARRAYS[masks])[:, None].float(),
            generator=torch.Generator().manual_seed(0),
        )

    return make


def falls(curves, order="morf"):
    """By how much the output has fallen at each step after the clean one."""
    return curves[order][:, :1] - curves[order][:, 1:]


EQUAL = {
    "pointing_game": PointingGame(),
    "relevance_mass_absolute": RelevanceMass(pooling="absolute"),
    "relevance_rank": RelevanceRank(),
    "top_k": TopKIntersection(k=20),
    "top_k_concept": TopKIntersection(k=20, lift=True),
    "auc": AUC(),
    "sparseness": Sparseness(),
    "complexity": Complexity(),
    "effective_complexity": EffectiveComplexity(imputer=BLACK, score_by="threshold", threshold=0.1),
    "pixel_flipping": lambda case: PixelFlipping(imputer=BLACK, steps=16, output="logit").curves(
        case
    )["morf"][:, 1:],
    "pixel_flipping_softmax": lambda case: PixelFlipping(imputer=BLACK, steps=16).curves(case)[
        "morf"
    ][:, 1:],
    "region_perturbation": lambda case: falls(RegionPerturbation(**REGIONS).curves(case)),
    "region_perturbation_lerf": lambda case: falls(
        RegionPerturbation(**REGIONS, score_by="area").curves(case), "lerf"
    ),
    "selectivity": lambda case: Selectivity(**REGIONS).curves(case)["morf"][:, 1:],
    "faithfulness_estimate": FaithfulnessEstimate(imputer=BLACK, groups=64),
    "monotonicity_correlation": MonotonicityNguyen(imputer=BLACK, groups=64),
    # Quantus' threshold is absolute, ours a share of the logit: no logit of these moves by what is
    # between the two, 1e-6 and 3e-5.
    "non_sensitivity": lambda case: (
        256 * NonSensitivity(imputer=BLACK, region=1, tolerance=1e-6)(case)
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("measure", EQUAL)
def test_the_same_definition_gives_quantus_number(case_of, measure, name):
    ours = EQUAL[measure](case_of(name)).numpy()
    np.testing.assert_allclose(ours, SCORES[measure][name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_attribution_localisation_is_quantus_where_anything_is_positive(case_of, name):
    ours = AttributionLocalisation()(case_of(name, masks="boxes")).numpy()
    theirs = np.array(SCORES["attribution_localisation"][name])
    positive = ARRAYS[f"heatmap/{name}"].max((1, 2)) > 0
    assert positive.sum() >= 4
    np.testing.assert_allclose(ours[positive], theirs[positive], rtol=1e-5, atol=1e-5)
    assert np.isnan(ours[~positive]).all()
    assert (theirs[~positive] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_focus_is_quantus_on_the_same_mosaics(case_of, name):
    places = torch.tensor([(1, 1, 0, 0), (0, 1, 0, 1), (1, 0, 0, 1)] * 2, dtype=torch.bool)
    ours = share_on_target(case_of(name).heatmaps, places).numpy()
    np.testing.assert_allclose(ours, SCORES["focus"][name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_faithfulness_correlation_is_quantus_within_the_error_of_its_samples(case_of, name):
    samples = 2000
    ours = FaithfulnessCorrelation(imputer=BLACK, sets=samples, size=32)(case_of(name)).numpy()
    theirs = np.array(SCORES["faithfulness_correlation"][name])
    error = (1 - theirs**2) * (2 / samples) ** 0.5
    assert (np.abs(ours - theirs) < 4 * error).all()
    assert np.abs(theirs).max() > 10 * error.min()


@pytest.mark.parametrize("name", NAMES)
def test_infidelity_is_quantus_whose_patches_add_up(case_of, name):
    """Quantus never puts a patch back, so its perturbations are ever larger parts of the image."""
    case = case_of(name)
    blocks = torch.arange(16).view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
    gone = blocks <= torch.arange(16)[:, None, None]
    foretold = correlation.sums(case.heatmaps * case.images[:, 0], gone)
    lost = correlation.set_falls(case, BLACK, gone, "logit", 1)
    ours = infidelity.error(foretold, lost, "none").numpy()
    np.testing.assert_allclose(ours, SCORES["infidelity"][name], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_irof_is_quantus_without_step_0_and_not_divided_by_the_segments(case_of, name):
    """On cells, and with numpy.trapz put back: as it is, Quantus 0.6 crashes on numpy 2.4."""
    case = case_of(name)
    steps = IROF(imputer=BLACK, cut="grid", count=16).curves(case)["morf"][:, 1:].double()
    ours = 16 - torch.trapezoid(steps).numpy()
    np.testing.assert_allclose(ours, SCORES["irof_grid"][name], rtol=1e-5)
    assert SCORES["irof"][name] == ["AttributeError: module 'numpy' has no attribute 'trapz'"] * 6


@pytest.mark.parametrize("name", NAMES)
def test_sufficiency_is_quantus_whose_threshold_is_a_share_of_the_largest_distance(case_of, name):
    case = case_of(name)
    scaled = case.heatmaps.flatten(1).double()
    scaled = scaled / scaled.std(0)
    threshold = 0.9 * torch.cdist(scaled, scaled).max().item()
    ours = Sufficiency(imputer=BLACK, applies_if="close", threshold=threshold)(case)
    theirs = SCORES["sufficiency"][name]
    np.testing.assert_allclose(ours.nan_to_num(0).numpy(), theirs, rtol=1e-5, atol=1e-5)
    assert ours.isfinite().any()


# Where Quantus means something else, or fails.


def test_quantus_relevance_mass_of_signed_heatmaps_has_no_bounds():
    assert max(SCORES["relevance_mass"]["gradient"]) > 9


def test_quantus_pointing_game_counts_an_empty_mask_as_a_hit_and_cannot_be_weighted(case_of):
    case = case_of("gradient")
    case.parts.zero_()
    assert SCORES["pointing_game_empty"]["gradient"] == [1.0] * 6
    assert PointingGame()(case).isnan().all()
    assert SCORES["pointing_game_weighted"]["gradient"][0].startswith("TypeError: NumPy boolean")


@pytest.mark.parametrize("name", NAMES)
def test_quantus_weighs_attribution_localisation_by_the_batch_and_the_wrong_way(case_of, name):
    """It multiplies by S_in / S_tot where the paper divides, S_tot being pixels x (batch - 2)."""
    size = torch.tensor(ARRAYS["boxes"]).sum((1, 2)).numpy()
    plain = AttributionLocalisation()(case_of(name, masks="boxes")).nan_to_num(0).numpy()
    mask = AttributionLocalisation(within="mask")(case_of(name)).nan_to_num(0).numpy()
    inside = torch.tensor(ARRAYS["masks"]).sum((1, 2)).numpy()
    theirs = np.array(SCORES["attribution_localisation_batch"][name])
    np.testing.assert_allclose(theirs, mask * inside / (256 * 4), rtol=1e-5, atol=1e-8)
    weighted = AttributionLocalisation(weighted=True)(case_of(name, masks="boxes"))
    np.testing.assert_allclose(weighted.nan_to_num(0).numpy(), plain * 256 / size, rtol=1e-5)
    assert not np.isfinite(SCORES["attribution_localisation_weighted"][name]).any()


def test_quantus_normalises_by_the_largest_relevance_of_all_images_in_a_call():
    """Image i times i in one call; a factor changes nothing where an image is given alone."""
    alone, beside = (
        SCORES[measure]["epsilon"]
        for measure in ("effective_complexity", "effective_complexity_scaled")
    )
    assert alone != beside


def test_quantus_monotonicity_inserts_nothing_and_so_holds_for_every_heatmap(case_of):
    """It replaces pixels of the empty image by the empty image's value; the output stays."""
    for name in NAMES:
        assert SCORES["monotonicity"][name] == [1.0] * 6
        ours = MonotonicityArya(imputer=BLACK, score_by="all", steps=16)(case_of(name))
        assert (ours == 0).all()


def test_quantus_sensitivity_n_has_a_score_a_step_not_an_image():
    for name in NAMES:
        assert len(SCORES["sensitivity_n"][name]) == int(0.8 * 256 // 16) == 12


@pytest.mark.parametrize("name", NAMES)
def test_road_without_noise_is_quantus_at_every_share_of_every_image(case_of, name):
    case = case_of(name)
    counts = torch.tensor([0, *(int(256 * share / 100) for share in (10, 30, 50, 70, 90))])
    imputer = NoisyLinear(noise=0.0, tolerance=1e-6)
    ours = removal_curve(case, imputer, shared.places(case), counts, "correct", 1)[:, 1:]
    theirs = [list(scores.values()) for scores in SCORES["road"][name]]
    np.testing.assert_array_equal(ours.numpy(), theirs)
    assert 0 < ours.mean() < 1


def test_quantus_road_has_one_score_for_the_first_batch_and_forgets_the_others():
    for name in NAMES:
        single = [list(scores.values()) for scores in SCORES["road"][name]]
        whole, first = SCORES["road_batch"][name], SCORES["road_batch_of_three"][name]
        np.testing.assert_allclose(list(whole.values()), np.mean(single, 0), atol=1e-8)
        np.testing.assert_allclose(list(first.values()), np.mean(single[:3], 0), atol=1e-8)
        assert whole != first


def test_quantus_completeness_asks_for_equal_bits_and_its_default_divides_the_sum_away(case_of):
    """Exactly the sum passes; normalised, which is the default, it fails as any other heatmap."""
    case = case_of("gradient")
    case.heatmaps.zero_()
    logits = case.model(torch.cat([case.images, torch.zeros_like(case.images)])).detach()
    differences = (logits[:6] - logits[6:])[range(6), case.targets]
    case.heatmaps[:, 0, 0] = differences
    assert torch.allclose(Completeness()(case), torch.zeros(6), atol=1e-5)
    assert SCORES["completeness_of_the_exact_sum"]["gradient"] == [1.0] * 6
    assert SCORES["completeness_of_the_exact_sum_normalised"]["gradient"] == [0.0] * 6
    assert all(SCORES["completeness"][name] == [0.0] * 6 for name in NAMES)
