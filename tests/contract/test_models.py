"""Every model's YAML composes, names all fields of its class, and trains on the data's shapes."""

from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.types import Architecture

CONF = Path(__file__).parents[2] / "conf"
OF_COLOURS = {"whitebox_weighted", "whitebox_xor"}
NAMES = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
ASKED = [name for name in NAMES if "???" in (CONF / "model" / f"{name}.yaml").read_text("utf-8")]
READY = [name for name in NAMES if name not in ASKED]  # whose defaults name all that is needed


@cache
def composed(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"model={name}"]).model
    OmegaConf.set_readonly(config, True)  # one composition serves all tests
    return config


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_names_every_field_so_that_each_can_be_overridden(name):
    config = composed(name)
    target = get_class(config._target_)
    assert {str(key) for key in config} - {"_target_"} == {field.name for field in fields(target)}


@pytest.mark.parametrize("name", READY)
def test_the_yaml_s_values_are_the_class_s_defaults(name):
    config = composed(name)
    kept = {} if name != "torchvision" else {"name": config.name}
    assert instantiate(config) == get_class(config._target_)(**kept)


@pytest.mark.parametrize("name", ASKED)
def test_the_yaml_asks_for_what_the_class_has_no_default_for(name):
    config = composed(name)
    for field in fields(get_class(config._target_)):
        if field.default is MISSING:
            assert OmegaConf.is_missing(config, field.name)
        else:
            assert config[field.name] == field.default


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize("channels", [1, 3])
def test_one_step_down_the_gradient_lowers_the_loss(name, channels):
    architecture = instantiate(composed(name))
    assert isinstance(architecture, Architecture)
    if channels == 1 and name in OF_COLOURS:
        with pytest.raises(InputError, match="got images of 1 channel; allowed: rgb images"):
            architecture.build(channels, (64, 64), 5)
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = architecture.build(channels, (64, 64), 5).eval()
        images, labels = torch.rand(4, channels, 64, 64), torch.tensor([0, 4, 2, 1])
    logits = network(images)
    assert logits.shape == (4, 5)
    if not logits.requires_grad:
        assert not any(p.requires_grad for p in network.parameters())  # built, not learnt
        return
    loss = functional.cross_entropy(logits, labels)
    loss.backward()
    learnt = [p for p in network.parameters() if p.grad is not None]
    length = sum(float(p.grad.square().sum()) for p in learnt)
    with torch.no_grad():
        for parameter in learnt:
            parameter -= 1e-3 * float(loss.detach()) / length * parameter.grad
        after = functional.cross_entropy(network(images), labels)
    # To first order the loss falls by a thousandth of itself.
    assert float(loss.detach() - after) == pytest.approx(1e-3 * float(loss.detach()), rel=0.2)
