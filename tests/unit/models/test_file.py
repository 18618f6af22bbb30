"""Networks of one's own: the weights in a file, in the data's order of classes, by content."""

import sys

import pytest
import torch
from torch import nn

from xai_exp.config import InputError, identity
from xai_exp.data.loading import Splits, TensorSplit
from xai_exp.models.file import File
from xai_exp.models.torchvision import Torchvision
from xai_exp.training import Trainer

FACTORY = """
from torch import nn
def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
"""


class Data(Splits):
    """Three classes of noise."""

    classes = ("a", "b", "c")
    channels = 3
    size = (8, 8)

    def split(self, which):
        drawn = torch.Generator().manual_seed(which)
        pixels, labels = torch.rand(12, 3, 8, 8, generator=drawn), torch.arange(12) % 3
        return TensorSplit(pixels=pixels, labels=labels)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a factory and its weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_factory", raising=False)
    (tmp_path / "own_factory.py").write_text(FACTORY)
    save(tmp_path, 0)
    return tmp_path


def save(folder, seed, outputs=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs)
        network = nn.Sequential(*layers)
    torch.save(network.state_dict(), folder / "net.pt")
    return network


def built(data=None, **fields):
    data = data or Data()
    file = File(path="net.pt", factory="own_factory:build", **fields)
    return file.ordered(file.build(3, (8, 8), 3), data)


def test_pictures_are_normalised_in_front_of_the_network(own):
    network, images = save(own, 1), Data().test.images([0, 1, 2])
    found = built(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))(images)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3])
    wanted = network((images - mean[:, None, None]) / std[:, None, None])
    assert torch.allclose(found, wanted, atol=1e-5)


def test_outputs_are_put_into_the_data_s_order_by_their_names(own):
    (own / "names.txt").write_text("c\na\nb\n")
    network, images = save(own, 1), Data().test.images([0, 1, 2])
    found = built(classes="names.txt")(images)
    assert torch.allclose(found, network(images)[:, [1, 2, 0]], atol=1e-6)
    (own / "names.txt").write_text("c\na\nx\n")
    with pytest.raises(InputError, match="got no b among c, a, x"):
        built(classes="names.txt")


def test_other_weights_at_the_same_path_are_another_network(own):
    file = File(path="net.pt", factory="own_factory:build")
    before = identity(file)
    save(own, 0)
    assert identity(file) == before
    save(own, 1)
    assert identity(file) != before
    weighted = Torchvision(name="resnet18", weights="net.pt")
    before = identity(weighted)
    save(own, 2)
    assert identity(weighted) != before


def test_other_code_of_the_factory_is_another_network(own):
    file = File(path="net.pt", factory="own_factory:build")
    before = identity(file)
    (own / "own_factory.py").write_text(FACTORY + "# edited\n")
    assert identity(file) != before


def test_weights_that_do_not_fit_are_refused_in_one_line(own):
    save(own, 0, outputs=4)
    with pytest.raises(InputError, match=r"has shapes 3.weight \(4, 144\) for \(3, 144\)"):
        built()
    torch.save({"other.weight": torch.ones(1)}, own / "net.pt")
    with pytest.raises(InputError, match=r"lacks 0.weight.*and has besides other.weight"):
        built()
    torch.save(nn.Linear(1, 1), own / "net.pt")
    with pytest.raises(InputError, match="can't be read as weights alone"):
        built()


@pytest.mark.parametrize(("freeze", "learnt"), [("backbone", 2), ("nothing", 4)])
def test_fine_tuning_changes_what_is_not_frozen_and_nothing_else(own, freeze, learnt):
    network = built()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    trainer = Trainer(max_epochs=1, batch_size=4, precision="32", freeze=freeze)
    options = {"seed": 0, "folder": own, "device": torch.device("cpu"), "progress": False}
    assert trainer.fit(Data(), network, **options).epochs == 1
    changed = [k for k, v in network.state_dict().items() if not torch.equal(v, before[k])]
    assert len(changed) == learnt
    assert all(key.startswith("3.") for key in changed) or freeze == "nothing"


def test_weights_are_used_as_they_are_unless_asked(own):
    network = built()
    options = {"seed": 0, "folder": own, "device": torch.device("cpu"), "progress": False}
    assert Trainer().fit(Data(), network, **options).epochs == 0
