"""A trial: a copy learns the plants, is certified by exact worths, and is kept."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xai_exp.data.loading import TensorSplit
from xai_exp.explainers.gradients.gradients import InputXGradient
from xai_exp.truth.games import solved
from xai_exp.witnesses import trial
from xai_exp.witnesses.certificate import certified
from xai_exp.witnesses.trial import Asked, Subject, kept
from xai_exp.witnesses.tuning import Pace


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = 0.4 + 0.02 * torch.rand(count, 1, 20, 20, generator=generator)
    return TensorSplit(pixels=pixels, labels=torch.arange(count) % 3)


def subject(**fields):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 5), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 3)
        ).eval()
    data = SimpleNamespace(
        **dict(
            zip(("train", "validation", "test"), (split(n, n) for n in (30, 20, 10)), strict=True)
        ),
        channels=1,
        size=(20, 20),
        classes=("a", "b", "c"),
    )
    made = {"network": network, "data": data, "explainers": {"mine": InputXGradient()}}
    return Subject(
        **(made | {"images": 6, "pace": Pace(steps=120, learning_rates=(0.03,))} | fields)
    )


ASKED = Asked(design="distract", look="stripes", seed=0)


def _recorded(monkeypatch):
    """The steps and learning rate of each attempt."""
    made, tuned = [], trial.tuned

    def recording(*given, **named):
        made.append((named["steps"], named["learning_rate"]))
        return tuned(*given, **named)

    monkeypatch.setattr(trial, "tuned", recording)
    return made


def test_a_copy_learns_the_plants_and_the_network_stays(monkeypatch):
    class Broken:
        def __call__(self, model, images, targets):  # noqa: ARG002
            raise ZeroDivisionError("of mine")

    attempts = _recorded(monkeypatch)
    mine = subject(explainers={"broken": Broken(), "mine": InputXGradient()})
    before = [one.clone() for one in mine.network.parameters()]
    found = trial.tried(mine, ASKED)
    assert found.certificate.holds, found.certificate
    assert found.certificate.good >= 0.95
    assert set(found.skills) == {"mine"}
    assert len(found.skills["mine"]) == len(found.weights) == 6
    assert found.refused == {"broken": "ZeroDivisionError: of mine"}
    assert attempts in ([(60, 0.03)], [(60, 0.03), (120, 0.03)])
    assert all(a.equal(b) for a, b in zip(before, mine.network.parameters(), strict=True))


def test_a_trial_is_found_again_unless_it_is_half_or_another(tmp_path, monkeypatch):
    mine, made = subject(), []

    def tried(subject, asked):  # noqa: ARG001
        made.append(asked)
        return replace(TRIAL, asked=asked)

    monkeypatch.setattr(trial, "tried", tried)
    first = kept(mine, ASKED, tmp_path, "key")
    assert kept(mine, ASKED, tmp_path, "key") == first
    assert len(made) == 1
    kept(mine, replace(ASKED, seed=1), tmp_path, "key")
    kept(mine, ASKED, tmp_path, "another network")
    kept(replace(mine, reference="border"), ASKED, tmp_path, "key")
    monkeypatch.setattr(trial, "VERSION", trial.VERSION + 1)
    kept(mine, ASKED, tmp_path, "key")
    assert len(made) == 5
    for path in tmp_path.iterdir():
        path.write_text(path.read_text()[:40])
    kept(mine, ASKED, tmp_path, "key")
    assert len(made) == 6


def test_without_a_certificate_it_is_tried_again_and_nobody_is_graded(tmp_path, monkeypatch):
    attempts = _recorded(monkeypatch)
    pace = Pace(steps=2, learning_rates=(1e-3, 1e-4))
    found = kept(subject(pace=pace), ASKED, tmp_path, "key")
    assert attempts == [(1, 1e-3), (2, 1e-3), (2, 1e-4)]
    assert not found.certificate.holds
    assert found.skills == {}


def test_looks_are_those_that_the_pictures_allow():
    names = {one.look for one in subject().asked(("stripes", "solid", "colour", "own"), [0, 1])}
    assert names == {"stripes", "solid"}
    assert len(subject().asked(("stripes",), [0, 1])) == 4


@pytest.mark.parametrize(
    ("values", "good", "fault"),
    [
        ([0, 2, 1, 3, 0, 2, 1, 3], 0.9, ""),
        ([0, 2, 1, 3, 0, 2, 1, 3], 0.7, "R2 0.70, at least 0.8 is asked"),
        ([0, 1, 1, 2, 0, 1, 1, 2], 0.9, "A is worth 1.00 times B, not (1.5, 2.7)"),
        ([0, 2, 1, 3, 1, 3, 2, 4], 0.9, "what is worth nothing has 0.50 of A, at most 0.15"),
        ([0, -2, 1, -1, 0, -2, 1, -1], 0.9, "A is worth -2.00, more than 0"),
    ],
)
def test_a_certificate_is_by_exact_worths(values, good, fault):
    truth = solved(torch.tensor([values, values], dtype=torch.float64))  # plants A, B, C
    found = certified(good, truth, torch.tensor([[0, 1, 2]] * 2), "worth")
    assert fault in found.fault
    assert found.holds == (not fault)


TRIAL = trial.Trial(
    asked=ASKED,
    certificate=certified(
        0.9,
        solved(torch.tensor([[0, 2, 1, 3, 0, 2, 1, 3]] * 2, dtype=torch.float64)),
        torch.tensor([[0, 1, 2]] * 2),
        "worth",
    ),
    skills={"mine": [0.5, 0.25]},
    weights=[1.0, 1.0],
    refused={},
)
