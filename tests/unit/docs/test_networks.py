"""The table of networks says of each what was found, refused or not measured: all are there."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from xai_exp.explainers.promises import Promises, value

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("networks_table")


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("networks_measure")


def method(**guards):
    return {"finite": True, "guards": guards}


FOUND = {
    "one": {
        "size": 64,
        "parameters": 1_200_000,
        "methods": {
            "deeplift": method(completeness_gap=0.9) | {"exact": 1e-6},
            "kernel_shap": method(completeness_gap=0.9) | {"exact": None},
            "full_grad": method(completeness_gap=1e-7),
            "gradient": method(),
            "lrp": {"refused": "no rule for mul()"},
            "grad_cam": method() | {"layer": "layer4"},
            "pattern_net": {"finite": False, "guards": {}},
        },
    },
    "two": {"failed": "took more than 10 GiB of memory"},
}


def test_every_network_and_every_method_has_its_word(script):
    keys = {"gradient": "today's"}
    page = script.page(FOUND, {"one": ["one", "three"], "two": ["two"]}, "0.1", keys)
    for line in (
        "| *size* | 64px, 1.2M |",
        "| deeplift | **90 %** (0 %) |",
        "| kernel_shap | **90 %** |",
        "| full_grad | 0 % |",
        "| gradient | +° |",
        "| lrp | a |",
        "| pattern_net | ! |",
        "| *maps of* | layer4 |",
        "- **a**: no rule for mul()",
        "- three: not measured; see one",
        "- two: took more than 10 GiB of memory",
        "1 of 3 networks are measured",
    ):
        assert line in page
    assert page.count("\n- one") == 0


def test_letters_go_on_behind_z(script):
    assert [script._letter(number) for number in (0, 25, 26, 51, 52)] == [
        "a",
        "z",
        "aa",
        "az",
        "ba",
    ]
    assert [script.percent(one) for one in (1e-7, 0.023, 1045.0)] == ["0 %", "2.3 %", "1e+05 %"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise MemoryError('out of memory')", "GiB of memory"),
        ("import os; os.kill(os.getpid(), 9)", "GiB of memory"),
        ("raise ValueError('no such thing')", "ValueError: no such thing"),
    ],
)
def test_a_network_that_ends_early_says_why_and_keeps_what_it_had(
    script, monkeypatch, tmp_path, code, why
):
    program = tmp_path / "program.py"
    program.write_text("print('{\"size\": 64}', flush=True)\n" + code)
    monkeypatch.setattr(script, "MEASURE", program)
    told = list(script.measured("any", ["lrp"]))
    assert told[0] == {"size": 64}
    assert why in told[1]["failed"]
    assert len(told) == 2


def test_a_method_that_takes_too_long_is_a_line(measure, monkeypatch):
    class Endless:
        def __call__(self, *_):
            while True:
                pass

    monkeypatch.setattr(measure, "SECONDS", 0.2)
    images = torch.zeros(1, 3, 4, 4)
    said = measure.explained(Endless(), None, images, torch.tensor([0]), images)
    assert said == {"refused": "took more than 0.2 s on one core"}


def test_a_stopped_run_goes_on_where_it_was(script, monkeypatch, tmp_path):
    import torchvision

    monkeypatch.setattr(torchvision.models, "list_models", lambda **_: ["one", "three", "two"])
    monkeypatch.setattr(script, "kinds", lambda _: {"three": ["three", "one"], "two": ["two"]})
    monkeypatch.setattr(script, "method_keys", lambda: {"lrp": "new", "gradient": "same"})
    monkeypatch.setattr(script, "STORED", tmp_path / "networks.json")
    monkeypatch.setattr(script, "PAGE", tmp_path / "networks.md")
    before = {"lrp": method() | {"key": "old"}, "gradient": method() | {"key": "same"}}
    one = {"size": 64, "parameters": 1_000_000, "methods": before}
    (tmp_path / "networks.json").write_text(json.dumps({"one": one, "two": FOUND["two"]}))
    asked = []

    def measured(name, methods):
        asked.append((name, methods))
        yield {"size": 64, "parameters": 1_000_000}
        yield {"methods": {one: method() | {"key": "new"} for one in methods}}

    monkeypatch.setattr(script, "measured", measured)
    assert script.main([]) == 0
    assert asked == [("three", ["lrp", "gradient"]), ("one", ["lrp"])]
    kept = json.loads((tmp_path / "networks.json").read_text())
    assert kept["one"]["methods"]["lrp"]["key"] == "new"
    assert set(kept) == {"one", "two", "three"}
    assert script.main(["four"]) == 1
    assert "- two: took more than 10 GiB of memory" in (tmp_path / "networks.md").read_text()


def test_networks_of_the_same_modules_are_of_one_kind(script):
    found = script.kinds(["resnet34", "resnet18", "resnet50", "vgg11"])
    assert found == {
        "resnet18": ["resnet18", "resnet34"],
        "resnet50": ["resnet50"],
        "vgg11": ["vgg11"],
    }


def test_a_sum_that_is_off_is_measured_in_float64_unless_points_on_a_way_are_few(script):
    off = method(completeness_gap=0.9) | {"key": "same"}
    assert script.stale("deeplift", off, "same")
    assert not script.stale("deeplift", off | {"exact": None}, "same")
    assert not script.stale("deeplift", method(completeness_gap=0.001) | {"key": "same"}, "same")
    assert not script.stale("guided_ig", off, "same")
    assert script.stale("guided_ig", off, "other")


def test_what_rounding_took_is_there_in_float64(measure):
    class Faint(torch.nn.Module):
        def forward(self, images):
            return (1 + 1e-9 * images.sum((1, 2, 3)))[:, None].repeat(1, 2)

    class Flat(Promises):
        def __call__(self, model, images, targets):
            return value(model, images, targets)[:, None, None] - torch.ones_like(images[:, 0])

        def promised(self, model, images, targets):  # noqa: ARG002
            return 1e-9 * images.sum((1, 2, 3))

    images = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1)  # of less, float64 keeps too few digits
    given = Flat(), Faint(), images, torch.tensor([0, 1])
    assert measure.explained(*given, images)["guards"]["completeness_gap"] > 0.1
    assert measure.exact(*given, images) < 1e-6
