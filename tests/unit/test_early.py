"""What is refused before torch is imported says what the full check says, of every class."""

import re
from dataclasses import fields
from typing import get_type_hints

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from xai_exp.build import Settings
from xai_exp.config import InputError, config_folder, problem
from xai_exp.trust import early

TARGETS = sorted(
    {
        target
        for path in config_folder().rglob("*.yaml")
        for target in re.findall(r"_target_: (xai_exp[\w.]+)", path.read_text())
    }
)
VALUES = ["abc", -1, 0, 1, 2.5, True, None, [1, 2], ["a"], 1e9, float("nan"), [0.5, 1.0]]


def test_every_annotation_that_is_read_from_the_source_is_what_python_makes_of_it():
    seen = total = 0
    for target in [*TARGETS, "xai_exp.build.Settings"]:
        kind = get_object(target)
        if not getattr(kind, "__dataclass_fields__", None):
            continue
        hints = get_type_hints(kind, include_extras=True)
        read = early._annotations(target)
        names = [field.name for field in fields(kind)]
        assert [name for name in names if name in read] == [one for one in read if one in names]
        for name in names:
            total += 1
            if name in read:
                seen += 1
                for value in VALUES:
                    assert problem(read[name], value)[0] == problem(hints[name], value)[0]
    assert seen / total > 0.9


def config(**groups):
    return OmegaConf.create(groups)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"images": "abc"}, "images: got 'abc'; allowed: a whole number >= 1"),
        (
            {"dataset": {"_target_": "xai_exp.data.counting.Counting", "pixels": 2.5}},
            "dataset: Counting.pixels: got 2.5; allowed: a whole number >= ",
        ),
        (
            {"explainer": {"mine": {"_target_": "xai_exp.explainers.lrp.LRP", "epsilon": -1}}},
            "explainer.mine: LRP.epsilon: got -1.0; allowed: a number > 0",
        ),
        (
            {"dataset": {"_target_": "xai_exp.data.image_folder.ImageFolder", "root": "/nowhere"}},
            "dataset: ImageFolder.root: got /nowhere; allowed: a folder that exists",
        ),
    ],
)
def test_the_line_is_that_of_the_full_check(given, line):
    with pytest.raises(InputError, match=re.escape(line)):
        early.refuse(config(**given))
    node = next(iter(given.values()))
    node = given if isinstance(node, str) else node.get("mine", node)
    kind = get_object(node["_target_"]) if "_target_" in node else Settings
    with pytest.raises(InputError) as full:
        kind(**{key: value for key, value in node.items() if key != "_target_"})
    assert line.rpartition(": got")[2] in str(full.value)


def test_what_cannot_be_read_is_left_to_the_full_check():
    early.refuse(config(dataset={"_target_": "elsewhere.Data", "count": "x"}, images=3))
    early.refuse(config(dataset={"_target_": "xai_exp.nowhere.Data"}, metric=None, model=None))
    assert early._annotations("xai_exp.data.nothing") == {}
