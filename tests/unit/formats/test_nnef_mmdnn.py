"""NNEF and MMdnn: the way out and in again, and folders and pickles of strangers."""

import os
import shutil
import struct

import numpy as np
import pytest
import torch

import xai_exp as xe
from xai_exp.config import InputError, identity
from xai_exp.formats import exporting, opening
from xai_exp.formats.card import Card
from xai_exp.formats.mmdnn import weights
from xai_exp.formats.mmdnn import writing as mmdnn
from xai_exp.formats.nnef import tensors
from xai_exp.formats.nnef import writing as nnef
from xai_exp.formats.nnef.text import parse
from xai_exp.formats.onnx import importing
from xai_exp.models.exchanged import Onnx

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def written(network, images, tmp_path_factory):
    """A network with batch norm, pictures, and the paths of its NNEF folder and MMdnn graph."""
    model = exporting.exported(network, images, Card(classes=("a", "b", "c", "d"))).model
    root = tmp_path_factory.mktemp("written")
    nnef.write(model, root / "net", (1, 3, 32, 32))
    mmdnn.write(model, root / "net.pb", (1, 3, 32, 32))
    return network, images, root


@pytest.mark.parametrize("name", ["net", "net.pb"])
def test_logits_and_relevance_survive_the_way_out_and_in(written, name, apart):
    network, images, root = written
    back = opening.opened(root / name)
    with torch.no_grad():
        assert importing.difference(back.network(images), network(images)) < 1e-5
    ours, theirs = (
        xe.explain(n, images, "lrp", targets=None)["lrp"] for n in (network, back.network)
    )
    assert apart(ours, theirs) < 1e-4
    assert back.card.classes == ("a", "b", "c", "d")


def test_the_numbers_of_a_folder_decide_which_network_it_is(written):
    root = written[2]
    for path, numbers in ((root / "net", "net/variable0.dat"), (root / "net.pb", "net.npy")):
        before = identity(Onnx(path=str(path)))
        raw = (root / numbers).read_bytes()
        (root / numbers).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        assert identity(Onnx(path=str(path))) != before
        (root / numbers).write_bytes(raw)


HEAD = "version 1.0;\ngraph g( x ) -> ( y )\n{\n x = external<scalar>(shape = [1, 3, 32, 32]);\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("v = variable<scalar>(shape = [1], label = '../secret');", "outside the folder"),
        ("v = variable<scalar>(shape = [1], label = '/etc/passwd');", "outside the folder"),
        ("v = variable<scalar>(shape = [1], label = 'missing');", "no file missing.dat"),
        ("y = explode(x);", "operation explode"),
        ("y = relu(x", "line 5"),
        ("y = relu([[[[[[[[[[[x]]]]]]]]]]]);", "allowed: a name"),
        ("y = conv(x);", "with arguments that it has not"),
    ],
)
def test_folders_of_strangers_are_refused_in_one_line(tmp_path, line, said):
    (tmp_path / "secret.dat").write_bytes(bytes(132))
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "graph.nnef").write_text(f"{HEAD} {line}\n}}\n")
    with pytest.raises(InputError, match=said):
        opening.opened(tmp_path / "net")


def test_links_to_outside_a_folder_are_not_followed(written, tmp_path):
    """Neither the graph (whose text an error would show), nor the card, nor MMdnn's numbers."""
    shutil.copytree(written[2] / "net", tmp_path / "net")
    shutil.copy(written[2] / "net.pb", tmp_path / "net" / "net.pb")
    (tmp_path / "secret").write_text('{"classes": ["secret", "other"]}')
    (tmp_path / "net" / "card.json").unlink()
    (tmp_path / "net" / "card.json").symlink_to(tmp_path / "secret")
    assert opening.opened(tmp_path / "net").card.classes is None
    (tmp_path / "net" / "graph.nnef").unlink()
    for name, asked in (("graph.nnef", "net"), ("net.npy", "net/net.pb")):
        (tmp_path / "net" / name).symlink_to(tmp_path / "secret")
        with pytest.raises(InputError, match=r"folder") as caught:
            opening.opened(tmp_path / asked)
        assert "secret" not in str(caught.value)


def test_pickles_that_take_much_of_little_are_refused_before_memory_is_taken(tmp_path):
    np.save(tmp_path / "net.npy", np.array({}, object), allow_pickle=True)
    head = (tmp_path / "net.npy").read_bytes()[:128]
    for steps in (
        b"\x80\x02}r\xff\xff\xff\x7f.",  # the 2^31st place of a memory of places
        b"\x80\x05\x96" + struct.pack("<Q", 2**37) + b"x.",  # 128 GiB of bytes
        b"\x80\x02K\x01" + b"\x85" * 1_100_000 + b".",  # tuples of tuples
    ):
        (tmp_path / "net.npy").write_bytes(head + steps)
        with pytest.raises(InputError, match="can't be read"):
            weights.read(tmp_path / "net.npy")


def test_fragments_of_one_s_own_are_refused():
    with pytest.raises(InputError, match="fragments"):
        parse("version 1.0;\nfragment f( x ) -> ( y ) { y = x; }\ngraph g( x ) -> ( y ) { }")
    with pytest.raises(InputError, match="100000 operations"):
        parse("y = relu(x);" * 100_000)


def test_a_tensor_that_its_bytes_do_not_fill_is_refused(tmp_path):
    path = tmp_path / "v.dat"
    tensors.write(path, np.ones((2, 3)))
    assert tensors.read(path).tolist() == [[1.0] * 3] * 2
    raw = path.read_bytes()
    huge = raw[:8] + struct.pack("<I2I", 2, 2**31, 2**31) + raw[20:]
    for broken in (raw[:-4], raw[:40], huge, raw + b"1234", b"\0" * len(raw)):
        path.write_bytes(broken)
        with pytest.raises(InputError):
            tensors.read(path)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_among_weights_runs_nothing(tmp_path):
    outer = np.empty((), object)
    outer[()] = {"layer": {"weights": Evil(tmp_path / "made")}}
    np.save(tmp_path / "net.npy", outer, allow_pickle=True)
    with pytest.raises(InputError, match=r"a pickle of posix\.mkdir, which is not made"):
        weights.read(tmp_path / "net.npy")
    assert not (tmp_path / "made").exists()
    for broken in (b"", b"no numpy", (tmp_path / "net.npy").read_bytes()[:90]):
        (tmp_path / "net.npy").write_bytes(broken)
        with pytest.raises(InputError):
            weights.read(tmp_path / "net.npy")
    kept = {"layer": {"weights": np.arange(6.0, dtype=np.float32).reshape(2, 3)}}
    weights.write(tmp_path / "net.npy", kept)
    assert (
        weights.read(tmp_path / "net.npy")["layer"]["weights"] == kept["layer"]["weights"]
    ).all()
