import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext
from optuna.trial import TrialState

from xai_exp.config import InputError
from xai_exp.sweeping import objectives
from xai_exp.sweeping.fits import fitting
from xai_exp.sweeping.plan import Plan, opened
from xai_exp.sweeping.queue import Queue
from xai_exp.sweeping.space import grid, override, parse, suggest
from xai_exp.training.store import TrainingResult

ROOT = Path(__file__).resolve().parents[3]
SAMPLERS = ["tpe", "nsga2", "qmc", "random", "grid", "cmaes"]

APP = """
import os, sys, time
import hydra
from xai_exp.sweeping.job import watcher

@hydra.main(version_base="1.3", config_path=".", config_name="config")
def job(config):
    with open("log", "a") as log:
        log.write(f"start {config.x} {os.getpid()}\\n")
    time.sleep(config.nap)
    if config.x in config.bad:
        raise RuntimeError(f"no {config.x}")
    watch = watcher(config.study, config.trial) if config.trial is not None else None
    for epoch in range(1, 4):
        if watch is not None:
            watch(epoch, config.x * epoch / 300)
    with open("log", "a") as log:
        log.write(f"end {config.x} {os.getpid()}\\n")
    return float(config.x)

job()
"""
CONFIG = """
defaults:
  - override hydra/sweeper: optuna
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
x: 0
y: 0
nap: 0.0
bad: []
study: fake
trial: null
hydra:
  mode: MULTIRUN
  output_subdir: null
  sweep: {dir: mlruns, subdir: .}
  sweeper:
    trials: 20
    space: {x: {low: 0, high: 60}}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def start(begun: Callable, app: Path) -> Callable:
    """The sweep begins, in a process of its own."""
    return lambda *words: begun(app, *words, script=str(app / "app.py"))


def started(app: Path, *words: str) -> subprocess.Popen:
    """Likewise, with nothing imported before, for launchers that start processes of their own."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "app.py", *words], cwd=app, env=settings, **pipes)


def trials(app: Path, where: str = "") -> list[optuna.trial.FrozenTrial]:
    storage = opened(where or f"sqlite:///{app}/mlruns/optuna.db")
    return optuna.load_study(study_name="fake", storage=storage).trials


def ends(app: Path) -> list[str]:
    log = app / "log"
    lines = log.read_text().split("\n") if log.is_file() else []
    return [line for line in lines if line.startswith("end")]


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["null", "sweep.log"])
def test_killed_again_and_again_a_sweep_ends_with_twenty_distinct_finished_trials(
    app: Path, start: Callable, storage: str
) -> None:
    words = ["nap=0.05", f"hydra.sweeper.storage={storage}"]
    kills = 3 if storage == "null" else 2
    for kill in range(kills):
        process = start(*words)
        until = time.monotonic() + 30
        had = len(ends(app))
        while len(ends(app)) == had and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.03 + 0.026 * kill)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(*words)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    done = trials(app, "" if storage == "null" else str(app / storage))
    complete = [t for t in done if t.state == TrialState.COMPLETE]
    failed = [t.user_attrs.get("error") for t in done if t.state == TrialState.FAIL]
    assert len(complete) == 20, failed
    assert len({t.params["x"] for t in complete}) == 20
    assert not [t for t in done if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    finished = Counter(line.split()[1] for line in ends(app))
    assert {str(t.params["x"]) for t in complete} == set(finished)
    # A job that is killed between its last line and its note is the only one to run again.
    assert sum(finished.values()) - 20 <= 2
    interrupted = [t for t in done if "interrupted" in t.user_attrs.get("error", "") and t.params]
    assert all(t.params["x"] in {c.params["x"] for c in complete} for t in interrupted)


@pytest.mark.slow
def test_failures_are_recorded_and_end_the_sweep_only_beyond_the_rate(app: Path) -> None:
    words = ["hydra.sweeper.trials=6", "x=range(0,6)", "hydra.sweeper.sampler=grid", "bad=[1,3]"]
    process = started(app, *words, "hydra.sweeper.max_failure_rate=0.4")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    states = {t.params["x"]: t for t in trials(app)}
    assert {x for x, t in states.items() if t.state == TrialState.FAIL} == {1, 3}
    assert states[3].user_attrs["error"] == "RuntimeError: no 3"
    process = started(app, *words, "hydra.sweeper.max_failure_rate=0.2", "study=strict")
    _, errors = process.communicate(timeout=600)
    assert process.returncode != 0
    assert "2 of 6 trials failed" in errors
    job = app / "app.py"
    job.write_text(job.read_text().replace("if config.x in config.bad:", "if False:"))
    process = started(app, *words, "hydra.sweeper.retry_failed=true")
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert sum(t.state == TrialState.COMPLETE for t in trials(app)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["null", "sweep.log"])
def test_a_hopeless_training_is_ended_by_its_first_epochs_and_not_run_again(
    app: Path, storage: str
) -> None:
    words = ["x=50,51,52,53,2,54", "hydra.sweeper.sampler=grid", "hydra.sweeper.pruner=median"]
    for _ in range(2):  # the second time, all is done
        process = started(app, *words, f"hydra.sweeper.storage={storage}", "hydra.sweeper.trials=6")
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    found = {t.params["x"]: t for t in trials(app, "" if storage == "null" else str(app / storage))}
    assert found[2].state == TrialState.PRUNED
    assert found[2].intermediate_values == {1: pytest.approx(2 / 300)}
    del found[2]
    assert {t.state for t in found.values()} == {TrialState.COMPLETE}
    assert found[54].intermediate_values == pytest.approx({1: 0.18, 2: 0.36, 3: 0.54})
    assert sorted(int(line.split()[1]) for line in ends(app)) == [50, 51, 52, 53, 54]


@pytest.mark.slow
def test_submitit_runs_a_batch_of_two_in_processes_of_its_own(app: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = ["hydra/launcher=submitit_local", "hydra.sweeper.n_jobs=2", "hydra.sweeper.trials=2"]
    process = started(
        app, *words, "nap=0.3", "bad=[7]", "x=6,7", "hydra.sweeper.max_failure_rate=1"
    )
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    found = {t.params["x"]: t for t in trials(app)}
    assert found[6].values == [6.0]
    assert "RuntimeError: no 7" in found[7].user_attrs["error"]
    starts = [line.split() for line in (app / "log").read_text().splitlines() if "start" in line]
    assert len({pid for *_, pid in starts}) == 2
    assert str(process.pid) not in {pid for *_, pid in starts}


@pytest.mark.slow
def test_a_batch_of_four_runs_side_by_side_in_joblib(app: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "hydra.sweeper.n_jobs=4"]
    process = started(app, *words, "hydra.sweeper.trials=8", "nap=0.3")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert [t.state for t in trials(app)].count(TrialState.COMPLETE) == 8
    assert len({line.split()[2] for line in ends(app)}) == 4


def queue(plan: Plan) -> Queue:
    storage = opened(plan.storage)
    return Queue(study=plan.open(storage), storage=storage, plan=plan, space=parse(plan.space))


def planned(tmp_path: Path, **given: object) -> Plan:
    space = given.pop("space", {"x": {"low": 0.0, "high": 1.0, "step": 0.05}, "k": [1, 2]})
    where = f"sqlite:///{tmp_path}/o.db"
    return Plan(study="s", storage=where, **{"space": space, "trials": 12, **given})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_distinct_trials_and_goes_on(tmp_path: Path, sampler: str) -> None:
    for until in (6, 12):
        work = queue(planned(tmp_path, sampler=sampler, trials=until))
        work.recover()
        while work.left() > 0:
            for number, params in work.ask(2).items():
                work.tell(number, [params["x"] * params["k"]], "")
    done = [t for t in work.study.trials if t.state == TrialState.COMPLETE]
    assert len(done) == len({json.dumps(t.params) for t in done}) == 12


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_two_objectives(tmp_path: Path, sampler: str) -> None:
    plan = planned(tmp_path, sampler=sampler, direction=["maximize", "minimize"])
    work = queue(plan)
    while work.left() > 0:
        for number, params in work.ask(1).items():
            work.tell(number, [params["x"], params["x"] ** 2], "")
    assert len(work.study.best_trials) == 12
    with pytest.raises(InputError, match="begun with maximize, minimize"):
        queue(planned(tmp_path))
    with pytest.raises(InputError, match="pruner"):
        planned(tmp_path, pruner="median", direction=["maximize", "minimize"])


def test_a_short_search_by_nsga2_has_several_generations(tmp_path: Path) -> None:
    plan = planned(tmp_path, sampler="nsga2", trials=16, direction=["maximize", "minimize"])
    work = queue(plan)
    while work.left() > 0:
        for number, params in work.ask(1).items():
            work.tell(number, [params["x"], float(params["k"])], "")
    generations = {t.system_attrs.get("NSGAIISampler:generation") for t in work.study.trials}
    assert {0, 1, 2} <= generations


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_key_exists_only_under_its_condition_and_so_do_keys_that_hang_on_it(
    tmp_path: Path, sampler: str
) -> None:
    space = {
        "rule": ["z", "gamma"],
        "gamma": {"low": 0.0, "high": 1.0, "step": 0.25, "when": {"rule": "gamma"}},
        "bias": {"choices": [0, 1], "when": {"gamma": [0.0, 0.25, 0.5, 0.75, 1.0]}},
    }
    work = queue(planned(tmp_path, sampler=sampler, space=space, trials=8))
    seen = []
    while work.left() > 0:
        for number, params in work.ask(1).items():
            work.tell(number, [params.get("gamma", 0.3)], "")
            seen.append(params)
    assert [p for p in seen if set(p) == {"rule"}] == [{"rule": "z"}]
    assert [set(p) for p in seen].count({"rule", "gamma", "bias"}) == 7


def test_a_grid_is_run_once_and_then_the_space_is_at_its_end(tmp_path: Path) -> None:
    work = queue(planned(tmp_path, sampler="grid", space={"a": [1, 2], "b": ["u", "v"]}))
    seen = []
    while asked := work.ask(3):
        for number, params in asked.items():
            seen.append((params["a"], params["b"]))
            work.tell(number, [0.0], "")
    assert seen == [(1, "u"), (1, "v"), (2, "u"), (2, "v")]


def remembered(plan: Plan) -> Queue:
    """A queue that is kept nowhere, for many draws in no time."""
    storage = optuna.storages.InMemoryStorage()
    return Queue(study=plan.open(storage), storage=storage, plan=plan, space=parse(plan.space))


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_what_does_not_fit_is_no_trial_and_is_not_proposed_again(
    tmp_path: Path, sampler: str
) -> None:
    asked_of = []

    def fits(params: Mapping[str, Any]) -> str:
        asked_of.append(params["depth"])
        return "too deep" if params["depth"] > 3 else ""

    space = {"depth": {"low": 2, "high": 9}, "seed": {"choices": [0, 1], "replicate": True}}
    space = space if sampler != "grid" else {"depth": [9, 8, 7, 6, 3, 5, 2], "seed": [0, 1]}
    plan = planned(tmp_path, space=space, sampler=sampler, trials=4)
    work = replace(remembered(plan), fits=fits)
    seen = []
    while work.left() > 0:
        for number, params in work.ask(2).items():
            work.tell(number, [1.0], "")
            seen.append((params["depth"], params["seed"]))
    assert sorted(seen) == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert max(asked_of) > 3
    assert len(asked_of) == len(work.misfits) <= 16
    work.refuse_if_hopeless()  # a misfit is no failure
    nothing = replace(remembered(plan), fits=lambda _: "too deep", misfits={})
    assert nothing.ask(2) == {}


def test_one_failure_ends_a_short_sweep_only_if_none_is_allowed(tmp_path: Path) -> None:
    work = remembered(planned(tmp_path, trials=3))
    for number, error in zip(work.ask(3), ("", "no", ""), strict=True):
        work.tell(number, [1.0], error)
    work.refuse_if_hopeless()
    strict = replace(work, plan=planned(tmp_path, trials=3, max_failure_rate=0.0))
    with pytest.raises(InputError, match=r"1 of 3 trials failed.*error: no; on the 2.*stability"):
        strict.refuse_if_hopeless()


def test_only_depths_that_fit_the_pictures_are_proposed() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        words = ["tracking=off", "metric=complexity", "explainer=constant"]
        config = compose("config", words, return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        space = parse({"model.depth": {"low": 2, "high": 4}, "seed": [0, 1]})
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        fits = fitting(space, config, ("dataset=digits",), context)
        said = [fits({"model.depth": depth, "seed": 1}) for depth in (2, 3, 4)]
    assert said[:2] == ["", ""]
    assert said[2].startswith("model cnn: got depth 4 for images of 8x8 pixels; allowed: at most 3")
    assert fitting(space[1:], config, (), context)({"seed": 1}) == ""


def test_replicas_of_every_architecture_are_run(tmp_path: Path) -> None:
    space = {"w": {"low": 1, "high": 99}, "seed": {"choices": [0, 1, 2], "replicate": True}}
    work = queue(planned(tmp_path, space=space))
    while work.left() > 0:
        for number in work.ask(1):
            work.tell(number, [1.0], "")
    done = [t.params for t in work.study.trials if t.state == TrialState.COMPLETE]
    assert set(Counter(p["w"] for p in done).values()) == {3}
    assert set(Counter(p["seed"] for p in done).values()) == {4}


def test_an_interrupted_trial_is_put_back_once_and_a_noted_one_is_finished(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    first = queue(plan)
    asked = first.ask(2)
    lost, noted = asked
    trial = next(t for t in first.study.trials if t.number == noted)
    first.storage.set_trial_user_attr(trial._trial_id, "values", [0.5])
    assert queue(plan).recover() == 1
    assert queue(plan).recover() == 0
    again = queue(plan)
    assert again.study.trials[noted].values == [0.5]
    assert list(again.ask(1).values()) == [asked[lost]]
    assert again.left() == 11


def test_conditions_and_nesting() -> None:
    space = parse(
        {
            "model": {"head": ["gap", "flatten"]},
            "model.hidden": {"choices": [0, 64], "when": {"model.head": "flatten"}},
        }
    )
    assert list(grid(space)) == [
        {"model.head": "gap"},
        {"model.head": "flatten", "model.hidden": 0},
        {"model.head": "flatten", "model.hidden": 64},
    ]
    with pytest.raises(InputError, match="a key that stands above it"):
        parse({"a": {"choices": [1], "when": {"b": 1}}})
    with pytest.raises(InputError, match="allowed"):
        parse({"a": {"low": 3, "high": 1}})


def test_choices_that_are_lists_reach_the_command_line_as_lists() -> None:
    (one,) = parse({"explainer": [["lrp", "gradient"], {"a": 1}]})
    assert [override("explainer", c) for c in one.kind.choices] == [
        "explainer=[lrp,gradient]",
        "explainer={a:1}",
    ]


def test_objectives_are_read_off_the_run() -> None:
    result = TrainingResult(
        accuracy=0.9, validation_accuracy=0.8, epochs=1, seconds=2.0, parameters=7, history=()
    )
    scores = {"lrp": pd.DataFrame({"metric": ["a", "a", "b"], "score": [1.0, 3.0, 9.0]})}
    assert objectives.values("validation_accuracy", result, scores) == 0.8
    assert objectives.values(("accuracy", "parameters", "lrp/a"), result, scores) == [0.9, 7.0, 2.0]
    with pytest.raises(InputError, match="lrp/b"):
        objectives.values("lrp/c", result, scores)


def test_a_search_for_the_worst_is_refused() -> None:
    metrics = {"distance": SimpleNamespace(higher_is_better=False)}
    refuse = objectives.refuse_wrong_directions
    refuse("lrp/distance", "minimize", metrics)
    refuse(["accuracy", "parameters", "lrp/unknown"], ["maximize", "minimize", "maximize"], metrics)
    with pytest.raises(InputError, match="got maximize for lrp/distance; allowed: minimize"):
        refuse("lrp/distance", "maximize", metrics)
    with pytest.raises(InputError, match="got minimize for accuracy; allowed: maximize"):
        refuse(("parameters", "accuracy"), ("minimize", "minimize"), metrics)


def test_a_sampler_that_settles_on_its_best_does_not_end_the_sweep(tmp_path: Path) -> None:
    class Settled(optuna.samplers.RandomSampler):
        def sample_independent(self, *_: object) -> int:
            return 3

    storage = opened(f"sqlite:///{tmp_path}/optuna.db")
    space = {"x": {"low": 0, "high": 9}}
    plan = Plan(study="settled", space=space, trials=10, storage="unused")
    study = plan.open(storage)
    study.sampler = Settled()
    queue = Queue(study=study, storage=storage, plan=plan, space=parse(space))
    seen = set()
    for _ in range(10):
        (asked,) = queue.ask(1).items()
        queue.tell(asked[0], [1.0], "")
        seen.add(asked[1]["x"])
        assert isinstance(study.sampler, Settled)
    assert seen == set(range(10))


def test_a_proposal_that_was_run_before_is_not_put_back_if_a_kill_left_it_half_drawn(
    tmp_path: Path,
) -> None:
    plan = planned(tmp_path, space={"x": {"low": 0, "high": 9}})
    work = queue(plan)
    ((first, params),) = work.ask(1).items()
    work.tell(first, [1.0], "")
    for _ in range(2):  # one repeats what was run, the other what it repeats itself
        work.study.enqueue_trial(params)
        suggest(work.space, work.study.ask())
    fresh = {"x": (params["x"] + 1) % 10}
    work.study.enqueue_trial(fresh)
    suggest(work.space, work.study.ask())
    later = queue(plan)
    assert later.recover() == 1
    waiting = [t for t in later.study.trials if t.state == TrialState.WAITING]
    assert [t.system_attrs["fixed_params"] for t in waiting] == [fresh]
    assert later.left() == plan.trials - 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fixed": ("dataset=mnist",)}, "got dataset=mnist where it was begun with dataset=digits"),
        (
            {"fixed": ("dataset=digits", "objective=parameters")},
            "got objective=parameters where it was begun with none of these",
        ),
        ({"space": {"x": {"low": 0, "high": 9}}}, "got another space for x where"),
    ],
)
def test_another_dataset_objective_or_space_under_the_same_name_is_refused(
    tmp_path: Path, given: dict, words: str
) -> None:
    where = f"sqlite:///{tmp_path}/optuna.db"
    begun = {"study": "s", "storage": where, "fixed": ("dataset=digits",), "space": {"x": [1, 2]}}
    Plan(**begun).open(opened(where))
    Plan(**begun).open(opened(where))
    with pytest.raises(InputError, match=words):
        Plan(**{**begun, **given}).open(opened(where))
