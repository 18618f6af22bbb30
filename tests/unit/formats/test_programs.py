"""Programs and scripts in files: opened as what they were made of, or refused in a line."""

import warnings
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional

import xai_exp as xe
from tests.unit.models.test_file import Data
from xai_exp.config import InputError, identity
from xai_exp.formats import programs
from xai_exp.formats.programs.readable import readable
from xai_exp.models.exchanged.torch_program import Program

IMAGES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
MEAN = torch.tensor([0.4, 0.5, 0.6])
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = (nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.Hardswish())
        then = (nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, padding=1, groups=2, bias=False), nn.SiLU())
        end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4, 3))
        made = nn.Sequential(*first, *then, *end)
        nn.init.uniform_(made[1].running_mean)
        return made.eval()


def program(network, images=IMAGES[:1], *, core=False, **keys):
    made = torch.export.export(network, (images,), **keys)
    return made.run_decompositions() if core else made


def kinds(network):
    return {name: type(m) for name, m in network.named_modules() if not name.startswith("_")}


@pytest.mark.parametrize("core", [False, True])
def test_layers_are_modules_again_under_their_own_names(network, core):
    found = programs.of_program(program(network, core=core).module(), "it").network
    layers = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    expected = {name: kind for name, kind in kinds(network).items() if issubclass(kind, layers)}
    inner = found.get_submodule("network") if hasattr(found, "network") else found
    held = kinds(inner)
    assert {name: held[name] for name in expected} == expected
    torch.testing.assert_close(found(IMAGES), network(IMAGES))
    assert inner.get_submodule("0").padding == ((1, 1) if core else "same")
    assert inner.get_submodule("4").groups == 2


class Functions(nn.Module):
    """What is taken apart or renamed, one after the other."""

    def __init__(self, step):
        super().__init__()
        self.step, self.scale = step, nn.Parameter(torch.linspace(0.5, 2, 8))

    def forward(self, images):
        return self.step(images, self.scale).flatten(1)[:, :10]


STEPS = {
    "layer_norm": lambda x, w: functional.layer_norm(x, (8,), w, w),
    "group_norm": lambda x, _: functional.group_norm(x.repeat(1, 2, 1, 1)[:, :4], 2),
    "batch_norm": lambda x, _: functional.batch_norm(x, MEAN, 2 * MEAN, eps=0.1),
    "softmax": lambda x, _: torch.softmax(x, 3),
    "log_softmax": lambda x, _: functional.log_softmax(x, 1),
    "max_pool2d": lambda x, _: functional.max_pool2d(x, 3, 2, 1),
    "adaptive_avg_pool2d": lambda x, _: functional.adaptive_avg_pool2d(x, 3),
    "pad": lambda x, _: functional.pad(x, (1, 2, 0, 1), value=0.5),
    "getitem": lambda x, _: x[:, 1:, ::2, -3:],
    "hardswish": lambda x, _: functional.hardswish(9 * x - 5),
    "hardsigmoid": lambda x, _: functional.hardsigmoid(9 * x - 5),
    "silu": lambda x, _: functional.silu(9 * x - 5),
    "mish": lambda x, _: functional.mish(9 * x - 5),
    "leaky_relu": lambda x, _: functional.leaky_relu(9 * x - 5, 0.2),
    "prelu": lambda x, w: functional.prelu(9 * x - 5, w[:3]) + functional.prelu(x, w[:1]),
    "instance_norm": lambda x, _: functional.instance_norm(x),
    "interpolate": lambda x, _: functional.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "to": lambda x, _: x.double().relu().to(torch.float32),
    "conv_transpose2d": lambda x, w: functional.conv_transpose2d(
        x, w[:6].view(3, 1, 1, 2), stride=2, output_padding=1
    ),
    "conv2d": lambda x, w: functional.conv2d(x, w[:6].view(2, 3, 1, 1), dilation=2, padding=1),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_was_taken_apart_is_the_function_that_it_was(name):
    network = Functions(STEPS[name]).eval()
    module = program(network, IMAGES, core=True).module()
    found = readable(module)
    torch.testing.assert_close(found(IMAGES), network(IMAGES))
    called = [getattr(node.target, "__name__", "") for node in found.graph.nodes]
    assert name in [one.partition(".")[0] for one in called]


@pytest.mark.parametrize(
    "near",
    [
        lambda x, _: x * functional.relu6(x + 2.9) / 6,
        lambda x, _: x * torch.sigmoid(1.01 * x),
        lambda x, _: torch.clamp(x, 0, 5.9),
    ],
)
def test_what_is_nearly_an_activation_stays_as_it_is(near):
    network = Functions(lambda x, w: near(20 * x - 10, w)).eval()
    found = readable(program(network, IMAGES, core=True).module())
    torch.testing.assert_close(found(IMAGES), network(IMAGES))
    usual = {functional.hardswish, functional.silu, functional.relu6, functional.hardsigmoid}
    assert not usual & {node.target for node in found.graph.nodes}


def test_one_layer_called_twice_is_one_module_and_other_calls_of_its_weights_are_none():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            x = self.conv(self.conv(x).relu())
            return functional.conv2d(x, self.conv.weight, stride=2).mean((2, 3))

    network = Twice().eval()
    found = readable(program(network, IMAGES).module())
    torch.testing.assert_close(found(IMAGES), network(IMAGES))
    calls = [node.target for node in found.graph.nodes if node.op == "call_module"]
    assert calls.count("conv") == 2


def test_weights_beside_others_or_of_other_names_stay_where_they_are():
    class Held(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.scale = nn.Parameter(torch.rand(4, 3)), nn.Parameter(torch.rand(4))

        def forward(self, x):
            return functional.linear(x, self.weight) * self.scale

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(torch.rand(4, 4))

        def forward(self, x):
            return functional.linear(x, self.matrix)

    conv = nn.Conv2d(3, 3, 3)
    network = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Held(), Named()).eval()
    found = readable(program(network, IMAGES).module())
    torch.testing.assert_close(found(IMAGES), network(IMAGES))
    layers = [name for name, one in found.named_modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    assert layers == ["0"]


@pytest.mark.parametrize("core", [False, True])
def test_pictures_with_channels_last_are_turned(network, core):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x):
            return self.inner(x.permute(0, 3, 1, 2))

    found = programs.of_program(program(Last(), IMAGES.permute(0, 2, 3, 1), core=core).module(), "")
    torch.testing.assert_close(found.network(IMAGES), network(IMAGES))
    assert found.size == (8, 8)
    assert found.channels == 3
    assert found.notes == ("pictures are turned to channels last in front of it",)


def test_one_picture_at_a_time_where_it_can_t_be_otherwise():
    class One(nn.Module):
        def forward(self, x):
            rows = x.mean(1).flatten().split(64)
            return rows[0][None, :5] * rows[0].max()

    made = programs.of_program(program(One()).module(), "it")
    assert made.notes == ("it takes one picture at a time",)
    expected = torch.cat([One()(IMAGES[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(made.network(IMAGES), expected)


@quiet
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_of_a_script_is_one_function(groups):
    first, last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 6)
    network = nn.Sequential(first, nn.GroupNorm(groups, 4), last, nn.Flatten()).eval()
    nn.init.uniform_(network[1].weight)
    nn.init.uniform_(network[1].bias)
    found = programs.rebuilt(torch.jit.trace(network, IMAGES), IMAGES)
    assert "put together of pieces: 1 GroupNormalization" in found.notes
    methods = ("lrp", "full_grad", "grad_cam")
    expected, given = (xe.explain(one, IMAGES, methods) for one in (network, found.network))
    for method in methods:
        torch.testing.assert_close(given[method], expected[method], rtol=1e-4, atol=1e-6)


def test_other_inputs_are_refused_in_a_line():
    class Two(nn.Module):
        def forward(self, x, y):
            return x.mean((2, 3)) + y

    made = torch.export.export(Two(), (IMAGES, torch.ones(3, 3)))
    with pytest.raises(InputError, match=r"with the inputs x \(3, 3, 8, 8\); y \(3, 3\); allowed"):
        programs.of_program(made.module(), "it")


def test_pictures_of_whole_numbers_are_refused_in_a_line():
    class Whole(nn.Module):
        def forward(self, x):
            return x.float().mean((2, 3))

    made = torch.export.export(Whole(), ((9 * IMAGES).byte(),))
    with pytest.raises(InputError, match=r"for pictures of type torch\.uint8; allowed: floats"):
        programs.of_program(made.module(), "it")


def test_what_can_t_be_read_or_reads_otherwise_stays_as_it_is(network, monkeypatch):
    made = program(network).module()

    def fails(module):
        raise KeyError(module)

    for other in (fails, lambda module: nn.Sequential(module, nn.Hardtanh(-1e-3, 1e-3))):
        monkeypatch.setattr(programs, "readable", other)
        found = programs.of_program(made, "it").network
        torch.testing.assert_close(found(IMAGES), network(IMAGES))


@pytest.fixture
def written(network, tmp_path, monkeypatch):
    """Files of both kinds, and some that are neither."""
    monkeypatch.chdir(tmp_path)
    torch.export.save(program(network), "net.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, IMAGES), "net.pt")
    torch.save(network.state_dict(), "state.pt")
    (tmp_path / "text.pt2").write_text("no archive")
    whole = (tmp_path / "net.pt2").read_bytes()
    (tmp_path / "cut.pt2").write_bytes(whole[: len(whole) // 2])
    return tmp_path


@quiet
def test_a_file_is_told_by_what_is_in_it_and_others_are_refused(written):
    (written / "net.pt2").rename(written / "one")
    (written / "net.pt").rename(written / "other.pt2")
    assert [programs.kind(name) for name in ("one", "other.pt2", "state.pt", "text.pt2", "no")] == [
        "exported", "scripted", None, None, None,
    ]  # fmt: skip
    for name in ("state.pt", "text.pt2", "cut.pt2"):
        with pytest.raises(InputError, match=f"got {name}, which is no program; allowed"):
            programs.opened(name)
    with pytest.raises(InputError, match="got no, which is no file"):
        programs.opened("no")


@pytest.mark.usefixtures("written")
def test_an_archive_that_torch_can_t_open_is_refused_without_a_trace(capfd, caplog):
    with zipfile.ZipFile("net.pt2") as archive, zipfile.ZipFile("hurt.pt2", "w") as other:
        for name in archive.namelist():
            if not name.endswith(".json"):
                other.writestr(name, archive.read(name))
    with pytest.raises(InputError, match=r"got hurt.pt2, which torch .* can't open") as refused:
        programs.opened("hurt.pt2")
    assert "\n" not in str(refused.value)
    assert not capfd.readouterr().err
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


@pytest.mark.usefixtures("written")
@quiet
@pytest.mark.parametrize("name", ["net.pt2", "net.pt"])
def test_a_file_is_a_model_and_every_method_explains_it_as_the_network(network, name):
    model = Program(path=name)
    assert model.channels == 3
    found = model.ordered(model.build(3, (8, 8), 3), Data())
    methods = ("gradient", "lrp", "grad_cam", "deeplift", "full_grad")
    expected, heatmaps = (xe.explain(one, IMAGES, methods) for one in (network, found))
    for method in methods:
        torch.testing.assert_close(heatmaps[method], expected[method], rtol=1e-4, atol=1e-6)


@quiet
@pytest.mark.parametrize("name", ["net.pt2", "net.pt"])
def test_what_stands_in_front_and_the_order_of_classes_are_kept(network, written, name):
    (written / "names.txt").write_text("c\na\nb\n")
    model = Program(path=name, mean=0.5, std=(0.1, 0.2, 0.3), classes="names.txt")
    found = model.ordered(model.build(3, (8, 8), 3), Data())
    wanted = network((IMAGES - 0.5) / torch.tensor([0.1, 0.2, 0.3])[:, None, None])
    torch.testing.assert_close(found(IMAGES), wanted[:, [1, 2, 0]])


@pytest.mark.usefixtures("written")
def test_a_program_for_other_pictures_resizes_or_refuses(network):
    model = Program(path="net.pt2")
    large = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    resized = functional.interpolate(large, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(model.build(3, (16, 16), 3)(large), network(resized))
    with pytest.raises(InputError, match="for pictures of 3 channels where the data have 1"):
        model.build(1, (8, 8), 3)


@pytest.mark.usefixtures("written")
def test_another_file_of_the_same_name_is_another_network():
    model, before = Program(path="net.pt2"), identity(Program(path="net.pt2"))
    first = model.build(3, (8, 8), 3)(IMAGES)
    other = nn.Sequential(nn.Conv2d(3, 3, 8), nn.Flatten()).eval()
    torch.export.save(program(other), "net.pt2")
    assert identity(model) != before
    assert not torch.allclose(model.build(3, (8, 8), 3)(IMAGES), first)


@pytest.mark.usefixtures("written")
def test_a_new_head_is_learnt_on_a_program():
    built = Program(path="net.pt2", head="new").build(3, (8, 8), 5)
    assert built(IMAGES).shape == (3, 5)
    assert [name for name, one in built.named_parameters() if one.requires_grad] != []


@pytest.mark.usefixtures("written")
@quiet
@pytest.mark.parametrize("name", ["net.pt2", "net.pt"])
def test_load_gives_a_network_of_either_kind(network, name):
    expected = xe.explain(network, IMAGES, "lrp")
    found = xe.explain(xe.load(name), IMAGES, "lrp")
    torch.testing.assert_close(found["lrp"], expected["lrp"], rtol=1e-4, atol=1e-6)
