"""Equivariance: exact on networks that are, one change at a time, and scenes drawn turned."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import nn

from xai_exp.config import InputError
from xai_exp.data.scenes.polygons import DISC
from xai_exp.data.scenes.scene import Scene
from xai_exp.explainers.controls import ExactMask, Random, Sobel
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient
from xai_exp.metrics.robustness.equivariance import Equivariance, SceneEquivariance, changes


def network(symmetric=False, mode="circular"):
    """Convolutions with circular padding and global pooling, so that shifts change nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, padding_mode=mode),
            nn.Tanh(),
            nn.Conv2d(4, 4, 3, padding=1, padding_mode=mode),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ).double()
    if symmetric:
        for layer in (model[0], model[2]):
            weight = layer.weight.data
            turns = torch.stack([weight.rot90(k, (2, 3)) for k in range(4)]).mean(0)
            layer.weight.data = (turns + turns.flip(3)) / 2
    return model


def own_case(make_case, explain=None, model=None, size=(8, 8), **given):
    explain, model = explain or InputXGradient(), model or network()
    case = make_case(dtype=torch.float64, size=size, **given)
    heatmaps = explain(model, case.images, case.targets)
    return replace(case, model=model, explain=explain, heatmaps=heatmaps)


ONE = torch.ones(6, dtype=torch.float64)


@pytest.mark.parametrize("measure", ["cosine", "pearson", "spearman"])
@pytest.mark.parametrize("explain", [Gradient(), InputXGradient()])
def test_gradients_of_a_network_with_circular_padding_follow_every_shift(
    make_case, measure, explain
):
    metric = Equivariance(which=("shift",), pixels=3, fill="circular", measure=measure)
    scores = metric(own_case(make_case, explain))
    # Ranks of values that rounding swaps keep Spearman a hair below 1.
    assert torch.allclose(scores, ONE, atol=1e-9)


def test_gradients_of_a_network_of_symmetric_filters_follow_turns_and_mirrors_too(make_case):
    metric = Equivariance(fill="circular", measure="cosine")
    assert torch.allclose(metric(own_case(make_case, model=network(symmetric=True))), ONE)
    plain = Equivariance(which=("rotate", "flip"))(own_case(make_case))
    assert plain.max() < 0.99


def test_the_edge_filter_follows_everything_a_network_with_zero_padding_less(make_case):
    assert torch.allclose(Equivariance(measure="cosine")(own_case(make_case, Sobel())), ONE, 1e-2)
    exact = Equivariance(which=("rotate", "flip"))(own_case(make_case, Sobel()))
    assert torch.allclose(exact, ONE, atol=1e-2)
    zeros = own_case(make_case, model=network(mode="zeros"))
    shift = Equivariance(which=("shift",), fill="circular", measure="cosine")
    assert shift(zeros).max() < 0.999


def test_random_heatmaps_do_not_follow(make_case):
    scores = Equivariance()(own_case(make_case, Random(), size=(16, 16)))
    assert scores.abs().max() < 0.2


def test_what_a_shift_brings_in_is_not_compared(make_case):
    """Pointwise heatmaps follow exactly wherever the pixels are the image's own."""
    case = own_case(make_case, lambda model, images, targets: images.sum(1) ** 2)  # noqa: ARG005
    assert torch.allclose(Equivariance()(case), ONE, atol=1e-12)
    assert torch.allclose(Equivariance(pixels=5, which=("shift",))(case), ONE, atol=1e-12)
    spoilt = replace(case, heatmaps=case.heatmaps.clone())
    spoilt.heatmaps[:, 3, 3] = -9 * torch.tensor([-1, 1, 1, 1, 1, 1])
    assert Equivariance()(spoilt).max() < 1


@pytest.mark.parametrize(("size", "count"), [((8, 8), 9), ((8, 6), 7)])
def test_equivariance_equals_its_definition_one_change_at_a_time(make_case, size, count):
    case = own_case(make_case, size=size)
    scores = Equivariance(pixels=2, measure="spearman")(case)
    moves = list(changes(("rotate", "flip", "shift"), size, 2, "edge"))
    assert len(moves) == count
    for row in range(6):
        found = []
        for move, (rows, columns) in moves:
            image, target = move(case.images[row : row + 1]), case.targets[row : row + 1]
            after = InputXGradient()(case.model, image, target)[0][rows, columns].flatten()
            before = move(case.heatmaps[row])[rows, columns].flatten()
            found.append(stats.spearmanr(after, before)[0])
        assert scores[row].item() == pytest.approx(sum(found) / count, abs=1e-9)


def test_changes_are_what_they_say():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    found = [
        (move(image)[0, 0], within)
        for move, within in changes(("rotate", "flip", "shift"), (3, 3), 1, "edge")
    ]
    assert found[0][0].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    assert found[1][0].flatten().tolist() == list(range(8, -1, -1))
    assert found[3][0][0].tolist() == [2, 1, 0]
    assert found[4][0][0].tolist() == [6, 7, 8]
    assert found[5][0][0].tolist() == [0, 0, 1]
    inside = [moved[within].flatten().tolist() for moved, within in found[5:]]
    assert inside == [[0, 1, 3, 4, 6, 7], [1, 2, 4, 5, 7, 8], [*range(6)], [*range(3, 9)]]


def test_a_mask_known_for_its_images_only_has_no_equivariance(make_case):
    case = own_case(make_case, Sobel())
    bound = ExactMask().with_parts(case.images, torch.ones(6, 1, 8, 8, dtype=torch.float64))
    assert Equivariance()(replace(case, explain=bound)).isnan().all()


def test_more_noise_follows_less_step_by_step(make_case):
    def noisier(share):
        def explain(model, images, targets):
            noise = Random()(model, images, targets)
            return InputXGradient()(model, images, targets) + share * noise

        return own_case(make_case, explain)

    means = [Equivariance()(noisier(share)).mean().item() for share in (0, 1e-4, 1e-3, 1e-2)]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Equivariance(which=()), "Equivariance.which"),
        (lambda: Equivariance(which=("twist",)), "Equivariance.which"),
        (lambda: SceneEquivariance(angles=()), "SceneEquivariance.angles"),
    ],
)
def test_changes_that_cannot_be_are_refused_in_one_line(build, message):
    with pytest.raises(InputError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


def test_a_shift_out_of_the_image_is_refused(make_case):
    with pytest.raises(InputError, match="short side"):
        Equivariance(pixels=8)(own_case(make_case))


def scenes(count=6, objects=2):
    """Discs and squares near the centre of 24 x 24 pixels; the second object is further out."""
    source = torch.Generator().manual_seed(8)
    centres = torch.tensor([[12.0, 8.0], [6.0, 15.0]]).repeat(count, 1, 1)
    centres = centres + torch.rand(count, 2, 2, generator=source)
    return Scene(
        sides=torch.tensor([[4, DISC]]).repeat(count, 1)[:, :objects],
        centres=centres[:, :objects],
        radii=torch.full((count, objects), 2.5),
        angles=torch.rand(count, objects, generator=source),
        levels=torch.tensor([[0.9, 0.6]]).repeat(count, 1)[:, :objects],
        background=torch.full((count,), 0.2),
        size=(24, 24),
    )


def scene_case(make_case, explain, **given):
    made = scenes(**given)
    images = made.render()
    case = make_case(images=images, scenes=made, parts=made.parts())
    return replace(case, explain=explain, heatmaps=explain(case.model, images, case.targets))


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_scene_turned_by_right_angles_is_the_image_turned(quarter):
    made = scenes()
    turned = made.turned(quarter * math.pi / 2)
    assert torch.allclose(turned.render(), made.render().rot90(-quarter, (2, 3)), atol=1e-5)
    assert torch.allclose(turned.parts(), made.parts().rot90(-quarter, (2, 3)), atol=1e-5)


def test_a_turned_scene_keeps_its_areas_and_distances():
    made = scenes()
    turned = made.turned(0.7)
    assert torch.allclose(turned.parts().sum((2, 3)), made.parts().sum((2, 3)), atol=1e-3)
    middle = torch.tensor([12.0, 12.0])
    lengths = [(s.centres - middle).norm(dim=-1) for s in (made, turned)]
    assert torch.allclose(*lengths, atol=1e-5)
    assert torch.allclose(turned.turned(-0.7).render(), made.render(), atol=1e-5)


@pytest.mark.parametrize("objects", [1, 2])
def test_relevance_by_grey_level_stays_with_its_objects_at_any_angle(make_case, objects):
    case = scene_case(make_case, lambda model, images, targets: images[:, 0] - 0.2, objects=objects)  # noqa: ARG005
    scores = SceneEquivariance(angles=(10, 33, 45, 90, 171))(case)
    assert torch.allclose(scores, torch.ones(6), atol=2e-2)


@pytest.mark.parametrize("objects", [1, 2])
def test_scene_equivariance_equals_its_definition_one_angle_at_a_time(make_case, objects):
    """Signed relevance that knows of the place, so that it does not stay with its part."""
    angles = (20.0, 45.0, 90.0)

    def explain(model, images, targets):  # noqa: ARG001
        return (images[:, 0] - 0.2) * torch.linspace(-2, 2, images.shape[3])

    case = scene_case(make_case, explain, objects=objects)
    own = case.scenes.divided("corners" if "corners" in case.scenes.divisions else "objects")

    def by_part(heatmap, parts):
        rest = 1 - sum(parts)
        return [float((heatmap * part).sum()) for part in (*parts, rest)]

    scores = SceneEquivariance(angles=angles)(case)
    for row in range(len(case)):
        before, found = by_part(case.heatmaps[row], own.parts()[row]), []
        for angle in angles:
            turned = own.turned(math.radians(angle))
            parts = turned.parts()[row]
            left = own.parts()[row].sum((1, 2)) - parts.sum((1, 2))
            if left.abs().max() > 0.01:
                continue
            after = by_part(explain(None, turned.render()[row : row + 1], None)[0], parts)
            product = sum(a * b for a, b in zip(after, before, strict=True))
            found.append(product / math.hypot(*after) / math.hypot(*before))
        assert float(scores[row]) == pytest.approx(sum(found) / len(found), abs=1e-4)
    assert scores.std() > 0.01


def test_relevance_that_stays_in_its_place_does_not_stay_with_its_objects(make_case):
    def upper_half(model, images, targets):  # noqa: ARG001
        heatmaps = torch.zeros(images.shape[0], 24, 24)
        heatmaps[:, :12] = images[:, 0, :12] - 0.2
        return heatmaps

    case = scene_case(make_case, upper_half)
    assert SceneEquivariance(angles=(180,))(case).max() < 0.5


def test_an_angle_that_pushes_a_part_out_does_not_count(make_case):
    made = scenes()
    made.centres[2, 1] = torch.tensor([3.5, 3.5])
    images = made.render()
    explain = Sobel()
    case = make_case(images=images, scenes=made)
    case = replace(case, explain=explain, heatmaps=explain(case.model, images, case.targets))
    assert SceneEquivariance(angles=(45,))(case).isnan().nonzero().flatten().tolist() == [2]
    both, right = SceneEquivariance(angles=(45, 90))(case), SceneEquivariance(angles=(90,))(case)
    assert both[2] == right[2]


def test_without_scenes_that_turn_it_is_refused(make_case):
    with pytest.raises(InputError, match="rendered data"):
        SceneEquivariance()(make_case())
