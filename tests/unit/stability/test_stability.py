from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from skimage.metrics import structural_similarity

from xai_exp import stability
from xai_exp.report.figures.stability import clustered, figures
from xai_exp.report.pages.stability import headline, render, sentence
from xai_exp.show.stability import tracked
from xai_exp.stability.maps import Maps, gathered
from xai_exp.stability.tables import compared
from xai_exp.tracking import Kept


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(3)


def maps(draw: np.random.Generator, models: int = 4, images: int = 5, size: int = 12) -> np.ndarray:
    return draw.normal(size=(models, images, size, size))


def test_similarities_equal_their_definitions_pair_by_pair(draw: np.random.Generator) -> None:
    heat = maps(draw)
    heat[0, 0] = heat[0, 0].round(0)
    parts = np.zeros((5, 2, 12, 12))
    parts[:, 0, :4, :4], parts[:, 1, 6:, 6:] = 1, 1
    found = stability.similarities(heat, heat, parts)
    for a, b, i in ((0, 1, 0), (2, 3, 4), (1, 3, 2)):
        one, other = heat[a, i].ravel(), heat[b, i].ravel()
        assert found["spearman"][a, b, i] == pytest.approx(stats.spearmanr(one, other)[0])
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert found["cosine"][a, b, i] == pytest.approx(cosine)
        top = [set(np.argsort(-m, kind="stable")[:14].tolist()) for m in (one, other)]
        assert found["top"][a, b, i] == pytest.approx(len(top[0] & top[1]) / 14)
        shares = []
        for m in (heat[a, i], heat[b, i]):
            sums = np.array([m[:4, :4].sum(), m[6:, 6:].sum()])
            shares.append(sums / np.abs(sums).sum())
        assert found["parts"][a, b, i] == pytest.approx(1 - np.abs(shares[0] - shares[1]).sum() / 2)


def test_structural_similarity_equals_scikit_image_inside_the_border(
    draw: np.random.Generator,
) -> None:
    heat = maps(draw, 2, 1, 40)
    scaled = heat / np.abs(heat).max((2, 3), keepdims=True)
    _, full = structural_similarity(
        scaled[0, 0], scaled[1, 0], data_range=2, full=True, use_sample_covariance=False
    )
    assert stability.similarities(heat, heat)["ssim"][0, 1, 0] == pytest.approx(full.mean())


def test_a_heatmap_equals_itself_and_a_constant_one_has_no_direction(
    draw: np.random.Generator,
) -> None:
    heat = maps(draw)
    heat[2, 1] = 0.0
    found = stability.similarities(heat, heat)
    for measure in ("spearman", "cosine", "ssim", "top"):
        assert found[measure][1, 1] == pytest.approx(1)
    assert np.isnan(found["spearman"][2, 0, 1])
    assert np.isnan(found["cosine"][2, 0, 1])


def test_the_mean_of_pairs_leaves_models_beside_themselves_out() -> None:
    groups = np.array(["a", "a", "b", "b", "c", "c"])
    table = np.full((6, 6, 4), 0.2)
    table[groups[:, None] == groups[None]] = 0.8
    table[np.eye(6, dtype=bool)] = 1
    kinds = stability.kinds(groups)
    assert stability.pair_interval(table, kinds["other seed"], groups)[0] == pytest.approx(0.8)
    found = stability.pair_interval(table, kinds["other architecture"], groups)
    assert tuple(found) == pytest.approx((0.2, 0.2, 0.2, 12))


def test_the_interval_over_models_and_images_covers(draw: np.random.Generator) -> None:
    hits, rounds, models = 0, 60, 12
    groups = np.arange(models)
    pairs = ~np.eye(models, dtype=bool)
    for _ in range(rounds):
        own, image = draw.normal(size=models), draw.normal(size=20)
        noise = draw.normal(size=(models, models, 20))
        table = own[:, None, None] + own[None, :, None] + image + noise + noise.transpose(1, 0, 2)
        found = stability.pair_interval(table, pairs, groups, resamples=199)
        hits += found.low <= 0 <= found.high
    assert 0.83 <= hits / rounds <= 1


def test_one_factor_of_euclidean_distances_explains_what_analysis_of_variance_says(
    draw: np.random.Generator,
) -> None:
    factor = np.repeat(["x", "y", "z"], 5)
    values = draw.normal(size=15) + np.repeat([0.0, 2.0, 3.0], 5)
    choices = pd.DataFrame({"shift": factor, "same": "1", "noise": draw.permutation(factor)})
    found = stability.explained_variance(np.abs(values[:, None] - values[None]), choices)
    groups = [values[factor == name] for name in "xyz"]
    within = sum(((g - g.mean()) ** 2).sum() for g in groups)
    row = found.set_index("choice").loc["shift"]
    assert row["share"] == pytest.approx(1 - within / ((values - values.mean()) ** 2).sum())
    assert row["p"] == pytest.approx(stats.f_oneway(*groups).pvalue, abs=0.02)
    assert row["expected"] == pytest.approx(2 / 14)
    assert found.iloc[0]["choice"] == "shift"
    assert "same" not in set(found["choice"])
    assert found.set_index("choice").loc["noise", "p"] > 0.05


def test_a_number_enters_as_a_line(draw: np.random.Generator) -> None:
    width = draw.permutation(np.arange(12.0))
    values = 3 * width + draw.normal(size=12)
    found = stability.explained_variance(
        np.abs(values[:, None] - values[None]), pd.DataFrame({"width": width})
    )
    assert found["share"][0] == pytest.approx(stats.pearsonr(width, values)[0] ** 2)


def test_tracking_tells_an_unstable_explainer_from_changed_networks(
    draw: np.random.Generator,
) -> None:
    pairs = ~np.eye(8, dtype=bool)
    worth = draw.uniform(size=(8, 8, 10))
    worth = (worth + worth.transpose(1, 0, 2)) / 2
    faithful = stability.tracking(0.7 * worth, worth, pairs)
    assert faithful.intercept[:3] == pytest.approx((0, 0, 0), abs=1e-9)
    assert faithful.slope[:3] == pytest.approx((0.7, 0.7, 0.7))
    assert (faithful.due, faithful.correlation) == pytest.approx((1, 1))
    noise = draw.normal(0.5, 0.05, size=(8, 8, 10))
    unstable = stability.tracking(noise, worth, pairs)
    assert unstable.intercept.low < 0.5 < unstable.intercept.high
    assert unstable.slope.low < 0 < unstable.slope.high
    assert abs(unstable.due) < 0.15


def test_tracking_equals_least_squares(draw: np.random.Generator) -> None:
    pairs = ~np.eye(5, dtype=bool)
    x, y = draw.uniform(size=(2, 5, 5, 6))
    y[1, 2, 3] = np.nan
    upper = np.triu_indices(5, 1)
    xs, ys = x[upper].ravel(), y[upper].ravel()
    known = ~np.isnan(ys)
    line = stats.linregress(xs[known], ys[known])
    found = stability.tracking(y, x, pairs)
    assert (found.intercept.mean, found.slope.mean) == pytest.approx((line.intercept, line.slope))
    assert found.correlation == pytest.approx(line.rvalue)
    assert found.n == known.sum()


def test_the_more_accurate_the_more_alike_is_found() -> None:
    accuracy = np.linspace(0.9, 1, 8)
    table = np.repeat((accuracy[:, None] + accuracy[None])[..., None], 3, 2)
    mean, rho, p = stability.against_accuracy(table, accuracy, ~np.eye(8, dtype=bool))
    assert (np.argsort(mean) == np.arange(8)).all()
    assert rho == pytest.approx(1)
    assert p < 0.01


def test_seeds_of_one_architecture_are_no_independent_evidence(draw: np.random.Generator) -> None:
    groups = np.repeat(np.arange(4), 6)
    values = np.repeat([0.0, 0.1, 5.0, 5.1], 6) + draw.normal(0, 0.01, 24)
    choices = pd.DataFrame({"norm": np.repeat(["a", "a", "b", "b"], 6)})
    distances = np.abs(values[:, None] - values[None])
    alone = stability.explained_variance(distances, choices)["p"][0]
    within = stability.explained_variance(distances, choices, groups)["p"][0]
    assert alone < 0.01
    assert within == pytest.approx(1 / 3, abs=0.05)


def test_heatmaps_that_follow_the_exact_values_are_told_from_those_that_do_not(
    draw: np.random.Generator,
) -> None:
    worth = draw.random((6, 20, 3))
    true = np.concatenate([worth, np.zeros((6, 20, 1))], 2)
    noise = draw.random((6, 20, 4))
    heatmaps = {name: draw.random((6, 20, 5, 5)) for name in ("faithful", "unstable")}
    maps = Maps(
        models=pd.DataFrame(
            {"architecture": list("aabbcc"), "seed": [0, 1] * 3, "accuracy": np.linspace(0.9, 1, 6)}
        ),
        choices=(),
        heatmaps=heatmaps,
        images=np.zeros((20, 1, 5, 5), np.uint8),
        parts=None,
        worth=worth,
        shown={"faithful": 7 * true, "unstable": noise},
        scores=pd.DataFrame(columns=["model", "explainer", "metric", "score"]),
        runs=(),
        left_out=0,
    )
    whole = compared(maps)
    found = whole.tracking.set_index(["explainer", "distance"])
    line = found.loc[("faithful", "parts")]
    assert (line["intercept"], line["slope"], line["due"]) == pytest.approx((0, 1, 1), abs=1e-9)
    other = found.loc[("unstable", "parts")]
    assert other["intercept_low"] > 0.1
    assert abs(other["slope"]) < 0.2
    assert tracked(whole) is not None
    drawn = figures(maps, whole)
    assert len(drawn["tracking"].axes) == 2
    page = render("a <study>", maps, whole)
    assert "How stable are heatmaps? a &lt;study&gt;" in page
    assert "body { margin" in page
    assert "table.sortable" in page
    assert "{{" not in page
    assert "<strong>faithful</strong> follows the networks: next to nothing is left" in page
    assert "<strong>unstable</strong> is unstable: its heatmaps differ by 0.3" in page
    explainers, models = len(heatmaps), len(maps.models)
    assert page.count("<svg") == 2 * explainers + 2  # and choices, accuracy
    assert page.count("<img") == explainers * (1 + models)
    assert "http" not in page.replace("http-equiv", "")
    same = replace(maps, worth=np.broadcast_to(worth[:1], worth.shape))
    alike = compared(same)
    page = render("stability", same, alike)
    assert "None of the explainers can be judged" in page
    assert page.count("<svg") == explainers + 2
    assert "do not differ" in tracked(alike)
    without = replace(maps, worth=None, shown={})
    assert compared(without).tracking.empty
    assert tracked(compared(without)) is None
    page = render("s", without, compared(without))
    assert "Has the network changed" not in page


def kept(model: str, heatmaps: np.ndarray, **arrays: np.ndarray) -> Kept:
    beside = {"images": np.zeros((len(heatmaps), 1, 6, 6), np.uint8), **arrays}
    return Kept(
        run=model,
        tags={"model_key": model, "explainer": "lrp", "seed": "0"},
        params={"model.width": model},
        scores=pd.DataFrame(columns=["metric", "higher_is_better", "score"]),
        accuracy=0.99,
        seconds=0.0,
        arrays=lambda: {"heatmaps": heatmaps, **beside},
    )


def test_models_that_look_at_different_objects_are_told_apart() -> None:
    parts = np.zeros((2, 2, 6, 6), np.uint8)
    parts[:, 0, :3, :3] = parts[:, 1, 3:, 3:] = 255
    left, right = parts[:, 0] / 255.0, parts[:, 1] / 255.0
    both = parts.sum(1, dtype=np.uint8)
    runs = [kept("4", left, parts=parts, masks=both), kept("8", right, parts=parts, masks=both)]
    found = compared(gathered(runs, 0.95)).means.set_index(["measure", "kind"])
    assert found.loc[("parts", "other architecture"), "mean"] == pytest.approx(0)
    older = [kept("4", left, masks=both), kept("8", right, masks=both)]
    found = compared(gathered(older, 0.95)).means.set_index(["measure", "kind"])
    assert np.isnan(
        found.loc[("parts", "other architecture"), "mean"]
    )  # one part: nothing to share


def test_of_a_model_that_was_explained_again_the_newest_heatmaps_count() -> None:
    flat, wide = np.ones((2, 6, 6)), np.ones((2, 8, 8))
    images = np.zeros((2, 1, 8, 8), np.uint8)
    newest = [replace(kept(name, wide, images=images), run=f"new {name}") for name in "48"]
    maps = gathered([*newest, kept("4", flat), kept("8", flat)], 0.95)
    assert sorted(maps.runs) == ["new 4", "new 8"]
    assert maps.heatmaps["lrp"].shape == (2, 2, 8, 8)


@pytest.mark.parametrize(
    ("intercept", "slope", "told"),
    [
        ((0.00, 0.00, 0.00), (0.00, 0.00, 0.00), "never differs"),
        ((0.01, 0.00, 0.02), (0.98, 0.92, 1.03), "follows the networks: next to nothing"),
        ((0.34, 0.25, 0.43), (0.32, 0.08, 1.20), "follows the networks in part"),
        ((0.43, 0.26, 0.59), (0.07, -0.19, 1.59), "is unstable"),
        ((0.10, -0.2, 0.40), (0.50, -0.1, 1.10), "is undecided"),
        ((0.10, np.nan, np.nan), (0.50, np.nan, np.nan), "can't be judged"),
    ],
)
def test_a_line_is_put_into_words(intercept: tuple, slope: tuple, told: str) -> None:
    ends = ("", "_low", "_high")
    line = {f"intercept{end}": value for end, value in zip(ends, intercept, strict=True)}
    line |= {f"slope{end}": value for end, value in zip(ends, slope, strict=True)}
    assert sentence({**line, "due": 0.1}).startswith(told)


def test_models_that_agree_stand_side_by_side() -> None:
    family = np.array([0, 1, 0, 1, 0, 1])
    matrix = np.where(family[:, None] == family[None], 0.9, 0.1)
    order = family[clustered(matrix)]
    assert (np.diff(order) != 0).sum() == 1


def test_the_answer_names_whose_heatmaps_are_the_most_alike_and_whose_the_least():
    rows = [
        ("lrp", "spearman", "other architecture", 0.3, 0.24, 0.36),
        ("deconv_net", "spearman", "other architecture", 0.05, np.nan, np.nan),
        ("middle", "spearman", "other architecture", 0.1, 0.0, 0.2),
        ("middle", "spearman", "other seed", 0.9, 0.8, 1.0),
        ("middle", "cosine", "other architecture", 0.9, 0.8, 1.0),
    ]
    means = pd.DataFrame(rows, columns=["explainer", "measure", "kind", "mean", "low", "high"])
    assert headline(means) == (
        "Over architectures, heatmaps of lrp are the most alike (Spearman correlation 0.30, 95 % "
        "interval 0.24 to 0.36) and those of deconv net the least (0.05)."
    )
    assert headline(means[means["kind"] == "other seed"]) == ""
