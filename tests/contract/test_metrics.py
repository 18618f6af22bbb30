"""Every YAML in conf/metric and conf/imputer is composed, instantiated and run; found by itself."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from xai_exp import ops
from xai_exp.types import CurveMetric, Imputer, Metric, Scenes

CONF = Path(__file__).parents[2] / "conf"
METRICS = sorted(path.stem for path in (CONF / "metric").glob("*.yaml"))
IMPUTERS = sorted(path.stem for path in (CONF / "imputer").glob("*.yaml"))
OTHERS = ["dataset", "model", "trainer", "explainer", "tracking"]


class FakeScenes(Scenes):
    """Scenes with one part on a grey background."""

    divisions = part_names = ("objects",)

    @property
    def present(self):
        return torch.ones(6, 1, dtype=torch.bool)

    def render(self, keep=None):  # noqa: ARG002
        return torch.full((6, 2, 12, 12), 0.3)


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base=None):
        return compose("config", [*(f"~{group}" for group in OTHERS), *overrides])


@pytest.fixture
def case(make_case):
    parts = torch.zeros(6, 2, 12, 12)
    parts[:, 0, 3:9, 3:9] = 1
    return make_case(parts=parts, scenes=FakeScenes())


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
        assert scores.isfinite().all()
        if hasattr(metric, "curves"):
            assert isinstance(metric, CurveMetric)
            assert torch.equal(metric.score(metric.curves(case)), scores)


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
    assert steps.shape == (18, 2, 12, 12)
    assert torch.equal(steps[::3], case.images)
    assert not torch.equal(steps[1::3], case.images)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_docstring_with_its_direction_and_cost(name):
    config = composed(f"metric={name}").metric
    for key in config:
        text = type(instantiate(config[key], _convert_="all")).__doc__
        assert any(word in text for word in ("HIGHER", "LOWER"))
        assert "Cost" in text
