"""A configuration is not code: a name from elsewhere is refused before anything is imported."""

import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import OmegaConf

from xai_exp import build, trust
from xai_exp.config import InputError

CONF = Path(__file__).parents[2] / "conf"
FEW = ["tracking=off", "dataset=digits", "explainer=gradient", "metric=sparseness"]

EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
from xai_exp.config import configured
from xai_exp.explainers.controls import Random


@configured
class Mine(Random):
    pass


class Plain:
    pass
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A package that leaves a trace when it is imported."""
    (tmp_path / "stranger.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "ran"
    sys.modules.pop("stranger", None)


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*FEW, *overrides], return_hydra_config=True)


@pytest.mark.parametrize(
    "override",
    [
        "model._target_=stranger.Plain",
        "dataset._target_=stranger",
        "trainer.samples=[{_target_: stranger.Plain}]",
        "trainer.samples=[[{a: {_target_: stranger.Plain}}]]",
        "explainer.gradient._target_=stranger.Mine",
        "+metric.sparseness.inner={_target_: stranger.Plain}",
        "imputer._target_=pandas.read_pickle",
        "tracking._target_=xai_exp.tracking.connection.os.system",
        "tracking._target_=xai_exp.config.identity",
        "dataset._target_=${oc.env:HOME}",
        "dataset._target_=nope",
        "+explainer.gradient._partial_=true",
    ],
)
def test_what_a_stranger_names_is_refused_unimported(stranger, override):
    with pytest.raises(InputError, match="allowed: "):
        build.experiment(composed(override))
    assert not stranger.exists()


@pytest.mark.parametrize(
    "hydra",
    [
        {"callbacks": {"x": {"_target_": "stranger.Plain"}}},
        {"callbacks": {"x": {"_target_": "xai_exp.tracking.connection.os.system"}}},
        {"callbacks": "${trainer}"},
        {"sweeper": {"_target_": "stranger.Plain"}},
        {"launcher": {"_target_": "stranger.Plain", "list": [{"_target_": "os.system"}]}},
        {"launcher": {"n": [{"_target_": "stranger.Plain"}]}},
        {"job_logging": {"handlers": {"x": {"class": "stranger.Plain"}}}},
        {"job_logging": {"handlers": {"x": {"()": "os.system"}}}},
        {"job_logging": {"handlers": {"x": {"stream": "ext://stranger.Plain"}}}},
        {"job": {"env_set": {"LD_PRELOAD": "evil.so"}}},
    ],
)
def test_hydras_own_keys_name_no_code_from_elsewhere_either(stranger, hydra):
    with pytest.raises(InputError, match="allowed: "):
        trust.refuse_strangers(OmegaConf.create({"hydra": hydra}))
    assert not stranger.exists()


def test_the_guard_comes_before_hydra_acts(stranger):
    trust.guard()
    with pytest.raises(InputError, match="XAI_EXP_TRUST=stranger"):
        composed("+hydra.callbacks.x={_target_: stranger.Plain}")
    assert not stranger.exists()


def test_a_package_that_the_user_names_may_give_configured_classes(stranger, monkeypatch):
    monkeypatch.setenv("XAI_EXP_TRUST", "other, stranger")
    config = composed()
    config.explainer = {"mine": {"_target_": "stranger.Mine"}}
    assert type(build.experiment(config).explainers["mine"]).__name__ == "Mine"
    with pytest.raises(InputError, match="a configured class"):
        build.experiment(composed("model={_target_: stranger.Plain}"))
    assert stranger.exists()


def test_our_own_configuration_passes():
    trust.refuse_strangers(composed())
    trust.refuse_strangers(composed("experiment=stability"))


def test_a_thing_of_another_kind_is_refused():
    with pytest.raises(InputError, match="dataset: got CNN"):
        build.experiment(composed("dataset=../model/cnn"))
    config = composed()
    config.dataset = None
    with pytest.raises(InputError, match="dataset: got nothing"):
        build.experiment(config)


@pytest.mark.parametrize("name", ["<b>x</b>", "a/b", "", "it's", "a\nb"])
def test_a_name_that_no_file_and_no_number_can_have_is_refused(name):
    config = composed()
    config.explainer = {name: config.explainer.gradient}
    with pytest.raises(InputError, match=r"explainer: got .*; allowed: a name of letters"):
        build.experiment(config)


def test_a_job_is_composed_once_for_its_check_and_its_run_and_nothing_else_is_kept():
    loaded = []

    def load(loader, *, master_config, sweep_overrides):
        loaded.append((loader, master_config, tuple(sweep_overrides)))
        return OmegaConf.create({"number": len(loaded)})

    once = trust._composed_once(load)
    loader, master = object.__new__(ConfigLoaderImpl), OmegaConf.create({})
    checked = []

    def check(sweeper, batch):  # noqa: ARG001
        checked.extend(once(loader, master, list(job)) for job in batch)

    sweeper = object.__new__(BasicSweeper)
    jobs = [[f"seed={number}"] for number in range(3)]
    trust._checking(check)(sweeper, jobs)
    run = [once(loader, master, job) for job in jobs]
    assert all(one is two for one, two in zip(checked, run, strict=True))
    assert len(loaded) == 3
    again = once(loader, master, jobs[0])
    assert again is not checked[0]  # it was given away to the first run
    assert once(loader, master, jobs[0]) is not again  # nobody checks, as in a sweep of Optuna's
    assert not trust._WAITING
    trust._checking(check)(sweeper, [[f"images={number}"] for number in range(100)])
    assert len(trust._WAITING) == 64
    trust._checking(check)(sweeper, [])
    assert not trust._WAITING
