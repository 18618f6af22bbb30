"""On white boxes the parameter that decides comes first, and the others count for nothing."""

import numpy as np
import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data.digits import Digits
from xai_exp.data.shortcut import CountingShortcut
from xai_exp.data.triangles_squares import TrianglesSquares
from xai_exp.data.worths import WeightedCounting
from xai_exp.insight.parameters.dependence import DecisionBoundary, PartialDependence
from xai_exp.insight.parameters.dependence import PartialDependence2 as Two
from xai_exp.insight.parameters.importance import BlockPermutation, PermutationImportance
from xai_exp.insight.parameters.rendered import rendered
from xai_exp.insight.parameters.surrogate import TreeSurrogate
from xai_exp.models.whitebox import Blind, Counter, LinearSum, TagReader
from xai_exp.models.whitebox.kinds import WeightedCounter

TAGGED = CountingShortcut(
    count=400, pixels=48, max_objects=3, min_contrast=0.5, tag_agreement=0.5, test_share=0.3
)
WEIGHTED = WeightedCounting(by="color", color="rgb", count=300, test_share=0.3)
ONE = TrianglesSquares(count=300, pixels=24, min_radius=5, max_radius=7, move=True, test_share=0.3)


def first_and_rest(found):
    table = found.tables["permutation_importance"]
    return table["parameter"][0], table["importance"][0], table["importance"][1:].max()


def test_a_counter_answers_by_the_count_alone(of, counting):
    subject = of(counting, Counter(least=1))
    first, most, rest = first_and_rest(PermutationImportance(images=60, repeats=2)(subject))
    assert first == "count"
    assert most > 0.4
    assert rest <= 0.02
    tree = TreeSurrogate(images=120)(subject)
    assert tree.numbers["fidelity"] > 0.98 > 0.7 > tree.numbers["chance"]
    assert "asks most for count" in tree.lines[0]
    plane = DecisionBoundary(images=8, parameters=("count", "contrast"), steps=4)(subject)
    rows = plane.tables["decision_boundary"].set_index("count")
    assert all(set(rows.loc[n]) == {str(n)} for n in (1, 2, 3))


def test_a_reader_of_tags_answers_by_the_tag_though_the_labels_do_not(of):
    subject = of(TAGGED, TagReader())
    first, most, rest = first_and_rest(PermutationImportance(images=60, repeats=2)(subject))
    assert (first, rest) == ("tag", 0)
    assert most > 0.3
    assert "asks most for tag" in TreeSurrogate(images=120)(subject).lines[0]


def test_the_dependence_on_each_colours_number_is_what_it_is_worth(of):
    """f_c = 2 c t - c^2, so the difference of two classes' logits goes by 2 (c - d) w."""
    subject = of(WEIGHTED, WeightedCounter(), value="logit")
    names = tuple(f"number of {one}" for one in ("red", "green", "blue", "yellow"))
    found = PartialDependence(images=12, parameters=names, answer="value")(subject)
    table = found.tables["partial_dependence"]
    classes = subject.data.classes
    for name, worth in zip(names, (2, 1, 0, -1), strict=True):
        rows = table[table["parameter"] == name]
        mine = rows.pivot(index="value", columns="class", values="answer")
        gap = (mine[classes[3]] - mine[classes[2]]).to_numpy()
        steps = np.diff(gap[:2])  # the first object more: nothing is cut there
        assert steps == pytest.approx(2 * worth, abs=0.35 if worth else 1e-3), name
    blue = table[table["parameter"] == "number of blue"].groupby("class")["answer"]
    assert float(blue.std().max()) < 1e-3


def test_a_parameter_that_is_set_is_read_back_and_nothing_else_moves(of):
    for data in (TAGGED, WEIGHTED, ONE):
        space = rendered(of(data, LinearSum()), 20).space
        before = space.table()
        assert torch.equal(space.drawn(before).render(), space.scene.render())
        for column, one in enumerate(space.parameters):
            if not one.ordered:
                continue
            table = before.copy()
            table[:, column] = np.roll(before[:, column], 1)
            wanted = torch.from_numpy(table[:, column]).float()
            got = one.read(space.drawn(table))
            if one.name == "angle":  # it is known up to the symmetry
                wanted = wanted % (360 / space.scene.sides[:, 0])
            known = ~(wanted.isnan() | got.isnan())
            assert known.sum() > 10
            assert torch.allclose(got[known], wanted[known], atol=1e-3), (type(data), one.name)


def test_scenes_stay_such_as_the_generator_draws(of, counting):
    space = rendered(of(counting, LinearSum()), 40).space
    for name in ("count", "size", "background", "object grey"):
        table = space.table()
        column = space.place(name)
        table[:, column] = np.random.default_rng(0).permutation(table[:, column])
        scene = space.drawn(table)
        there = scene.sides > 0
        contrast = (scene.levels - scene.background[:, None]).abs()
        assert float(contrast.min()) > 0.9 - 1e-5, name
        apart = (
            torch.cdist(scene.centres, scene.centres)
            - scene.radii[:, None]
            - scene.radii[..., None]
        )
        pairs = there[:, None] & there[..., None] & ~torch.eye(there.shape[1], dtype=torch.bool)
        assert float(apart[pairs].min()) > 0, name


def test_two_parameters_that_add_up_do_not_interact(of):
    subject = of(ONE, LinearSum(), value="logit")
    pair = ("background", "size")
    together = Two(images=6, parameters=pair, steps=4, answer="value")(subject)
    alone = Two(images=6, parameters=("x", "background"), steps=4, answer="value")(subject)
    assert alone.numbers["interaction"] < 0.05  # the mean grey is the same wherever an object lies
    assert together.numbers["interaction"] > alone.numbers["interaction"]


def test_blocks_that_are_never_seen_are_worth_nothing(of):
    found = BlockPermutation(images=16, blocks=4)(of(Digits(), Blind(ignored="left")))
    table = found.tables["block_permutation"].to_numpy()
    assert np.abs(table[:, :2]).max() == 0
    assert np.abs(table[:, 2:]).max() > 0.001


@pytest.mark.parametrize(
    ("insight", "words"),
    [
        (PartialDependence(parameters=("colour",)), "unknown parameter of these scenes"),
        (Two(parameters=("size",)), "got 1; allowed: two"),
        (PartialDependence(parameters=("places",)), "have no order"),
    ],
)
def test_parameters_that_there_are_not_are_refused(of, counting, insight, words):
    with pytest.raises(InputError, match=words):
        insight(of(counting, LinearSum()))


def test_images_without_scenes_have_no_parameters(of):
    with pytest.raises(InputError, match="whose images have no scene parameters"):
        TreeSurrogate()(of(Digits(), LinearSum()))
