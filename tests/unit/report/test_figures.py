"""Laws of the figures, read off the drawn artists."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from xai_exp.report.figures.curves import learning, perturbation
from xai_exp.report.figures.gallery import ROWS, gallery, limit


def pictures(figure: Figure) -> list:
    """All that a gallery shows, cell by cell."""
    return list(figure.axes[0].images)


def words(figure: Figure, *, above: bool) -> list[Text]:
    """The lines above cells, or those below them."""
    return [one for one in figure.axes[0].texts if (one.get_va() == "baseline") == above]


def under(figure: Figure, heading: str) -> list:
    """The pictures right under this heading."""
    found = []
    for text in words(figure, above=True):
        x, y = text.get_position()
        near = [one for one in pictures(figure) if one.get_extent()[0] < x < one.get_extent()[1]]
        if text.get_text() == heading:
            found.append(min(near, key=lambda one: abs(y - one.get_extent()[3])))
    return found


def refuse_meeting(figure: Figure) -> None:
    """No words lie on a picture, or on other words."""
    figure.draw_without_rendering()
    texts = [one for one in (*figure.axes[0].texts, *figure.texts) if one.get_text()]
    boxes = [one.get_window_extent() for one in (*pictures(figure), *texts)]
    for place, box in enumerate(boxes):
        if place >= len(pictures(figure)):
            assert not any(box.overlaps(other) for other in boxes[:place])


def one_heatmap(heatmap: torch.Tensor, **options):
    images = torch.zeros(1, 1, *heatmap.shape)
    figure = gallery(images, {"lrp": heatmap[None]}, ["target 1"], **options)
    (shown,) = under(figure, "lrp")
    return shown


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_zero_is_white_and_signs_have_mirrored_limits_at_any_scale(scale):
    shown = one_heatmap(scale * torch.tensor([[0.0, 1.0], [-0.5, -1.0]]))
    colours = shown.to_rgba(shown.get_array())
    assert np.allclose(colours[0, 0, :3], 1.0)
    assert colours[0, 1, 0] > colours[0, 1, 2]
    assert colours[1, 1, 2] > colours[1, 1, 0]
    assert shown.norm.vmin == -shown.norm.vmax


def test_an_empty_heatmap_is_white_everywhere():
    shown = one_heatmap(torch.zeros(4, 4))
    assert np.allclose(shown.to_rgba(shown.get_array())[..., :3], 1.0)


def test_one_extreme_pixel_does_not_wash_out_the_rest():
    heatmap = torch.ones(32, 32)
    heatmap[0, 0] = 1e6
    assert limit(heatmap) == pytest.approx(1.0)


def test_a_heatmap_with_few_pixels_keeps_a_scale_above_zero():
    heatmap = torch.zeros(64, 64)
    heatmap[3, 4] = -2.0
    assert limit(heatmap) == 2.0


def test_pixels_that_are_not_finite_stand_out():
    shown = one_heatmap(torch.tensor([[float("nan"), 1.0], [0.0, -1.0]]))
    colour = shown.to_rgba(shown.get_array())[0, 0, :3]
    assert tuple(colour) == pytest.approx((1, 0.843, 0), abs=0.01)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (224, 160), (28, 90)])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_gallery_shows_its_images_masks_and_heatmaps_once_each(channels, size, count):
    images = torch.rand(count, channels, *size)
    maps = {"lrp": torch.randn(count, *size), "gradient": torch.randn(count, *size)}
    captions = [f"target {i}" for i in range(count)]
    scores = {"lrp": [f"mass {i}" for i in range(count)]}
    figure = gallery(images, maps, captions, scores=scores, masks=torch.rand(count, *size))
    shown = min(count, ROWS)
    assert len(pictures(figure)) == shown * 4
    below = [one.get_text() for one in words(figure, above=False)]
    assert [text for text in below if text.startswith("target")] == captions[:shown]
    assert [text for text in below if text.startswith("mass")] == scores["lrp"][:shown]


def test_an_image_is_drawn_as_it_is():
    images = torch.rand(1, 3, 5, 6)
    figure = gallery(images, {"lrp": torch.zeros(1, 5, 6)}, ["target 1"])
    (shown,) = under(figure, "image")
    left, right, bottom, top = shown.get_extent()
    assert np.allclose(shown.get_array(), images[0].permute(1, 2, 0))
    assert (top - bottom) / (right - left) == pytest.approx(5 / 6)
    drawn = _rendered(figure)
    scale = drawn.shape[0] / figure.get_size_inches()[1]
    for (row, column), pixel in np.ndenumerate(images[0].sum(0).numpy()):
        x = left + (column + 0.5) / 6 * (right - left)
        y = figure.get_size_inches()[1] - top + (row + 0.5) / 5 * (top - bottom)
        seen = drawn[int(y * scale), int(x * scale), :3].sum() / 255
        assert seen == pytest.approx(pixel, abs=0.02)


def _rendered(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).astype(float)


def test_the_line_around_a_mask_lies_on_its_edge():
    mask = torch.zeros(1, 8, 8)
    mask[0, 2:5, 1:7] = 1
    figure = gallery(torch.rand(1, 1, 8, 8), {"lrp": torch.zeros(1, 8, 8)}, ["a"], masks=mask)
    (shown,) = under(figure, "lrp")
    left, right, bottom, top = shown.get_extent()
    (line,) = figure.axes[0].collections[0].get_paths()
    x, y = ((line.vertices - [left, bottom]) / [right - left, top - bottom] * 8).T
    # Between the middles of a pixel inside and of its neighbour outside.
    assert (x.min(), x.max()) == pytest.approx((1, 7))
    assert (8 - y.max(), 8 - y.min()) == pytest.approx((2, 5))


@pytest.mark.parametrize("name", ["$0_$500", "$\\frac", "_$", "50 % \\alpha^2", "\\$5"])
def test_names_are_drawn_as_they_are_whatever_signs_they_have(name):
    figure = gallery(
        torch.rand(1, 1, 5, 6),
        {name: torch.rand(1, 5, 6)},
        [f"target {name}"],
        scores={name: [name]},
        note=name,
    )
    figure.canvas.draw()
    drawn = [text.get_text() for text in figure.findobj(Text)]
    assert f"target {name}" in drawn
    assert name.replace("_", " ") in drawn
    assert not any(
        text.get_parse_math() for text in figure.findobj(Text) if name in text.get_text()
    )


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_of_many_bands_the_first_three_are_drawn_and_of_two_the_first(channels):
    images = torch.rand(1, channels, 5, 6)
    figure = gallery(images, {"lrp": torch.zeros(1, 5, 6)}, ["target 1"])
    shown = pictures(figure)[0].get_array()
    wanted = images[0, :3] if channels > 2 else images[0, :1].expand(3, -1, -1)
    assert np.allclose(shown, wanted.permute(1, 2, 0))


def test_no_text_of_a_gallery_meets_another_cell():
    figure = gallery(
        torch.rand(8, 1, 16, 16),
        {"integrated_gradients": torch.randn(8, 16, 16)},
        ["target 10 · predicted 10"] * 8,
        masks=torch.rand(8, 16, 16),
        overlay=True,
    )
    refuse_meeting(figure)


@pytest.mark.parametrize("methods", [11, 23])
def test_many_methods_stand_in_bands_that_a_page_can_hold_and_name_those_left_out(methods):
    maps = {f"method_number_{i}": torch.randn(6, 8, 8) for i in range(methods)}
    note = "skipped: attn_lrp, attention_rollout"
    captions = [f"target {i}\npredicted {i}" for i in range(6)]
    figure = gallery(torch.rand(6, 1, 8, 8), maps, captions, masks=torch.rand(6, 8, 8), note=note)
    bands = -(-methods // 10)
    assert len(pictures(figure)) == 3 * (2 * bands + methods)
    titles = [one.get_text().replace("\n", " ") for one in words(figure, above=True)]
    assert [t for t in titles if "method" in t] == [name.replace("_", " ") for name in maps]
    assert titles.count("image") == titles.count("exact mask") == bands
    wide, high = figure.get_size_inches()
    assert wide < 17
    assert high < 5.5 * bands + 1
    assert any(note in text.get_text() for text in figure.texts)
    refuse_meeting(figure)


def test_a_perturbation_curve_is_the_mean_with_its_interval():
    rows = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, float("nan")]])
    x = torch.tensor([0.0, 0.5]).expand(4, -1)
    figure = perturbation({"x": x, "morf": rows}, title="pixel flipping")
    (axes,) = figure.axes
    assert np.allclose(axes.lines[0].get_xydata(), [[0.0, 1.0], [0.5, 1.0]])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(1 + 1.96 / np.sqrt(3))
    assert figure.legends[0].get_title().get_text() == "mean of 3 images with its 95 % interval"


def test_every_order_of_removal_has_its_line():
    x = torch.linspace(0, 1, 5).expand(2, -1)
    curves = {"x": x, "random": x + 1, "lerf": x + 2, "morf": x}
    (axes,) = perturbation(curves).axes
    words = ["most relevant first", "least relevant first", "random order"]
    assert [line.get_label() for line in axes.lines] == words


def test_a_single_epoch_has_a_single_tick():
    figure = learning([{"epoch": 1, "train_loss": 1.0, "validation_accuracy": 0.5}])
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1.0]


def test_learning_curves_show_every_epoch_that_has_a_value():
    history = [
        {"epoch": 1, "train_loss": 2.0},
        {"epoch": 2, "train_loss": 1.0, "validation_loss": 1.5, "validation_accuracy": 0.9},
    ]
    left, right = learning(history).axes
    assert left.lines[0].get_xydata().tolist() == [[1, 2.0], [2, 1.0]]
    assert left.lines[1].get_xydata().tolist() == [[2, 1.5]]
    assert right.lines[0].get_xydata().tolist() == [[2, 0.9]]
