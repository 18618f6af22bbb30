"""FunnyBirds' protocols and IDSDS, written down once more with sets and loops."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from xai_exp.data.scenes.scene import Scene
from xai_exp.metrics.truth.funny_birds import (
    BackgroundIndependence,
    Distractibility,
    PartCheck,
    SingleDeletion,
    TargetSensitivity,
    minimal,
)
from xai_exp.metrics.truth.parts import grown

THRESHOLDS = np.linspace(0.01, 0.5, 80)
COUNT = 8


def discs(generator, tagged=False):
    """Up to four discs of different grey, the last of which may be a tag."""
    there = torch.rand(COUNT, 4, generator=generator) < 0.8
    return Scene(
        sides=there.long(),
        centres=torch.tensor([[[6.0, 6.0], [17.0, 7.0], [6.0, 18.0], [18.0, 18.0]]]).repeat(
            COUNT, 1, 1
        ),
        radii=2.5 + torch.rand(COUNT, 4, generator=generator),
        angles=torch.zeros(COUNT, 4),
        levels=0.5 + torch.rand(COUNT, 4, generator=generator) / 2,
        background=torch.rand(COUNT, generator=generator) / 4,
        size=(24, 24),
        tagged=tagged,
    )


@pytest.fixture
def case(make_case):
    generator = torch.Generator().manual_seed(0)
    made = discs(generator)
    network = nn.Sequential(nn.Flatten(), nn.Linear(576, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    for one in network.parameters():
        one.data = torch.randn(one.shape, generator=generator, dtype=torch.float64) / 4
    network = nn.Sequential(Double(), network)
    images = made.render()
    with torch.no_grad():
        nothing = network(made.render(torch.zeros_like(made.present)))
        network[1][-1].bias -= nothing.mean(0)  # no class is said of nothing in every image
        targets = network(images).argmax(1)
    heatmaps = torch.randn(COUNT, 24, 24, generator=generator)
    kept = {"images": images, "scenes": made, "parts": made.parts(), "heatmaps": heatmaps}
    return replace(make_case(**kept), model=network, targets=targets, explain=gradient)


class Double(nn.Module):
    def forward(self, images):
        return images.double()


def gradient(model, images, targets):
    images = images.clone().requires_grad_()
    logits = model(images)
    logits.gather(1, targets[:, None]).sum().backward()
    return (images.grad * images.detach())[:, 0]


class One:
    """One image, its parts as a set, and what the network says of any of them."""

    def __init__(self, case, row):
        self.case, self.row = case, row
        self.parts = set(case.scenes.present[row].nonzero()[:, 0].tolist())
        self.target = int(case.targets[row])
        self.known = {}

    def logits(self, parts):
        key = frozenset(parts)
        if key not in self.known:
            self.known[key] = self.asked(parts)
        return self.known[key]

    def asked(self, parts):
        keep = torch.tensor([[one in parts for one in range(4)]])
        with torch.no_grad():
            return self.case.model(self.case.scenes[self.row : self.row + 1].render(keep))[0]

    def says(self, parts):
        return int(self.logits(parts).argmax()) == self.target

    def loss(self, part, target):
        return float((self.logits(self.parts) - self.logits(self.parts - {part}))[target])

    def relevance(self, heatmaps):
        owned = grown(self.case.parts[self.row : self.row + 1], 2)[0].double()
        return {one: float((owned[one] * heatmaps[self.row]).sum()) for one in self.parts}

    def important(self):
        total = float(self.case.heatmaps[self.row].double().sum())
        relevance = self.relevance(self.case.heatmaps)
        return [{one for one, r in relevance.items() if r > t * total} for t in THRESHOLDS]


def each(case):
    return [One(case, row) for row in range(COUNT)]


def agree(scores, wanted):
    torch.testing.assert_close(
        scores.double(), torch.tensor(wanted).double(), rtol=0, atol=1e-5, equal_nan=True
    )
    assert scores.isfinite().sum() > 2


def test_single_deletion_is_the_rank_of_what_each_part_alone_costs(case):
    wanted = []
    for one in each(case):
        shown = one.relevance(case.heatmaps)
        lost = [one.loss(part, one.target) for part in one.parts]
        known = len(one.parts) > 1
        wanted.append(
            stats.spearmanr([shown[p] for p in one.parts], lost).statistic if known else np.nan
        )
    agree(SingleDeletion()(case), wanted)


def test_important_parts_keep_the_answer_and_take_it_along(case):
    keeps, takes = [], []
    for one in each(case):
        chosen = one.important()
        keeps.append(np.mean([one.says(parts) for parts in chosen]))
        takes.append(np.mean([not one.says(one.parts - parts) for parts in chosen]))
    agree(PartCheck()(case), keeps)
    agree(PartCheck(check="deletion")(case), takes)
    at_one = PartCheck(threshold=float(THRESHOLDS[7]))(case)
    agree(at_one, [float(one.says(one.important()[7])) for one in each(case)])
    other = replace(case, targets=(case.targets + 1) % 3)
    assert PartCheck()(other).isnan().all()


def test_the_controlled_check_asks_for_a_smallest_set_that_suffices(case):
    wanted = []
    for one in each(case):
        every = [
            set(some)
            for size in range(len(one.parts) + 1)
            for some in itertools.combinations(sorted(one.parts), size)
        ]
        enough = [some for some in every if one.says(some)]
        least = [some for some in enough if not any(other < some for other in enough)]
        known = least != [set()]
        overlaps = [
            max(len(some & parts) / len(some) for some in least) if known else np.nan
            for parts in one.important()
        ]
        wanted.append(np.mean(overlaps))
    agree(PartCheck(check="controlled")(case), wanted)


def test_minimal_sets_have_no_sufficient_subset_however_small(generator):
    sufficient = torch.rand(20, 16, generator=generator) < 0.3
    found = minimal(sufficient)
    for row in range(20):
        for number in range(16):
            below = [s for s in range(16) if s & number == s and s != number]
            wanted = bool(sufficient[row, number]) and not any(sufficient[row, s] for s in below)
            assert bool(found[row, number]) == wanted


def test_what_does_not_matter_is_not_to_be_called_important(case):
    wanted = []
    for one in each(case):
        limit = 0.05 * abs(float(one.logits(one.parts)[one.target]))
        idle = {part for part in one.parts if one.loss(part, one.target) < limit}
        shares = [len(parts & idle) / len(idle) if idle else np.nan for parts in one.important()]
        wanted.append(1 - np.mean(shares))
    agree(Distractibility()(case), wanted)


def test_parts_have_more_relevance_for_the_class_that_they_speak_for(case):
    case = replace(case, heatmaps=gradient(case.model, case.images, case.targets).detach())
    wanted = []
    for one in each(case):
        other = int(one.logits(one.parts).argsort()[-2])
        others = torch.full_like(case.targets, other)
        mine = {part: one.loss(part, one.target) for part in one.parts}
        theirs = {part: one.loss(part, other) for part in one.parts}
        order = sorted(one.parts, key=lambda p: mine[p] - theirs[p])
        j, i = order[0], order[-1]
        shown = one.relevance(case.heatmaps)
        beside = one.relevance(gradient(case.model, case.images, others).detach())
        known = mine[i] > mine[j] and theirs[j] > theirs[i]
        score = ((shown[i] > beside[i]) + (beside[j] > shown[j])) / 2
        wanted.append(score if known else np.nan)
    agree(TargetSensitivity()(case), wanted)


def test_a_network_is_independent_of_a_tag_whose_removal_costs_little(case):
    tagged = replace(case.scenes, tagged=True)
    case = replace(case, scenes=tagged)
    wanted = []
    for one in each(case):
        limit = 0.05 * abs(float(one.logits(one.parts)[one.target]))
        used = one.loss(3, one.target) >= limit if 3 in one.parts else np.nan
        wanted.append(1 - used)
    agree(BackgroundIndependence()(case), wanted)
    assert {0.0, 1.0} <= set(BackgroundIndependence()(case).tolist())
