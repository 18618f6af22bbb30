"""Every YAML in conf/metric and conf/imputer is composed, instantiated and run; found by itself."""

from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from xai_exp.compute import ops
from xai_exp.data.scenes.scene import Scene
from xai_exp.types import CurveMetric, Imputer, Metric

CONF = Path(__file__).parents[2] / "conf"
METRICS = sorted(path.stem for path in (CONF / "metric").glob("*.yaml"))
STUDIES = sorted(f"study/{path.stem}" for path in (CONF / "metric" / "study").glob("*.yaml"))
IMPUTERS = sorted(path.stem for path in (CONF / "imputer").glob("*.yaml"))
OTHERS = ["dataset", "model", "trainer", "explainer", "tracking"]


def scenes():
    """A polygon and a planted tag on a grey background in every scene."""
    return Scene(
        sides=torch.tensor([[3, 4], [4, 4]] * 3),
        centres=torch.tensor([[[7.0, 7.0], [2.0, 2.0]]]).repeat(6, 1, 1),
        radii=torch.tensor([[2.5, 0.8]]).repeat(6, 1),
        angles=torch.linspace(0, 1, 12).view(6, 2),
        levels=torch.linspace(0.5, 1, 12).view(6, 2),
        background=torch.linspace(0, 0.3, 6),
        size=(12, 12),
        tagged=True,
    )


@cache
def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("config", [*(f"~{group}" for group in OTHERS), *overrides])
    OmegaConf.set_readonly(config, True)  # one composition serves all tests
    return config


@pytest.fixture
def case(make_case):
    made = scenes()
    noise = 0.1 * torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(4))
    made_case = make_case(images=made.render() + noise, parts=made.parts(), scenes=made)
    weights = made_case.model[-1].weight.data
    weights[1] = -weights[0]  # what speaks against one class speaks for the other
    keeps = (torch.tensor(keep).expand(6, 2) for keep in ([1, 1], [0, 1], [1, 0], [0, 0]))
    with torch.no_grad():
        both, tag, polygon, nothing = (made_case.model(made.render(k.bool())) for k in keeps)
    worth = both - tag + polygon - nothing
    return replace(made_case, targets=worth.argmax(1))  # the class that the polygon speaks for


@pytest.mark.parametrize("name", STUDIES)
def test_the_metrics_of_a_study_score_each_image(case, name):
    for key, config in composed(f"metric={name}").metric.items():
        metric = instantiate(config, _convert_="all")
        scores = metric(case)
        assert scores.shape == (6,)
        # Regions of 16 pixels leave no order on 12.
        known = scores.isfinite().any() or undefined_here(metric)
        assert known or "one region" in metric.undefined, key


def undefined_here(metric):
    """What does not happen in every image here: a part that is ignored, a sum of noise ..."""
    words = (
        *("certainly ignored", "sum is not what", "have no cues"),
        *("says another class", "no part is irrelevant", "no two parts speak"),
    )
    return any(some in metric.undefined for some in words)


@pytest.mark.parametrize("name", METRICS)
def test_every_choice_of_metric_scores_each_image(case, name):
    config = composed(f"metric={name}").metric
    assert config
    for key in config:
        metric = instantiate(config[key], _convert_="all")
        assert isinstance(metric, Metric)
        assert isinstance(metric.higher_is_better, bool)
        assert isinstance(metric.needs, frozenset)
        assert metric.needs <= {"parts", "scenes"}
        assert metric.undefined
        scores = metric(case)
        assert scores.shape == (6,)
        assert scores.isfinite().all() or undefined_here(metric)
        if hasattr(metric, "curves"):
            assert isinstance(metric, CurveMetric)
            assert torch.equal(metric.score(metric.curves(case)), scores)


@pytest.mark.parametrize("name", METRICS)
def test_a_heatmap_that_is_not_finite_has_no_score_and_spoils_no_other(case, name):
    heatmaps = case.heatmaps.clone()
    heatmaps[1, 0, 0], heatmaps[4, 7, 5] = torch.nan, torch.inf
    config = composed(f"metric={name}").metric
    for key in list(config)[:1]:  # presets name what has its own choice
        metric = instantiate(config[key], _convert_="all")
        if undefined_here(metric):
            pytest.skip("undefined for this network and these heatmaps")
        scores = metric(replace(case, heatmaps=heatmaps))
        assert scores.isnan().nonzero().flatten().tolist() == [1, 4], key


@pytest.mark.parametrize("name", METRICS)
def test_the_yaml_says_what_it_is_and_lists_every_field(name):
    text = (CONF / "metric" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    config = composed(f"metric={name}").metric
    if "defaults:" in text:
        return
    assert list(config) == [name]
    names = {field.name for field in fields(instantiate(config[name], _convert_="all"))}
    assert set(config[name]) == names | {"_target_"}


@pytest.mark.parametrize("name", IMPUTERS)
def test_every_choice_of_imputer_removes_pixels_and_reaches_the_metrics(case, name):
    config = composed(f"imputer={name}", "metric=pixel_flipping")
    imputer = instantiate(config.imputer, _convert_="all")
    assert isinstance(imputer, Imputer)
    assert isinstance(imputer.random, bool)
    assert instantiate(config.metric.pixel_flipping).imputer == imputer
    masks = torch.zeros(6, 3, 12, 12, dtype=torch.bool)
    masks[:, 1:] = True
    steps = imputer(case.images, case.scenes, ops.image_keys(case.images))(slice(None), masks)
    assert steps.shape == (18, 1, 12, 12)
    assert torch.equal(steps[::3], case.images)
    assert not torch.equal(steps[1::3], case.images)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_docstring_with_its_direction_and_cost(name):
    config = composed(f"metric={name}").metric
    for key in config:
        text = type(instantiate(config[key], _convert_="all")).__doc__
        assert any(word in text for word in ("HIGHER", "LOWER"))
        assert "Cost" in text
