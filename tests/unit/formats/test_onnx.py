"""ONNX files: the same logits and the same relevance, or one line that says why not."""

import io
import warnings

import pytest
import torch
from torch.nn import functional

import xai_exp as xe
from xai_exp.config import InputError, identity
from xai_exp.formats import exporting
from xai_exp.formats.card import Card
from xai_exp.formats.onnx import importing
from xai_exp.formats.onnx.imported import Imported
from xai_exp.models.asked import Asked, Preprocessing, resizing
from xai_exp.models.exchanged import Onnx

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = onnx.TensorProto.FLOAT


def model(nodes, constants, shape=("n", 3, 8, 8), opset=17, **metadata):
    """An ONNX model from x to y."""
    held = [numpy_helper.from_array(torch.as_tensor(v).numpy(), k) for k, v in constants.items()]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        held,
    )
    made = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(made, metadata)
    return made


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def loaded(made):
    return importing.of_model(made, "net.onnx")


@pytest.fixture(scope="module")
def trained(network, images):
    """A network, pictures, and the network as it comes back from its file."""
    made = exporting.exported(network, images, Card(classes=("a", "b", "c", "d"), size=(32, 32)))
    return network, images, made, loaded(made.model)


def test_logits_and_relevance_survive_the_way_out_and_in(trained, apart):
    network, images, made, back = trained
    assert made.error < 1e-5
    with torch.no_grad():
        assert importing.difference(back.network(images), network(images)) < 1e-5
    for name in ("lrp", "grad_cam"):
        ours, theirs = (
            xe.explain(n, images, name, targets=None)[name] for n in (network, back.network)
        )
        assert apart(ours, theirs) < 1e-4, name
    assert back.card == Card(classes=("a", "b", "c", "d"), size=(32, 32))


def test_pictures_of_another_size_are_resized_in_the_file_as_in_torch(network):
    """With anti-aliasing, for which ONNX has no operator at this opset."""
    how = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), size=(32, 32))
    asked = Asked(how.module(3), network)
    for size in ((70, 61), (20, 25), (32, 40)):
        made = exporting.exported(asked, torch.rand(3, 3, *size))
        assert made.error < 1e-5, size


def test_every_line_of_pixels_becomes_one_of_another_length_as_torch_does_it():
    for before, after in ((32, 7), (7, 32), (50, 17), (5, 5), (1, 4), (4, 1)):
        images = torch.rand(1, 1, 3, before, dtype=torch.float64)
        wanted = functional.interpolate(
            images, (3, after), mode="bilinear", align_corners=False, antialias=True
        )
        assert torch.allclose(images @ resizing(before, after).T.double(), wanted, atol=1e-6)


def test_the_file_of_a_run_says_what_goes_in_and_comes_out(trained, tmp_path):
    exporting.export(
        trained[0], trained[1], tmp_path / "n.onnx", Card(mean=(0.0,), classes=("a", "b"))
    )
    words = {one.key: one.value for one in onnx.load(tmp_path / "n.onnx").metadata_props}
    assert words["classes"] == '["a", "b"]'
    assert words["preprocessing"].startswith("pictures in 0..1")
    assert onnx.load(tmp_path / "n.onnx").opset_import[0].version == 17


def test_other_numbers_beside_a_file_are_another_network(trained, tmp_path):
    made = trained[2].model
    onnx.save_model(made, tmp_path / "n.onnx", save_as_external_data=True, location="n.data",
                    size_threshold=0)  # fmt: skip
    path = Onnx(path=str(tmp_path / "n.onnx"))
    before = identity(path)
    with torch.no_grad():
        answer = path.build(3, (32, 32), 4)(trained[1])
    assert importing.difference(answer, trained[0](trained[1]).detach()) < 1e-5
    raw = bytearray((tmp_path / "n.data").read_bytes())
    raw[1] ^= 1
    (tmp_path / "n.data").write_bytes(raw)
    assert identity(path) != before


def test_numbers_outside_the_folder_are_not_read(trained, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(bytes(10**6))
    made = onnx.ModelProto()
    made.CopyFrom(trained[2].model)
    tensor = made.graph.initializer[0]
    for location in ("../secret", str(tmp_path / "secret"), "link", "missing"):
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=location)
        (tmp_path / "in" / "link").unlink(missing_ok=True)
        (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
        (tmp_path / "in" / "n.onnx").write_bytes(made.SerializeToString())
        with pytest.raises(InputError, match=r"folder|missing"):
            importing.load(tmp_path / "in" / "n.onnx")


def test_damaged_files_are_refused_in_one_line(trained, tmp_path):
    raw, path = trained[2].model.SerializeToString(), tmp_path / "n.onnx"
    for cut in (raw[: len(raw) // 2], b"", b"no network", raw[:-200]):
        path.write_bytes(cut)
        with pytest.raises(InputError) as caught:
            importing.load(path)
        assert "\n" not in str(caught.value)


W = {"w": drawn(4, 192), "b": drawn(4)}
TAIL = [node("Flatten", "f", "g"), node("Gemm", "g w b", "y", transB=1)]


@pytest.mark.parametrize(
    ("nodes", "constants", "line"),
    [
        ([node("Relu", "r", "f"), node("Relu", "f", "r"), *TAIL], W, "without circles"),
        ([node("Relu", "nowhere", "f"), *TAIL], W, "nothing before it makes"),
        (
            [node("ConstantOfShape", "s", "c"), node("Add", "x c", "f"), *TAIL],
            {**W, "s": torch.tensor([10**6, 10**6])},
            "2\\^28",
        ),
        (
            [node("Tile", "x s", "f"), *TAIL],
            {**W, "s": torch.tensor([1, 1, 10**5, 10**5])},
            "2\\^28",
        ),
    ],
)
def test_circles_gaps_and_absurd_shapes_are_refused_before_they_take_memory(nodes, constants, line):
    with pytest.raises(InputError, match=line):
        loaded(model(nodes, constants))


def test_a_shape_that_its_numbers_do_not_fill_is_refused(tmp_path):
    made = model([node("Identity", "x", "f"), *TAIL], W)
    made.graph.initializer[0].dims[0] = 10**9
    (tmp_path / "n.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(InputError, match="with 3072 bytes; allowed: 768"):
        importing.load(tmp_path / "n.onnx")


def test_activations_in_pieces_are_found_by_what_they_calculate():
    pieces = {
        "swish": [node("Sigmoid", "x", "s"), node("Mul", "x s", "f")],
        "hardswish": [
            node("Add", "x three", "a"), node("Clip", "a zero six", "c"),
            node("Mul", "x c", "m"), node("Div", "m six", "f"),
        ],
        "gelu": [
            node("Div", "x root", "d"), node("Erf", "d", "e"), node("Add", "e one", "a"),
            node("Mul", "x a", "m"), node("Mul", "m half", "f"),
        ],
    }  # fmt: skip
    held = {"three": 3.0, "zero": 0.0, "six": 6.0, "root": 2**0.5, "one": 1.0, "half": 0.5}
    constants = {**W, **{name: torch.tensor(value) for name, value in held.items()}}
    wanted = {"swish": "Swish", "hardswish": "HardSwish", "gelu": "Gelu"}
    for name, nodes in pieces.items():
        found = loaded(model([*nodes, *TAIL], constants))
        assert f"put together of pieces: 1 {wanted[name]}" in found.notes, name
        assert found.error < 1e-5
    almost = {**constants, "six": torch.tensor(5.0)}
    assert not any(
        "pieces" in note for note in loaded(model([*pieces["hardswish"], *TAIL], almost)).notes
    )


def test_a_softmax_at_the_end_is_cut_and_channels_last_are_turned():
    nodes = [
        node("Flatten", "x", "g"), node("MatMul", "g v", "m"), node("Add", "m b", "l"),
        node("Softmax", "l", "y"),
    ]  # fmt: skip
    found = loaded(model(nodes, {"v": drawn(192, 4), "b": drawn(4)}, ("n", 8, 8, 3)))
    images = torch.rand(2, 3, 8, 8)
    wanted = images.permute(0, 2, 3, 1).flatten(1) @ drawn(192, 4) + drawn(4)
    assert torch.allclose(found.network(images), wanted, atol=1e-5)
    assert found.notes[0].startswith("a softmax at the end is cut")
    assert "channels last" in found.notes[1]
    assert any("became their biases" in note for note in found.notes)


def test_a_batch_of_one_in_the_file_is_any_number_here():
    nodes = [node("Reshape", "x s", "g"), node("Gemm", "g w b", "y", transB=1)]
    constants = {**W, "s": torch.tensor([1, 192])}
    found = loaded(model(nodes, constants, (1, 3, 8, 8)))
    images = torch.rand(3, 3, 8, 8)
    wanted = functional.linear(images.flatten(1), *W.values())
    assert torch.allclose(found.network(images), wanted, atol=1e-5)


def test_what_has_no_torch_function_is_a_black_box_that_names_it():
    nodes = [node("Det", "x", "d"), node("Gemm", "d w b", "y", transB=1)]
    found = loaded(model(nodes, {"w": drawn(4, 3), "b": drawn(4)}, opset=11))
    assert not found.converted
    assert "got Det (version 11" in found.notes[-1]
    images = torch.rand(1, 3, 8, 8)
    assert torch.allclose(
        found.network(images),
        functional.linear(torch.linalg.det(images), drawn(4, 3), drawn(4)),
        atol=1e-4,
    )
    assert xe.explain(found.network, images, "occlusion")["occlusion"].abs().max() > 0
    with pytest.raises(InputError, match="black box"):
        xe.explain(found.network, images, "gradient")
    with pytest.raises(InputError, match="which only the file itself holds"):
        exporting.exported(found.network, images)


def test_a_file_in_which_a_picture_s_values_are_frozen_is_not_written():
    class Frozen(torch.nn.Module):
        """Its course hangs on the picture, which tracing does not see."""

        def forward(self, images):
            rows = images.flatten(1) if float(images.mean()) > 0.7 else -images.flatten(1)
            return rows[:, :3]

    with pytest.raises(InputError, match="answers differently"):
        exporting.exported(Frozen(), torch.full((3, 3, 8, 8), 0.9))


def test_lengths_that_follow_from_pictures_stay_so_when_a_file_goes_out_again():
    nodes = [
        node("Shape", "x", "s"), node("Slice", "s zero one", "n"),
        node("Concat", "n rest", "to", axis=0),
        node("Reshape", "x to", "g"), node("Gemm", "g w b", "y", transB=1),
    ]  # fmt: skip
    whole = {"zero": torch.tensor([0]), "one": torch.tensor([1]), "rest": torch.tensor([192])}
    network = loaded(model(nodes, {**W, **whole})).network
    assert exporting.exported(network, torch.rand(3, 3, 8, 8)).error < 1e-5


def test_what_the_file_says_of_pictures_goes_in_front(tmp_path):
    said = {"mean": "[0.5, 0.5, 0.5]", "std": "[0.25, 0.25, 0.25]", "names": "{0: 'a', 1: 'b'}"}
    nodes = [node("Flatten", "x", "g"), node("Gemm", "g w", "y", transB=1)]
    made = model(nodes, {"w": drawn(2, 192)}, **said)
    (tmp_path / "n.onnx").write_bytes(made.SerializeToString())
    images = torch.rand(2, 3, 8, 8)
    wanted = ((images - 0.5) / 0.25).flatten(1) @ drawn(2, 192).T
    assert torch.allclose(xe.load(tmp_path / "n.onnx")(images), wanted, atol=1e-4)
    assert Onnx(path=str(tmp_path / "n.onnx")).names == ("a", "b")


def test_older_opsets_mean_what_they_meant():
    """Softmax took all axes together before opset 13; ReduceMean had its axes as an attribute."""
    for opset in (9, 11, 12, 13, 18):
        mean = {"axes": [2, 3]} if opset < 18 else {}
        inputs = "s" if opset < 18 else "s axes"
        nodes = [
            node("Softmax", "x", "s", axis=1), node("ReduceMean", inputs, "m", **mean),
            node("Flatten", "m", "g"), node("Gemm", "g w b", "y", transB=1),
        ]  # fmt: skip
        constants = {"w": drawn(4, 3), "b": drawn(4)}
        constants |= {"axes": torch.tensor([2, 3])} if opset >= 18 else {}
        found = loaded(model(nodes, constants, opset=opset))
        images = torch.rand(2, 3, 8, 8)
        soft = images.softmax(1) if opset > 12 else images.flatten(1).softmax(1).view_as(images)
        wanted = functional.linear(soft.mean((2, 3)), drawn(4, 3), drawn(4))
        assert found.converted
        assert torch.allclose(found.network(images), wanted, atol=1e-5), opset


def test_the_copies_that_explainers_make_share_weights(trained):
    import copy

    network = trained[3].network
    tensors = [*network.parameters(), *network.buffers()]
    same = copy.deepcopy(network, {id(one): one for one in tensors})
    assert isinstance(same.network, Imported)
    assert next(same.parameters()) is next(network.parameters())
    with torch.no_grad():
        assert torch.equal(same(trained[1]), network(trained[1]))


def test_pictures_and_notes_are_left_alone(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        buffer = io.BytesIO()
        torch.save(trained[3].network.state_dict(), buffer)
    assert not trained[3].notes or all("\n" not in note for note in trained[3].notes)
