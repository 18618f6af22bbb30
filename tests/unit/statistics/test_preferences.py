"""Strengths of preference and agreement of raters, against the papers and direct maximisation."""

import numpy as np
import pytest
import scipy

from xai_exp.config import InputError
from xai_exp.statistics.preferences import bradley_terry
from xai_exp.statistics.raters import krippendorff_alpha

N = np.nan
FOUR = [  # Krippendorff 2011, section C
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]
MEG_OWEN = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]  # section A
BEN_GERRY = [[ord(one) for one in word] for word in ("aabbdcccedda", "babbbcccedd" + "d")]  # B


def asked(strengths, raters, each, seed, spread=0.0):
    """Answers of raters who differ in their strengths by `spread`."""
    rng = np.random.default_rng(seed)
    count = len(strengths)
    own = strengths + spread * rng.normal(size=(raters, count))
    pairs = np.array([(a, b) for a in range(count) for b in range(a)])
    shown = np.tile(pairs[np.arange(each) % len(pairs)], (raters, 1))
    who = np.repeat(np.arange(raters), each)
    first = own[who, shown[:, 0]] - own[who, shown[:, 1]]
    turned = rng.random(len(who)) > scipy.special.expit(first)
    shown[turned] = shown[turned][:, ::-1]
    return shown[:, 0], shown[:, 1], who


def likelihood(free, preferred, other, penalty=0.0):
    strengths = np.append(free, -free.sum())
    lead = strengths[preferred] - strengths[other]
    design = np.zeros((len(lead), len(strengths)))
    design[np.arange(len(lead)), preferred] += 1
    design[np.arange(len(lead)), other] -= 1
    design = design[:, :-1] - design[:, -1:]
    chance = scipy.special.expit(lead)
    information = design.T @ (design * (chance * (1 - chance))[:, None])
    return np.log1p(np.exp(-lead)).sum() - penalty * np.linalg.slogdet(information)[1]


def best(preferred, other, things, penalty=0.0):
    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20000, "maxfev": 20000}
    start, given = np.zeros(things - 1), (preferred, other, penalty)
    found = scipy.optimize.minimize(likelihood, start, given, "Nelder-Mead", options=options)
    return np.append(found.x, -found.x.sum())


def test_strengths_are_the_most_likely_ones():
    preferred, other, who = asked(np.array([1.0, 0.2, -0.4, -0.8]), 3, 30, seed=1)
    found = bradley_terry(preferred, other, who, 4)
    assert found.finite
    np.testing.assert_allclose(found.strengths, best(preferred, other, 4), atol=1e-6)


def test_two_things_have_the_logarithm_of_the_odds_and_its_textbook_error():
    found = bradley_terry([0] * 30 + [1] * 10, [1] * 30 + [0] * 10, [0] * 40, 2)
    lead = found.lead(0, 1)
    assert lead.mean == pytest.approx(np.log(3))
    assert lead.high - lead.mean == pytest.approx(1.959963985 * np.sqrt(1 / 30 + 1 / 10))
    assert found.strength(0).mean == pytest.approx(np.log(3) / 2)


def test_what_never_loses_has_the_strength_of_firth_s_penalty():
    preferred, other = np.array([0, 0, 0, 0, 1, 2, 1]), np.array([1, 1, 2, 2, 2, 1, 2])
    found = bradley_terry(preferred, other, np.zeros(7), 3)
    assert not found.finite
    np.testing.assert_allclose(found.strengths, best(preferred, other, 3, 0.5), atol=1e-6)


@pytest.mark.parametrize(("raters", "spread"), [(2, 0.0), (12, 0.7)])
def test_the_true_strengths_lie_within_their_intervals(raters, spread):
    """Of 100 surveys 95 are expected; raters who differ need to be counted as such."""
    true = np.array([0.8, 0.3, -0.2, -0.9])
    lead = bradley_terry(*asked(true, 4000, 24, 1, spread), 4).lead(0, 3).mean
    assert lead == pytest.approx(1.7, rel=0.03) or spread
    leads = [bradley_terry(*asked(true, raters, 24, n, spread), 4).lead(0, 3) for n in range(100)]
    assert 90 <= sum(one.low <= lead <= one.high for one in leads) <= 99


def test_pictures_are_left_out_in_turn_by_the_textbook_s_formula():
    """Of two things the lead's score is y - p, its information p (1 - p) an answer."""
    first = np.array([1, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1], dtype=bool)
    picture = np.repeat([0, 1, 2, 3], 3)
    found = bradley_terry(1 - first, first * 1, np.zeros(12), 2, picture)
    chance = first.mean()
    scores = np.array([(first[picture == one] - chance).sum() for one in range(4)])
    moves = scores / (chance * (1 - chance) * (12 - 3))
    variance = 3 / 4 * (moves**2).sum()
    assert found.by_picture is not None
    unit = np.array([1, -1])
    assert unit @ found.by_picture.covariance @ unit == pytest.approx(variance)
    assert found.by_rater is None
    lead = found.lead(0, 1)
    reach = scipy.stats.t.ppf(0.975, 3) * np.sqrt(variance)
    assert lead.high - lead.mean == pytest.approx(
        max(reach, 1.959963985 / np.sqrt(12 * chance * (1 - chance)))
    )


def test_where_one_picture_alone_compares_a_thing_pictures_can_t_be_told_apart():
    given = [0, 1, 0, 1, 0, 1, 2], [1, 0, 1, 0, 1, 0, 0], np.zeros(7), 3
    assert bradley_terry(*given, [0, 0, 1, 1, 2, 2, 2]).by_picture is None
    assert bradley_terry(*given, [0, 0, 1, 1, 2, 2, 2]).lead(0, 1).low < 0


def test_a_method_that_suits_some_pictures_is_not_taken_for_better_on_all():
    """Of 40 surveys 38 are expected to hold the truth; without pictures far fewer do."""
    held = {True: 0, False: 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        suits = rng.normal(size=(10, 3))
        picture = np.tile(np.repeat(np.arange(10), 3), 30)
        a, b = np.tile([[0, 1], [1, 2], [2, 0]], (300, 1)).T
        turned = rng.random(900) > scipy.special.expit(suits[picture, a] - suits[picture, b])
        won, lost = np.where(turned, b, a), np.where(turned, a, b)
        for told in held:
            who, where = np.repeat(np.arange(30), 30), picture if told else None
            lead = bradley_terry(won, lost, who, 3, where).lead(0, 1)
            held[told] += lead.low <= 0 <= lead.high
    assert held[True] >= 36
    assert held[False] < 25


def test_things_that_were_never_compared_are_refused():
    with pytest.raises(InputError, match="do not compare all of 4 things"):
        bradley_terry([0, 2], [1, 3], [0, 0], 4)


@pytest.mark.parametrize(
    ("values", "alpha", "units"), [(FOUR, 0.743, 11), (MEG_OWEN, 0.095, 10), (BEN_GERRY, 0.692, 12)]
)
def test_alpha_is_that_of_the_paper(values, alpha, units):
    found = krippendorff_alpha(values)
    assert round(found.mean, 3) == alpha
    assert found.n == units
    assert found.low < found.mean < found.high


def test_raters_who_guess_have_no_agreement_and_one_alone_has_none_to_speak_of():
    rng = np.random.default_rng(0)
    guessed = krippendorff_alpha(rng.integers(0, 2, (5, 400)))
    assert guessed.low < 0 < guessed.high
    assert np.isnan(krippendorff_alpha([[0, 1, 1]]).mean)
    assert np.isnan(krippendorff_alpha([[1, 1], [1, 1]]).mean)


def test_alpha_allows_for_raters_by_leaving_each_out_in_turn():
    values = np.random.default_rng(1).integers(0, 2, (3, 30))
    values[1] = values[0]
    found = krippendorff_alpha(values)
    left = [krippendorff_alpha(np.delete(values, one, 0)).mean for one in range(3)]
    reach = scipy.stats.t.ppf(0.975, 2) * np.sqrt(2 / 3 * ((left - np.mean(left)) ** 2).sum())
    assert found.low == pytest.approx(found.mean - reach)
    assert found.high == pytest.approx(found.mean + reach)
