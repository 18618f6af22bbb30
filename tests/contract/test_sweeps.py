"""Every sweep composes, says what it is, and proposes only what can be built."""

from functools import cache
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from xai_exp.sweeping.objectives import refuse_wrong_directions
from xai_exp.sweeping.plan import Plan
from xai_exp.sweeping.space import override, parse, suggest

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(
    str(path.relative_to(CONF / "sweep").with_suffix(""))
    for path in (CONF / "sweep").rglob("*.yaml")
)


@cache
def composed(*words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(words), return_hydra_config=True)
    OmegaConf.set_readonly(config, True)  # one composition serves all tests
    return config


def plan(config):
    keys = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    keys.pop("_target_")
    return Plan(study=config.study, **{**keys, "storage": "unused"})


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_with_its_command_time_and_expected_finding(name):
    head = (CONF / "sweep" / f"{name}.yaml").read_text().partition("defaults:")[0]
    assert f"#   python -m xai_exp sweep={name} " in head
    assert "2 cores: " in head
    assert "Expected" in head
    config = composed(f"sweep={name}")
    assert config.study == name.replace("/", "_")
    assert config.hydra.mode.name == "MULTIRUN"


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_in_the_direction_that_is_better(name):
    config = composed(f"sweep={name}")
    names = [config.objective] if isinstance(config.objective, str) else list(config.objective)
    assert len(plan(config).directions) == len(names)
    metrics = {key: instantiate(one) for key, one in config.metric.items()}
    refuse_wrong_directions(names, plan(config).directions, metrics)
    for objective in names:
        explainer, _, metric = objective.partition("/")
        assert not metric or (explainer in config.explainer and metric in config.metric)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_it_proposes_can_be_built(name):
    space = parse(plan(composed(f"sweep={name}")).space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(12):
        chosen = suggest(space, study.ask())
        words = [override(key, value) for key, value in chosen.items()]
        config = composed(f"sweep={name}", *words)
        instantiate(config.model).build(1, (32, 32), 2)
        assert all(callable(instantiate(one)) for one in config.explainer.values())
