"""Every experiment composes, says what it is, and claims only what it scores."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from xai_exp import build
from xai_exp.verdicts import claims

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SIZES = sorted(path.stem for path in (CONF / "size").glob("*.yaml"))


@cache
def composed(*words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(words), return_hydra_config=True)
    OmegaConf.set_readonly(config, True)  # one composition serves all tests
    return config


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_with_its_command_time_and_expected_finding(name):
    head = (CONF / "experiment" / f"{name}.yaml").read_text().partition("defaults:")[0]
    assert f"#   python -m xai_exp experiment={name}\n" in head
    assert "2 cores: " in head
    assert "Expected" in head
    assert composed(f"experiment={name}").study == name


@pytest.mark.parametrize("name", NAMES)
def test_its_claims_are_about_what_it_scores(name):
    config = composed(f"experiment={name}")
    for callback in config.hydra.callbacks.values():
        for fields in OmegaConf.to_container(callback).get("claims", []):
            claim = claims.made(fields)
            assert claim.text
            for key in ("better", "worse", "explainer"):
                assert fields.get(key, next(iter(config.explainer))) in config.explainer
            assert set(fields.get("metrics", ())) <= set(config.metric)
        named = [
            *callback.get("truths", ()),
            *(m for pair in callback.get("pairs", ()) for m in pair),
        ]
        assert set(named) <= set(config.metric)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_it_comes_in_every_size(name, size):
    config = composed(f"experiment={name}", f"size={size}")
    wanted = {"brief": "0,1,2", "full": "0,1,2,3,4,5,6,7,8,9", "tiny": "0"}[size]
    assert str(config.hydra.sweeper.params.seed) == wanted
    own = composed(f"experiment={name}").trainer.samples
    assert config.trainer.samples == {"brief": own, "full": 200000, "tiny": 4000}[size]
    assert config.trainer.epoch_samples == (4000 if size == "tiny" else None)


@pytest.mark.parametrize("name", NAMES)
def test_other_explainers_and_metrics_take_the_place_of_its_own(name):
    config = composed(f"experiment={name}", "explainer=[gradient,lrp]", "metric=sparseness")
    assert list(config.explainer) == ["gradient", "lrp"]
    assert list(config.metric) == ["sparseness"]
    assert all("_target_" in one for one in (*config.explainer.values(), *config.metric.values()))


@pytest.mark.parametrize("name", NAMES)
def test_every_choice_that_it_sweeps_over_composes(name):
    few = ("explainer=gradient", "metric=sparseness")
    params = composed(f"experiment={name}", *few).hydra.sweeper.params or {}
    for group in {"dataset", "model"} & set(params):
        for choice in params[group].split(","):
            assert composed(f"experiment={name}", *few, f"{group}={choice}")[group]["_target_"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "mechanism").glob("*.yaml")))
def test_a_mechanism_is_a_white_box_on_data_that_it_fits(name):
    config = composed("experiment=white_boxes", f"mechanism={name}", "dataset.count=400")
    built = build.experiment(config)
    data = built.dataset
    network = built.architecture.build(data.channels, data.size, len(data.classes)).eval()
    with torch.no_grad():
        said = network(data.test.images(torch.arange(40))).argmax(1)
    right = said == data.test.labels[:40]
    # What only looks at the tag knows the larger half from the smaller.
    assert right.all() if name != "tag" else right.float().mean() > 1 / len(data.classes)
    assert name in config.hydra.sweeper.params.mechanism.split(",")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "tracking", sorted(path.stem for path in (CONF / "tracking").glob("*.yaml"))
)
def test_it_can_be_tracked_by_anything(name, tracking):
    config = composed(f"experiment={name}", f"tracking={tracking}")
    assert build._made(config, "tracking") is not None
