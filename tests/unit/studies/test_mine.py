"""The page of experiment=mine: pictures first, every witness, and what none of them knows."""

import numpy as np
import pytest

from tests.unit.witnesses.test_answer import answer, lenders, trials
from xai_exp.config import InputError
from xai_exp.studies.mine import NAMES, Mine
from xai_exp.studies.mine_page import UNKNOWN, sections
from xai_exp.witnesses.looks import LOOKS


@pytest.fixture
def judged():
    lent = lenders(a=[0.9, 0.8, 0.9], b=[0.5, 0.4, 0.45], c=[0.9, 0.7, 0.2])
    return answer(trials(a=0.9, b=0.1, c=-0.8), lent)


def test_the_page_has_pictures_witnesses_certificates_and_limits(judged):
    scores = {name: list(np.linspace(0, 1, 8) + place) for place, name in enumerate("abc")}
    measures = {"infidelity": (False, {**scores, "random": [5.0] * 8, "sobel": [0.2] * 8})}
    seen = {name: (np.full((2, 3, 6, 6), 90, np.uint8), np.ones((2, 6, 6))) for name in "abc"}
    made = sections(judged, trials(count=1, a=0.9), measures, seen, ["<no> weights"])
    assert made[0].title == "In pictures"
    assert "data:image/png;base64," in made[0].body
    assert "c (broken here)" in made[0].body
    assert "FAILED the planted test" in made[1].body
    assert (
        "infidelity: 3 of 3 methods are clearly ahead of random, 0 clearly behind" in made[1].body
    )
    assert "recommended: 1 of 8 were wrong where truth is known" in made[1].body
    assert "4 of 4 copies" in made[2].body
    assert made[2].body.count("matched scenes") == 1
    assert "&lt;no&gt; weights" in made[2].body
    assert made[3].body.count("<li>") == len(UNKNOWN)


def test_looks_are_named_as_they_are():
    assert NAMES == LOOKS


@pytest.mark.parametrize(
    ("field", "value"),
    [("looks", ["glitter"]), ("seeds", 0), ("planted_images", 1), ("steps", 0)],
)
def test_a_wrong_choice_is_refused_before_anything_runs(field, value):
    fields = {"looks": ["solid"], "seeds": 1, "planted_images": 4, "steps": 10} | {field: value}
    with pytest.raises(InputError, match=f"report.{field}: got (glitter|0|1)"):
        Mine(title="", **fields)
