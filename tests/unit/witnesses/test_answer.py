"""What the witnesses say together: pair by pair, and never more than they know."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from xai_exp.witnesses import borrowed
from xai_exp.witnesses.answer import Answer, Pair
from xai_exp.witnesses.borrowed import WIDTHS, Lender, Library, lead, likeness
from xai_exp.witnesses.certificate import Certificate
from xai_exp.witnesses.leads import Lead, planted_lead, planted_skill
from xai_exp.witnesses.trial import Asked, Trial

HOLDS = Certificate(good=1.0, ratio=2.0, idle=0.0, spread=0.0)
FAILS = replace(HOLDS, fault="accuracy 0.5")
LIKE = dict.fromkeys(WIDTHS, 0.0)
BETTER, WORSE, UNKNOWN = Lead(1, 0.5, 1.5), Lead(-1, -1.5, -0.5), Lead(0.1, -1, 1.2)


def trials(certificate=HOLDS, count=4, **means):
    """Trials in which each explainer has this mean skill on eight images."""
    made = np.random.default_rng(0)
    return [
        Trial(
            asked=Asked(design="worth", look="solid", seed=seed),
            certificate=certificate,
            skills={name: list(mean + 0.01 * made.normal(size=8)) for name, mean in means.items()},
            weights=[1.0] * 8,
            refused={},
        )
        for seed in range(count)
    ]


def lenders(**skills):
    """Three networks of as many tasks; the skills of each explainer on them."""
    return Library(
        lenders=[
            Lender(
                name=f"{task}-cnn",
                task=task,
                features=LIKE,
                skills={name: values[place] for name, values in skills.items()},
            )
            for place, task in enumerate(("one", "two", "three"))
        ],
        rates={"recommended": {"said": 9, "clear": 8, "opposite": 1, "told apart": 8}},
    )


@pytest.mark.parametrize(
    ("planted", "lent", "kind", "side"),
    [
        (BETTER, BETTER, "recommended", 1),
        (WORSE, WORSE, "recommended", -1),
        (BETTER, UNKNOWN, "lean by plants", 1),
        (UNKNOWN, WORSE, "lean by borrowed truth", -1),
        (BETTER, WORSE, "undecided", 0),
        (UNKNOWN, UNKNOWN, "alike", 0),
        (Lead(math.nan, math.nan, math.nan), BETTER, "lean by borrowed truth", 1),
    ],
)
def test_a_verdict_is_by_both_witnesses(planted, lent, kind, side):
    pair = Pair(first="a", second="b", planted=planted, borrowed=lent)
    assert (pair.kind, pair.side) == (kind, side)


def test_a_lead_of_borrowed_truth_is_a_weighted_mean_over_tasks():
    far = {**LIKE, "depth": 1.0}
    made = lenders(a=[0.9, 0.7, 0.8], b=[0.5, 0.6, 0.1])
    made = replace(
        made,
        lenders=[
            *made.lenders,
            Lender(name="one-vgg", task="one", features=far, skills={"a": 0.4, "b": 0.4}),
            Lender(name="four-vgg", task="four", features=far, skills={"a": 0.2}),
        ],
    )
    half = math.exp(-0.5)
    assert likeness(LIKE, far) == pytest.approx(half)
    differences = np.array([(0.4 + half * 0.0) / (1 + half), 0.1, 0.7])
    expected = differences.mean()
    error = np.sqrt(((differences - expected) ** 2).sum() / 9 * 3 / 2)
    reach = stats.t.ppf(0.975, 2) * error
    assert lead(made, LIKE, "a", "b") == pytest.approx(
        (expected, expected - reach, expected + reach)
    )
    assert all(math.isnan(one) for one in lead(made, LIKE, "a", "nowhere"))


def test_one_task_says_nothing_of_others():
    made = replace(
        lenders(a=[0.9] * 3, b=[0.1] * 3), lenders=lenders(a=[0.9] * 3, b=[0.1] * 3).lenders[:1]
    )
    found = lead(made, LIKE, "a", "b")
    assert found.mean == pytest.approx(0.8)
    assert math.isnan(found.low)
    assert found.side == 0


def test_plants_without_a_certificate_say_nothing():
    assert planted_lead(trials(a=0.9, b=0.1), "a", "b").side == 1
    assert math.isnan(planted_lead(trials(FAILS, a=0.9, b=0.1), "a", "b").mean)
    assert math.isnan(planted_lead(trials(count=2, a=0.9, b=0.1), "a", "b").mean)
    assert planted_skill(trials(a=0.9), "a").mean == pytest.approx(0.9, abs=0.02)


def answer(planted, lent):
    return Answer(explainers=("a", "b", "c"), trials=planted, features=LIKE, library=lent)


def test_the_sentence_says_what_each_kind_of_verdict_is_worth():
    made = answer(
        trials(a=0.9, b=0.1, c=-0.8),
        lenders(a=[0.9, 0.8, 0.9], b=[0.5, 0.4, 0.45], c=[0.9, 0.7, 0.2]),
    )
    assert made.best == "a"
    assert made.broken == ["c"]
    words = made.sentence({"a": "DeepLIFT", "b": "LRP", "c": "CAM"})
    assert made.sentence(dict.fromkeys("abc", "X"), " from the border").startswith(
        "On your network use X from the border;"
    )
    assert words.startswith(
        "On your network use DeepLIFT; both witnesses put it before LRP (LRP: +0.8"
    )
    assert "1 of 8 were wrong where truth is known)" in words
    assert "one witness alone puts it before CAM" in words
    assert "FAILED the planted test, and broken on this network: CAM" in words


def test_without_plants_borrowed_truth_alone_leans():
    made = answer(
        trials(FAILS, a=0.1, b=0.9), lenders(a=[0.9, 0.8, 0.9], b=[0.5, 0.4, 0.45], c=[0, 0, 0])
    )
    assert made.best == "a"
    assert {pair.kind for pair in made.against_best.values()} == {"lean by borrowed truth"}
    assert "no plant could be certified" in made.sentence({"a": "A", "b": "B", "c": "C"})
    assert made.broken == []


def test_without_any_witness_nothing_is_recommended():
    nobody = Library(lenders=[], rates={})
    words = answer(trials(FAILS, a=0.1, b=0.9, c=0.5), nobody).sentence(dict.fromkeys("abc", "X"))
    assert words.startswith("No witness can say anything of this network")


def test_the_library_of_the_package_is_whole():
    found = borrowed.library()
    assert len({one.task for one in found.lenders}) >= 5
    for one in found.lenders:
        assert set(one.features) == set(WIDTHS)
        assert all(-1 <= skill <= 1 for skill in one.skills.values())
        assert one.skills["deeplift"] > one.skills["random"]
    assert {"recommended", "lean by plants", "lean by borrowed truth"} <= set(found.rates)
