"""The table of networks says of each what was found, refused or not measured: all are there."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("networks_table", SCRIPTS / "networks_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def method(**guards):
    return {"finite": True, "guards": guards}


FOUND = {
    "one": {
        "size": 64,
        "parameters": 1_200_000,
        "methods": {
            "deeplift": method(completeness_gap=0.9),
            "full_grad": method(completeness_gap=1e-7),
            "gradient": method(),
            "lrp": {"refused": "no rule for mul()"},
            "grad_cam": method() | {"layer": "layer4"},
            "pattern_net": {"finite": False, "guards": {}},
        },
    },
    "two": {"failed": "took more than 900 s"},
}


def test_every_network_and_every_method_has_its_word(script):
    page = script.page(FOUND, ["one", "three", "two"], "0.1")
    for line in (
        "| *size* | 64px, 1.2M |",
        "| deeplift | **90 %** |",
        "| full_grad | 0 % |",
        "| gradient | + |",
        "| lrp | a |",
        "| pattern_net | ! |",
        "| *maps of* | layer4 |",
        "- **a**: no rule for mul()",
        "- three: not measured yet",
        "- two: took more than 900 s",
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
        ("import time; time.sleep(60)", "took more than 1 s"),
        ("raise MemoryError('out of memory')", "GiB of memory"),
        ("raise ValueError('no such thing')", "ValueError: no such thing"),
    ],
)
def test_a_network_that_is_not_measured_says_why(script, monkeypatch, tmp_path, code, why):
    program = tmp_path / "program.py"
    program.write_text(code)
    monkeypatch.setattr(script, "__file__", str(program))
    monkeypatch.setattr(script, "SECONDS", 1 if "sleep" in code else 60)
    assert why in script.measured("any")["failed"]


def test_a_stopped_run_goes_on_where_it_was(script, monkeypatch, tmp_path):
    import torchvision

    monkeypatch.setattr(torchvision.models, "list_models", lambda **_: ["one", "three", "two"])
    monkeypatch.setattr(script, "STORED", tmp_path / "networks.json")
    monkeypatch.setattr(script, "PAGE", tmp_path / "networks.md")
    (tmp_path / "networks.json").write_text(json.dumps(FOUND))
    asked = []
    monkeypatch.setattr(script, "measured", lambda name: asked.append(name) or FOUND["two"])
    assert script.main([]) == 0
    assert asked == ["three"]
    assert set(json.loads((tmp_path / "networks.json").read_text())) == {"one", "two", "three"}
    assert script.main(["four"]) == 1
    assert "- three: took more than 900 s" in (tmp_path / "networks.md").read_text()
    assert sys.modules.get("networks_table") is None
