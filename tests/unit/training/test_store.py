"""The store of trained networks: keys, whole files, one trainer at a time."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from xai_exp.config import InputError
from xai_exp.training import store
from xai_exp.training.store import CHECKPOINT, ModelStore, TrainingResult, model_key

CONF = Path(__file__).parents[3] / "conf"
ROW = {"epoch": 1, "train_loss": 0.1, "validation_accuracy": 0.8, "seconds": 2.5}
RESULT = TrainingResult(
    accuracy=0.75,
    validation_accuracy=0.8,
    epochs=1,
    seconds=2.5,
    parameters=8,
    history=(ROW,),
)


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    return net.to(memory_format=torch.channels_last)


def key_of(*overrides):
    """The key that the pipeline gives to what is composed."""
    from xai_exp import build

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["tracking=off", "dataset=digits", *overrides])
    experiment = build.experiment(config)
    return experiment.model_key


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "dataset=counting",
        "dataset.seed=1",
        "dataset.test_share=0.3",
        "model=lenet5",
        "model.width=9",
        "model.dropout=0.1",
        "trainer=quick",
        "trainer.samples=1000",
        "trainer.max_epochs=3",
        "trainer.batch_size=33",
        "trainer.learning_rate=0.1",
        "trainer.weight_decay=0.1",
        "trainer.gradient_clip=null",
        "trainer.target_accuracy=0.5",
        "trainer.precision=bf16",
    ],
)
def test_the_key_changes_with_everything_that_decides_the_weights(override):
    assert key_of(override) != key_of()


@pytest.mark.parametrize(
    "override",
    [
        "device=cpu",
        "images=7",
        "target=label",
        "study=some",
        "reuse=false",
        "explainer=random",
        "metric=sparseness",
        "imputer=blur",
        "models=elsewhere",
    ],
)
def test_the_key_stays_with_everything_else(override):
    assert key_of(override) == key_of()


def test_the_key_is_sixteen_hex_digits_and_knows_the_version(monkeypatch):
    first = model_key({"seed": 0, "model": {"a": 1, "b": 2}})
    assert len(first) == 16
    assert set(first) <= set("0123456789abcdef")
    assert first == model_key({"model": {"b": 2, "a": 1}, "seed": 0})
    monkeypatch.setattr(store, "TRAINING_VERSION", store.TRAINING_VERSION + 1)
    assert first != model_key({"seed": 0, "model": {"a": 1, "b": 2}})


def test_what_was_saved_is_loaded_bit_for_bit_in_the_same_memory_layout(tmp_path):
    kept, given = ModelStore(root=tmp_path), network(1)
    assert not kept.finished("k")
    kept.save("k", network(0), RESULT)
    assert kept.finished("k")
    assert kept.load("k", given) == RESULT
    for mine, other in zip(network(0).parameters(), given.parameters(), strict=True):
        assert torch.equal(mine, other)
        assert mine.stride() == other.stride()


def test_a_finished_network_needs_no_checkpoint_and_leaves_no_parts(tmp_path):
    kept = ModelStore(root=tmp_path)
    (kept.folder("k") / CHECKPOINT).write_text("served")
    kept.save("k", network(), RESULT)
    assert sorted(path.name for path in kept.folder("k").iterdir()) == ["model.pt", "result.json"]


def test_weights_without_their_result_are_not_finished(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    kept = ModelStore(root=tmp_path)
    monkeypatch.setattr(store, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.save("k", network(), RESULT)
    assert not kept.finished("k")


def test_a_broken_model_is_one_line_that_says_how_to_go_on(tmp_path):
    kept = ModelStore(root=tmp_path)
    kept.save("k", network(), RESULT)
    (kept.folder("k") / "model.pt").write_bytes(b"half a")
    with pytest.raises(InputError, match="remove the folder to train it again") as caught:
        kept.load("k", network())
    assert "\n" not in str(caught.value)


def test_a_result_of_other_fields_is_refused(tmp_path):
    kept = ModelStore(root=tmp_path)
    kept.save("k", network(), RESULT)
    (kept.folder("k") / "result.json").write_text(json.dumps({"accuracy": 1}))
    with pytest.raises(InputError):
        kept.load("k", network())


def test_results_with_other_histories_differ(tmp_path):
    kept = ModelStore(root=tmp_path)
    other = replace(RESULT, history=({**ROW, "train_loss": 0.1 + 1e-16}, {**ROW, "epoch": 2}))
    kept.save("k", network(), other)
    assert kept.load("k", network()) == other != RESULT


_TRAINS_ONCE = """
import sys, time
from pathlib import Path
from xai_exp.training.store import ModelStore
root = Path(sys.argv[1])
store = ModelStore(root=root)
(root / f"ready{sys.argv[2]}").touch()
while len(list(root.glob("ready*"))) < 2:
    time.sleep(0.01)
with store.lock("k"):
    if not (store.folder("k") / "result.json").exists():
        time.sleep(1.5)
        (root / f"trained{sys.argv[2]}").touch()
        (store.folder("k") / "result.json").touch()
"""


def test_of_two_processes_that_want_one_model_one_trains_and_the_other_waits_and_says_so(tmp_path):
    start = [sys.executable, "-c", _TRAINS_ONCE, str(tmp_path)]
    both = [
        subprocess.Popen([*start, str(number)], stderr=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    said = [process.communicate(timeout=600)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("trained*"))) == 1
    assert sorted("trains model k: waiting for it" in line for line in said) == [False, True]


def test_the_lock_of_a_killed_process_is_free(tmp_path, begun):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from xai_exp.training.store import ModelStore\n"
        "with ModelStore(root=Path(sys.argv[1])).lock('k'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = begun(tmp_path, tmp_path, code=code)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with ModelStore(root=tmp_path).lock("k"):
        pass


@pytest.mark.parametrize("fault", ["other", "nan", "cut", "lost", "result"])
def test_a_finished_network_whose_files_are_broken_is_found(tmp_path, fault):
    kept, path = ModelStore(root=tmp_path), tmp_path / "k" / "model.pt"
    kept.save("k", network(), RESULT)
    assert not kept.fault("k")
    weights = torch.load(path, weights_only=True)
    if fault in ("other", "nan"):
        first = next(iter(weights))
        weights[first] = weights[first] + (1.0 if fault == "other" else float("nan"))
        torch.save(weights, path)
    elif fault == "lost":
        path.unlink()
    else:
        broken = path if fault == "cut" else path.with_name("result.json")
        broken.write_bytes(broken.read_bytes()[:40])
    assert kept.fault("k")
    kept.discard("k")
    assert not kept.finished("k")


@pytest.mark.parametrize("told", ['{"data": 0.', '{"data": 2}', '{"data": NaN}', '{"data": "x"}'])
def test_accuracies_that_are_cut_or_none_are_measured_again(tmp_path, told):
    kept = ModelStore(root=tmp_path)
    kept.accuracy("k", "data", lambda: 0.5)
    (tmp_path / "k" / "accuracy.json").write_text(told)
    assert kept.accuracy("k", "data", lambda: 0.25) == 0.25


@pytest.mark.parametrize(
    "wrong", [{"accuracy": -1}, {"validation_accuracy": float("nan")}, {"history": "x"}]
)
def test_a_result_that_no_training_comes_to_is_a_fault(tmp_path, wrong):
    kept = ModelStore(root=tmp_path)
    kept.save("k", nn.Linear(2, 2), RESULT)
    assert not kept.fault("k")
    path = tmp_path / "k" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    assert kept.fault("k").startswith("files that can't be read (")
