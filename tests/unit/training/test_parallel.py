"""Training on two processes: what one process comes to, and nothing left when one of them dies."""

import pickle
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xai_exp.config import InputError, identity
from xai_exp.data.loading import TensorSplit
from xai_exp.data.shortcut import TrianglesSquaresShortcut
from xai_exp.training import Trainer, parallel
from xai_exp.training.invariance import InvariantTrainer
from xai_exp.training.store import CHECKPOINT

CPU = torch.device("cpu")
EPOCHS, BATCH, COUNT, SEED = 4, 15, 72, 5  # a batch's parts are of 8 and 7

_RANK = """
import os
os.environ.update(environment)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
from xai_exp.training import worker
worker.main([*words, str(os.getppid()), str(os.dup(theirs.fileno()))])
"""


class Warm:
    """A process where the libraries are imported already, with what is used of `Popen`."""

    def __init__(self, context, told):
        self.process = context.Process(target=exec, args=(_RANK, told))
        self.process.start()
        self.pid, self.kill = self.process.pid, self.process.kill

    def poll(self):
        return self.process.exitcode

    def wait(self):
        self.process.join()
        return self.process.exitcode


@pytest.fixture
def members(monkeypatch, warm):
    """Processes that start at once, and all that were started."""
    found = []

    def started(rank, room, _):
        ours, theirs = parallel.Pipe()
        environment = {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "GLOO_SOCKET_IFNAME": "lo"}
        told = {"words": [str(room), str(rank)], "theirs": theirs, "environment": environment}
        process = Warm(warm, told)
        theirs.close()
        found.append(parallel._Member(rank, process, ours))
        return found[-1]

    monkeypatch.setattr(parallel, "_started", started)
    return found


def split(count, seed):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=draw)
    images = 0.7 * torch.rand(count, 1, 8, 8, generator=draw)
    images[:, :, :4] += (labels == 0)[:, None, None, None] * 0.3
    return TensorSplit(pixels=images, labels=labels)


def data():
    train, validation, test = (split(count, seed) for count, seed in ((COUNT, 0), (41, 1), (40, 2)))
    known = {"classes": ("up", "down"), "channels": 1, "size": (8, 8)}
    return SimpleNamespace(train=train, validation=validation, test=test, **known)


def network(dropout=0.3):
    """No bias stands before batch norm, which takes it away: its gradient is rounding alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4, momentum=None), nn.ReLU()
        last = nn.BatchNorm1d(16, affine=False), nn.Dropout(dropout), nn.Linear(16, 2)
        return nn.Sequential(*first, nn.Flatten(), nn.Linear(144, 16, bias=False), *last)


def fit(folder, *, net=None, given=None, watch=None, **changes):
    """A network trained in `folder`, and the result."""
    fields = {"max_epochs": EPOCHS, "batch_size": BATCH, "target_accuracy": 1.0} | changes
    fields = {"precision": "32", "learning_rate": 2e-3, "processes": 2} | fields
    net = net or network()
    options = {"seed": SEED, "folder": Path(folder), "device": CPU, "progress": False}
    return net, Trainer(**fields).fit(given or data(), net, watch=watch, **options)


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def close(first, second, atol=1e-6):
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=atol)


def told(result):
    """A result's history without what hangs on the clock."""
    return [{**row, "seconds": 0, "images_per_second": 0} for row in result.history]


def gone(pids):
    """Whether processes end within ten seconds, or have."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        if not any(one.exists() and one.read_text().split()[2] != "Z" for one in states):
            return True
        time.sleep(0.05)
    return False


def test_two_processes_come_to_what_one_does(tmp_path, members):
    alone, first = fit(tmp_path, net=network(0.0), processes=1)
    (tmp_path / "two").mkdir()
    together, second = fit(tmp_path / "two", net=network(0.0))
    assert len(members) == 2
    close(alone, together)
    assert not same(alone, network(0.0))
    assert [row["validation_accuracy"] for row in first.history] == [
        row["validation_accuracy"] for row in second.history
    ]
    for one, other in zip(told(first), told(second), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert (first.accuracy, first.parameters) == (second.accuracy, second.parameters)
    assert [path.name for path in (tmp_path / "two").iterdir()] == [CHECKPOINT]
    assert all(member.process.poll() == 0 for member in members)


_KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from test_parallel import fit, parallel
old = parallel._started
def started(*told):
    member = old(*told)
    print(member.process.pid, flush=True)
    return member
parallel._started = started
end = lambda epoch, accuracy: epoch == 2 and os.kill(os.getpid(), int(sys.argv[3]))
fit(sys.argv[2], watch=end)
"""


@pytest.mark.slow
def test_a_killed_training_leaves_no_process_and_ends_with_the_same_weights(
    tmp_path, begun, members
):
    (tmp_path / "whole").mkdir()
    whole, result = fit(tmp_path / "whole")
    first = [member.process.pid for member in members]
    process = begun(tmp_path, Path(__file__).parent, tmp_path, int(signal.SIGKILL), code=_KILLED)
    said, warned = process.communicate()
    assert process.returncode == -signal.SIGKILL, warned
    pids = [int(line) for line in said.split()]
    assert len(pids) == 2
    assert gone(pids)
    assert not warned
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["epoch"] == 1
    seen = []
    net, again = fit(tmp_path, watch=lambda epoch, accuracy: seen.append((epoch, accuracy)))
    assert seen == [(row["epoch"], row["validation_accuracy"]) for row in result.history[2:]]
    assert same(net, whole)
    assert told(again) == told(result)
    assert gone([*first, *(member.process.pid for member in members)])


@pytest.mark.parametrize("rank", [0, 1])
def test_the_death_of_a_process_is_one_line_and_no_other_trains_on(tmp_path, members, rank):
    def end(epoch, accuracy):  # noqa: ARG001
        if epoch == 2:
            members[rank].process.kill()

    with pytest.raises(InputError) as caught:
        fit(tmp_path, watch=end, max_epochs=200)
    said = str(caught.value)
    assert said.startswith(f"training: got an end of process {rank + 1} of 2 by SIGKILL")
    assert "the same command goes on" in said
    assert "\n" not in said
    assert gone([member.process.pid for member in members])
    kept = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(kept["history"]) in (2, 3)  # the other one may close the epoch before it is told
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_what_a_process_refuses_comes_through(tmp_path, members):
    broken = data()
    broken.train.pixels[3] = torch.nan
    with pytest.raises(InputError, match="loss of nan in epoch 1") as caught:
        fit(tmp_path, given=broken)
    assert "trainer.learning_rate below 0.002" in str(caught.value)
    assert gone([member.process.pid for member in members])
    assert not list(tmp_path.iterdir())


class Hopeless(Exception):  # noqa: N818
    """What a sweep raises."""


def test_who_watches_can_end_it_and_the_target_ends_it(tmp_path, members):
    def hopeless(epoch, accuracy):  # noqa: ARG001
        raise Hopeless

    with pytest.raises(Hopeless):
        fit(tmp_path, watch=hopeless)
    assert gone([member.process.pid for member in members])
    held = torch.load(tmp_path / CHECKPOINT, weights_only=True)["history"]
    assert len(held) == 1
    fit(tmp_path, target_accuracy=held[0]["validation_accuracy"])
    assert len(members) == 2  # the target holds already: none was started again
    (tmp_path / "other").mkdir()
    _, result = fit(tmp_path / "other", max_epochs=50, target_accuracy=0.9, learning_rate=2e-2)
    accuracies = [row["validation_accuracy"] for row in result.history]
    assert len(accuracies) < 50
    assert accuracies[-1] >= 0.9
    assert all(accuracy < 0.9 for accuracy in accuracies[:-1])


def test_pairs_of_an_invariant_training_stay_together(tmp_path, members):
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = nn.Sequential(
                nn.Conv2d(1, 4, 5, 2, bias=False),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.Flatten(),
                nn.LazyLinear(2),
            )
            net(torch.rand(2, 1, 32, 32))
        fields = {"max_epochs": 1, "batch_size": 15, "precision": "32", "learning_rate": 1e-3}
        trainer = InvariantTrainer(invariance="tag", processes=processes, **fields)
        given = TrianglesSquaresShortcut(count=100, pixels=32)
        options = {"seed": 0, "folder": folder, "device": CPU, "progress": False}
        found.append((net, trainer.fit(given, net, **options)))
    assert len(members) == 2
    # AdamW makes steps of gradients however small, and of what rounding leaves of one near zero a
    # part of a step; pairs that were torn apart change weights by whole steps.
    close(found[0][0], found[1][0], atol=fields["learning_rate"] / 100)
    first, second = (result.history[0]["train_loss"] for _, result in found)
    assert first == pytest.approx(second, rel=1e-4)


def test_a_network_that_no_other_process_can_be_given_is_refused(tmp_path, members):
    net = network()
    net.lock = threading.Lock()
    with pytest.raises(InputError, match=r"trainer\.processes: got 2 for .* allowed: 1"):
        fit(tmp_path, net=net)
    assert not members


def test_more_processes_than_there_can_be_are_refused(tmp_path, members, monkeypatch):
    with pytest.raises(InputError, match=r"processes: got 8 for batches of 15 .* at most 7"):
        Trainer(processes=8, batch_size=15)
    few = data()
    few.validation = split(1, 1)
    with pytest.raises(InputError, match="got 2 for 72 images to train and 1 to validate"):
        fit(tmp_path, given=few)
    with pytest.raises(InputError, match=r"got 2 for 3 images to train and 41 to .* at most 1,"):
        fit(tmp_path, epoch_samples=3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    trainer = Trainer(processes=2)
    with pytest.raises(InputError, match="got 2 where the number of GPUs is 1; allowed: at most"):
        parallel.refuse(trainer, data(), torch.device("cuda"))
    for name in ("mps", "cuda:0"):
        with pytest.raises(InputError, match=f"got 2 on device {name}; allowed"):
            parallel.refuse(trainer, data(), torch.device(name))
    assert not members


def test_networks_trained_by_one_process_keep_their_identity():
    assert "processes" not in identity(Trainer())[2]
    assert identity(Trainer(processes=2))[2]["processes"] == 2
    assert identity(Trainer(processes=2)) != identity(Trainer(processes=3))


def test_moved_scenes_stay_with_their_process():
    parts = TrianglesSquaresShortcut(count=50, pixels=32).train
    before = parts.images(torch.arange(3))
    assert parts._moved
    copy = pickle.loads(pickle.dumps(parts))
    assert not copy._moved
    assert torch.equal(copy.images(torch.arange(3)), before)
