"""Mechanisms told from shares: what carries them is found, what does not is at chance."""

import numpy as np
import pytest

from xai_exp.config import InputError
from xai_exp.statistics.detection import auroc, heatmaps_needed
from xai_exp.statistics.identification import identified, stratified

MECHANISMS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def shares(clear: float, rng: np.random.Generator) -> np.ndarray:
    """Shares of three parts and the rest, the mechanism's own part ahead as `clear` says."""
    values = rng.normal(size=(12, 20, 4))
    values[np.arange(12), :, MECHANISMS] += clear
    values *= rng.choice([-1, 1], size=(12, 20, 1))  # of either sign, as explained values are
    return values / abs(values).sum(2, keepdims=True)


def test_what_shows_the_mechanism_names_it_and_noise_is_at_chance():
    rng = np.random.default_rng(0)
    clear, nothing = (identified(shares(one, rng), MECHANISMS) for one in (20.0, 0.0))
    assert clear.rate.mean > 0.98
    assert clear.bits.mean > 0.95 * np.log2(3)
    assert clear.networks == 1
    assert np.allclose(clear.confusion.sum(1), 1)
    assert nothing.rate.low < 1 / 3 < nothing.rate.high
    assert nothing.bits.mean < 0.05


def test_what_is_the_same_for_all_networks_is_exactly_at_chance():
    rng = np.random.default_rng(0)
    same = np.broadcast_to(shares(0.0, rng)[:1], (12, 20, 4))
    found = identified(same, MECHANISMS)
    assert found.rate.mean == pytest.approx(1 / 3)
    assert found.bits.mean <= 1e-9


def test_a_network_is_never_told_by_what_it_taught():
    # Each network has a mark of its own: a classifier that saw it would name all of them.
    marks = np.eye(12)[:, None, :].repeat(5, 1)
    assert identified(marks, MECHANISMS).rate.mean < 0.5


def test_the_interval_is_students_within_mechanisms():
    values, strata = np.array([0.1, 0.3, 0.6, 1.0]), np.array([0, 0, 1, 1])
    # Pooled variance (0.02 + 0.08) / 2 = 0.05, error sqrt(0.05 / 2) / sqrt(2), t(2 df) = 4.3027.
    found = stratified(values, strata)
    assert found.mean == pytest.approx(0.5)
    assert found.high - found.mean == pytest.approx(4.302653 * np.sqrt(0.05 / 4), rel=1e-5)


def test_too_few_networks_are_refused():
    with pytest.raises(InputError, match="two networks or more"):
        identified(np.zeros((3, 2, 2)), [0, 0, 1])


def test_normal_numbers_need_as_many_heatmaps_as_theory_says():
    rng = np.random.default_rng(0)
    sound, faulty = rng.normal(0, 1, (40, 400)), rng.normal(1, 1, (40, 400))
    found = heatmaps_needed(sound, faulty)
    # (1.645 + 0.842)^2 = 6.2 heatmaps at a distance of one standard deviation.
    assert found.heatmaps in (6, 7, 8)
    assert found.alarms == pytest.approx(0.05, abs=0.02)


def test_networks_that_differ_as_much_as_faulty_ones_are_never_told():
    rng = np.random.default_rng(0)
    own = rng.normal(0, 5, (40, 1))
    found = heatmaps_needed(own + rng.normal(0, 1, (40, 50)), 1 + own[::-1] + np.zeros((40, 50)))
    assert found.heatmaps is None
    assert found.power < 0.5


def test_wrong_answers_of_lower_score_are_foretold():
    rng = np.random.default_rng(0)
    scores, wrong = rng.integers(0, 4, 30).astype(float), rng.random(30) < 0.4
    pairs = [(a < b) + 0.5 * (a == b) for a in scores[wrong] for b in scores[~wrong]]
    assert auroc(scores, wrong) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(scores, np.zeros(30, bool)))
