"""Training against a bare loop, and what must hold when it is interrupted."""

import math
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.training import Trainer
from xai_exp.training.norm import fused
from xai_exp.training.store import CHECKPOINT

CPU = torch.device("cpu")
EPOCHS, BATCH, COUNT, SEED = 4, 16, 72, 5


@dataclass
class Stripes:
    """A split in memory that remembers what it was asked for, and may do something at a call."""

    pixels: Tensor
    labels: Tensor
    asked: list[Tensor] = field(default_factory=list)
    at_call: dict = field(default_factory=dict)

    def __len__(self):
        return len(self.labels)

    def images(self, index):
        self.asked.append(index)
        images = self.pixels[index]
        return self.at_call.get(len(self.asked), lambda images: images)(images)

    def scenes(self, index):  # noqa: ARG002
        return None

    parts = scenes


@dataclass
class Data:
    """Images whose upper or lower half is the brighter, and what is asked of a dataset."""

    train: Stripes
    validation: Stripes
    test: Stripes
    classes: tuple = ("up", "down")
    channels: int = 1
    size: tuple = (8, 8)


def split(count, seed, noise):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=draw)
    images = noise * torch.rand(count, 1, 8, 8, generator=draw)
    images[:, :, :4] += (labels == 0)[:, None, None, None] * 0.3
    images[:, :, 4:] += (labels == 1)[:, None, None, None] * 0.3
    return Stripes(images, labels)


def stripes(noise=0.7):
    return Data(*(split(count, seed, noise) for count, seed in ((COUNT, 0), (40, 1), (40, 2))))


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            *(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()),
            *(nn.Dropout(0.3), nn.Linear(144, 2)),
        )


def trainer(**changes):
    fields = {"max_epochs": EPOCHS, "batch_size": BATCH, "target_accuracy": 1.0} | changes
    return Trainer(**({"precision": "32", "learning_rate": 2e-3, "gradient_clip": 0.3} | fields))


def fit(folder, *, data=None, net=None, progress=False, **changes):
    """A network trained in `folder`, and the result."""
    net = net or network()
    options = {"seed": SEED, "folder": Path(folder), "device": CPU, "progress": progress}
    return net, trainer(**changes).fit(data or stripes(), net, **options)


def same(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


def with_call(data, number, action):
    """The same data, with something done to the images of the `number`-th batch of training."""
    return replace(data, train=replace(data.train, at_call={number: action}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing interrupted."""
    return fit(tmp_path_factory.mktemp("whole"))


def test_the_weights_are_those_of_a_bare_loop(whole):
    data, net = stripes(), network().to(memory_format=torch.channels_last)
    view = fused(net)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2, fused=True)
    steps = COUNT // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps * EPOCHS)
    with torch.random.fork_rng(devices=[]):
        for epoch in range(EPOCHS):
            seed = SEED * 100_003 + epoch
            order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))
            torch.manual_seed(seed)
            for index in order[: steps * BATCH].split(BATCH):
                loss = functional.cross_entropy(
                    view(data.train.images(index)), data.train.labels[index]
                )
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 0.3)
                optimizer.step()
                schedule.step()
    assert same(net, whole[0])


def test_an_epoch_sees_each_image_at_most_once_and_epochs_differ(tmp_path):
    data = stripes()
    fit(tmp_path, data=data)
    steps = COUNT // BATCH
    epochs = [torch.cat(data.train.asked[e * steps : (e + 1) * steps]) for e in range(EPOCHS)]
    assert len(data.train.asked) == EPOCHS * steps
    assert all(len(epoch.unique()) == steps * BATCH for epoch in epochs)
    assert not any(torch.equal(epochs[0], other) for other in epochs[1:])
    assert not data.test.asked or len(torch.cat(data.test.asked)) == len(data.test)


def test_a_split_smaller_than_a_batch_is_one_batch(tmp_path):
    data = stripes()
    fit(tmp_path, data=data, batch_size=500, max_epochs=1)
    assert [len(index) for index in data.train.asked] == [COUNT]


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(2 * BATCH + 1, [BATCH, BATCH]), (BATCH - 3, [BATCH - 3]), (2 * COUNT, None)],
)
def test_an_epoch_can_be_a_part_of_the_data_another_one_each_time(tmp_path, most, sizes):
    data = stripes()
    _, result = fit(tmp_path, data=data, max_epochs=None, samples=2 * most, epoch_samples=most)
    sizes = sizes or [BATCH] * (COUNT // BATCH)
    epochs = max(1, round(2 * most / min(most, COUNT)))
    assert [len(index) for index in data.train.asked] == sizes * min(epochs, result.epochs)
    assert result.epochs == epochs or result.validation_accuracy == 1
    if most < COUNT:
        first, second = (
            torch.cat(data.train.asked[len(sizes) * e : len(sizes) * (e + 1)]) for e in range(2)
        )
        assert result.epochs == 2
        assert not torch.equal(first, second)


def test_accuracies_are_those_of_the_network_that_comes_back(whole):
    net, result = whole
    data = stripes()
    everything = torch.arange(40)
    assert not net.training
    for part, stated in (
        (data.test, result.accuracy),
        (data.validation, result.validation_accuracy),
    ):
        right = (net(part.images(everything)).argmax(1) == part.labels).float().mean()
        assert stated == pytest.approx(float(right))
    assert result.parameters == sum(p.numel() for p in net.parameters())
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4]
    assert result.seconds == pytest.approx(sum(row["seconds"] for row in result.history))
    losses = [row["validation_loss"] for row in result.history]
    assert losses[-1] < losses[0] < math.log(2) * 1.5


_KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from test_training import fit, stripes, with_call
end = lambda images: os.kill(os.getpid(), int(sys.argv[4])) or images
data = with_call(stripes(), int(sys.argv[3]), end)
fit(sys.argv[2], data=data)
"""


@pytest.fixture
def in_a_process(begun, tmp_path):
    """How Python code ends that gets this folder and then the arguments, and what it says."""

    def run(code, *arguments):
        process = begun(tmp_path, Path(__file__).parent, tmp_path, *arguments, code=code)
        return process.communicate()[1], process.returncode

    return run


@pytest.mark.parametrize("call", [10, 16])
def test_a_training_killed_in_any_epoch_ends_with_the_same_weights(
    tmp_path, whole, call, in_a_process
):
    assert in_a_process(_KILLED, call, int(signal.SIGKILL))[1] == -signal.SIGKILL
    assert (tmp_path / CHECKPOINT).is_file()
    data = stripes()
    net, result = fit(tmp_path, data=data)
    finished = (call - 1) // (COUNT // BATCH)
    assert len(data.train.asked) == (EPOCHS - finished) * (COUNT // BATCH)
    assert same(net, whole[0])
    wanted = [{**row, "seconds": 0, "images_per_second": 0} for row in whole[1].history]
    assert [{**row, "seconds": 0, "images_per_second": 0} for row in result.history] == wanted


@pytest.mark.parametrize(
    ("sent", "code", "last"),
    [(signal.SIGTERM, 128 + signal.SIGTERM, ""), (signal.SIGINT, 1, "KeyboardInterrupt")],
)
def test_a_training_that_is_told_to_stop_does_not_end_as_a_success(
    tmp_path, in_a_process, sent, code, last
):
    said, ended = in_a_process(_KILLED, 10, int(sent))
    assert ended == code  # of a process of its own SIGINT's would be -2; see e2e/test_faults.py
    assert said.strip().endswith(last)
    assert (tmp_path / CHECKPOINT).is_file()


@pytest.mark.parametrize("target", [1.0, 0.0])
def test_a_training_killed_after_its_last_epoch_is_not_trained_again(tmp_path, target):
    first, result = fit(tmp_path, target_accuracy=target)
    data = stripes()
    second, again = fit(tmp_path, data=data, target_accuracy=target)
    assert not data.train.asked
    assert same(first, second)
    assert again == result


def test_training_stops_once_the_target_holds_on_validation(tmp_path):
    _, result = fit(tmp_path, max_epochs=50, target_accuracy=0.9, learning_rate=0.02)
    held = [row["validation_accuracy"] for row in result.history]
    assert len(held) < 50
    assert held[-1] >= 0.9
    assert all(accuracy < 0.9 for accuracy in held[:-1])


def test_a_loss_that_is_not_finite_is_one_line_and_loses_no_epoch(tmp_path, whole):
    broken = with_call(stripes(), 10, lambda images: images * math.nan)
    with pytest.raises(InputError) as caught:
        fit(tmp_path, data=broken)
    said = str(caught.value)
    assert "loss of nan in epoch 3" in said
    assert "trainer.learning_rate below 0.002" in said
    assert "\n" not in said
    data = stripes()
    net, _ = fit(tmp_path, data=data)
    assert len(data.train.asked) == 2 * (COUNT // BATCH)
    assert same(net, whole[0])


def test_weights_broken_by_the_last_step_of_an_epoch_are_not_kept(tmp_path):
    with pytest.raises(InputError, match="epoch 1"):
        fit(tmp_path, learning_rate=1e38, batch_size=COUNT)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("kind", ["cut", "without history"])
def test_a_broken_checkpoint_is_said_and_training_begins_anew(tmp_path, caplog, kind):
    if kind == "cut":
        (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    else:
        torch.save({"state_dict": {}}, tmp_path / CHECKPOINT)
    fit(tmp_path)
    assert "training begins anew" in caplog.text


def test_training_leaves_the_global_generator_and_the_working_folder_alone(
    tmp_path, monkeypatch, capfd
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = torch.random.get_rng_state()
    fit(tmp_path / "model", max_epochs=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not list(elsewhere.iterdir())
    assert [path.name for path in (tmp_path / "model").iterdir()] == [CHECKPOINT]
    assert capfd.readouterr() == ("", "")


def test_where_no_terminal_is_progress_is_lines(tmp_path, capfd):
    fit(tmp_path, max_epochs=2, progress=True)
    out, err = capfd.readouterr()
    assert not out
    lines = err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "train: epoch 1 of at most 2",
        "train: epoch 2 of at most 2",
    ]


def test_a_training_of_many_epochs_says_no_more_than_twenty_lines(tmp_path, capfd):
    fit(tmp_path, max_epochs=50, target_accuracy=1.0, learning_rate=1e-6, progress=True)
    assert len(capfd.readouterr().err.splitlines()) == 16


def test_a_network_in_evaluation_mode_is_trained_all_the_same(tmp_path, whole):
    net, _ = fit(tmp_path, net=network().eval())
    assert same(net, whole[0])


def test_bfloat16_trains_to_other_weights_that_stay_float32(tmp_path, whole):
    net, result = fit(tmp_path, precision="bf16")
    assert all(p.dtype == torch.float32 for p in net.parameters())
    assert not same(net, whole[0])
    assert result.history[-1]["train_loss"] == pytest.approx(
        whole[1].history[-1]["train_loss"], rel=0.05
    )


@pytest.mark.parametrize(("images", "epochs"), [(100, 10), (999, 1), (10**6, 1), (300, 3)])
def test_the_epochs_follow_from_the_number_of_images(images, epochs):
    assert Trainer(samples=1000).epochs(images) == epochs
    assert Trainer(samples=1000, max_epochs=7).epochs(images) == 7
    assert Trainer(samples=1000, epoch_samples=100).epochs(images) == 10


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", 0.0), ("target_accuracy", 1.1), ("precision", "16"), ("batch_size", 0)],
)
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"Trainer.{name}"):
        Trainer(**{name: value})


def test_a_run_that_trains_nothing_does_not_wait_for_lightning():
    code = (
        "import sys, xai_exp.training.store, xai_exp.training; "
        "sys.exit(any(m in sys.modules for m in ('pytorch_lightning', 'mlflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


_NARROW = """
import sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_training import Data, fit, split
from torch.nn.functional import interpolate
from xai_exp.models.resnet import ResNet18
parts = [split(count, seed, 0.7) for count, seed in ((96, 0), (8, 1), (8, 2))]
for part in parts:
    part.pixels = interpolate(part.pixels, (64, 64))
data = Data(*parts, size=(64, 64))
fit(sys.argv[2], data=data, net=ResNet18(width=8).build(1, (64, 64), 2), max_epochs=2)
"""


def test_a_narrow_residual_network_trains_without_a_crash(in_a_process):
    assert in_a_process(_NARROW)[1] == 0
