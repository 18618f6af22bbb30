"""Every YAML in conf/explainer is composed, instantiated and run; a new one is found by itself."""

import sys
import warnings
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from xai_exp.config import InputError
from xai_exp.data.scenes.scene import Scene
from xai_exp.explainers.cost import Cost
from xai_exp.models.vit import ViT
from xai_exp.types import Explainer

CONF = Path(__file__).parents[2] / "conf"
EXPLAINERS = sorted(path.stem for path in (CONF / "explainer").glob("*.yaml"))
NESTED = sorted(f"{path.parent.name}/{path.stem}" for path in (CONF / "explainer").glob("*/*.yaml"))
BRIDGES = [name for name in NESTED if name.startswith("bridge/")]
# Those of studies are presets, bridges have names of their own.
VARIANTS = [name for name in NESTED if not name.startswith(("study/", "bridge/"))]
OTHERS = ["dataset", "model", "trainer", "metric", "tracking"]


@cache
def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("config", [*(f"~{group}" for group in OTHERS), *overrides])
    OmegaConf.set_readonly(config, True)  # one composition serves all tests
    return config


def is_preset(name):
    return "defaults:" in (CONF / "explainer" / f"{name}.yaml").read_text()


def bound(explainer, case, folder):
    """An explainer with all that it needs."""
    if getattr(explainer, "requires", "") == "a file":
        np.save(folder / "maps.npy", torch.rand(len(case), 12, 12).numpy())
        explainer = replace(explainer, path=str(folder / "maps.npy"))
        return explainer.for_images(case.images, torch.arange(len(case)), None)
    if hasattr(explainer, "with_parts"):
        return explainer.with_parts(case.images, torch.rand(len(case), 2, 12, 12))
    if getattr(explainer, "requires", "") == "scenes":
        return explainer.with_scenes(case.images, case.scenes)
    if hasattr(explainer, "fit"):
        return explainer.fit(case.model, case.images)
    return explainer


def suited(make_case, explainer):
    """A case with what the explainer requires of a network, as its attribute `requires` says."""
    requires = getattr(explainer, "requires", "")
    if requires == "positive logits":
        case = make_case()
        case.model[-1].bias.data += 10
        return case
    if requires == "maps for the target":
        case = make_case()
        case.model[-1].weight.data.abs_()
        return case
    if requires == "attention":
        with torch.random.fork_rng():
            torch.manual_seed(5)
            vit = ViT(patch=4, depth=2, width=16, heads=2).build(2, (12, 12), 3)
        return make_case(model=vit.eval())
    if requires == "scenes":
        made = Scene(
            sides=torch.ones(6, 2, dtype=torch.long),
            centres=torch.tensor([[[3.0, 3.0], [8.5, 8.0]]]).repeat(6, 1, 1),
            radii=torch.full((6, 2), 2.0),
            angles=torch.zeros(6, 2),
            levels=torch.linspace(0.5, 1, 12).view(6, 2),
            background=torch.linspace(0.1, 0.3, 6),
            size=(12, 12),
        )
        return make_case(images=made.render(), scenes=made)
    assert requires in ("", "a file")
    return make_case()


def library_of(explainer):
    """The library that a bridge hands to; None for an explainer of ours."""
    return getattr(sys.modules[type(explainer).__module__], "LIBRARY", None)


@pytest.mark.parametrize("name", [*EXPLAINERS, *NESTED])
def test_every_choice_of_explainer_gives_a_heatmap_an_image(make_case, name, tmp_path):
    config = composed(f"explainer={name}").explainer
    assert config
    for key in config:
        explainer = instantiate(config[key], _convert_="all")
        if library := library_of(explainer):
            warnings.simplefilter("ignore")  # what a library warns of is its own
            if not library.installed:
                pytest.skip(f"{library.package} is not installed")
        case = suited(make_case, explainer)
        before = [value.clone() for value in (case.images, *case.model.state_dict().values())]
        assert isinstance(explainer, Explainer)
        assert isinstance(explainer.cost, Cost)
        explain = bound(explainer, case, tmp_path)
        maps = explain(case.model, case.images, case.targets)
        assert maps.shape == (6, 12, 12)
        assert maps.dtype == torch.float32
        assert maps.isfinite().all()
        assert maps.abs().amax((1, 2)).min() > 0
        if key != "constant":
            assert maps.flatten(1).std(1).min() > 0
        assert torch.equal(explain(case.model, case.images, case.targets), maps)
        after = (case.images, *case.model.state_dict().values())
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if not is_preset(name)])
def test_the_yaml_says_what_it_is_and_lists_every_field(name):
    text = (CONF / "explainer" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    config = composed(f"explainer={name}").explainer
    assert list(config) == [name]
    explainer = instantiate(config[name], _convert_="all")
    assert set(config[name]) == {field.name for field in fields(explainer)} | {"_target_"}
    assert "Cost" in type(explainer).__doc__


@pytest.mark.parametrize("name", BRIDGES)
def test_the_yaml_of_a_bridge_lists_every_field(name):
    (key,) = config = composed(f"explainer={name}").explainer
    explainer = instantiate(config[key], _convert_="all")
    assert name == f"bridge/{key}"
    assert set(config[key]) == {field.name for field in fields(explainer)} | {"_target_"}
    assert library_of(explainer).tested


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if is_preset(name)])
def test_a_preset_says_what_it_is(name):
    assert (CONF / "explainer" / f"{name}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_stands_in_place_of_the_explainer_that_it_is_named_after(name):
    base = name.partition("/")[2]
    assert (CONF / "explainer" / f"{name}.yaml").read_text().count("\n# ") == 1
    plain, variant = (composed(f"explainer={one}").explainer for one in (base, name))
    assert list(variant) == [base]
    assert set(variant[base]) == set(plain[base])
    assert variant != plain


def test_the_preset_all_holds_every_explainer_that_makes_heatmaps():
    single = {name for name in EXPLAINERS if not is_preset(name)} - {"from_file"}
    assert set(composed("explainer=all").explainer) == single


def test_a_field_can_be_overridden_and_a_wrong_one_is_refused():
    config = composed("explainer=lrp", "explainer.lrp.rule=gamma", "explainer.lrp.gamma=0.1")
    explainer = instantiate(config.explainer.lrp)
    assert (explainer.rule, explainer.gamma) == ("gamma", 0.1)
    config = composed("explainer=lrp", "explainer.lrp.rule=delta")
    with pytest.raises(Exception, match=r"LRP\.rule: got 'delta'; allowed: one of z") as error:
        instantiate(config.explainer.lrp)
    assert isinstance(error.value.__cause__ or error.value, InputError)


def test_seeds_follow_the_runs():
    config = composed("explainer=random", "seed=7")
    assert instantiate(config.explainer.random).seed == 7
