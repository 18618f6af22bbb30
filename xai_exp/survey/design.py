"""Which questions a survey asks, dealt out so that no order, side or picture favours a method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import gcd

import numpy as np

from xai_exp.config import InputError

NOTHING, TRUTH = "no heatmap", "exact truth"  # what a question may show beside methods


@dataclass(frozen=True, kw_only=True)
class Material:
    """What one network gives to a survey.

    Attributes:
        mechanism: what it is asked for, by name.
        images: (image, channel, height, width) bytes.
        says: the class that is explained, an image.
        heatmaps: (image, height, width) by method.
        scores: by metric, method and image; NaN is missing.
    """

    mechanism: str
    images: np.ndarray
    says: Sequence[str]
    heatmaps: Mapping[str, np.ndarray]
    scores: Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two methods on one image of one network, as the first form has them: left, right."""

    network: int
    image: int
    methods: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Which mechanism has this network? By these pictures of each form, with what is beside them.

    Attributes:
        network: its number.
        condition: a method, or `NOTHING`.
        images: (form, picture) numbers of images.
    """

    network: int
    condition: str
    images: Sequence[Sequence[int]]


def pairs(
    methods: Sequence[str], places: Sequence[tuple[int, int]], count: int, seed: int
) -> list[Pair]:
    """So many comparisons, every two methods equally often, each time on another image.

    Over as many images as there are, or as there are questions.
    Each side is dealt out evenly; the second form of the survey is the mirror of the first.

    Args:
        methods: two or more.
        places: networks and images.
        count: of questions.
        seed: of the dealing.

    Raises:
        InputError: when there are not as many different questions, or fewer than pairs.
    """
    rng = np.random.default_rng(seed)
    every = list(combinations(methods, 2))
    most = len(every) * len(places)
    if not every or not len(every) <= count <= most:
        raise InputError(
            f"survey.questions: got {count} for {len(methods)} methods and {len(places)} images; "
            f"allowed: {len(every)}, so that each two methods meet, to {most}"
        )
    rng.shuffle(every)
    where = rng.permutation(len(places))
    turned = rng.permutation(np.arange(count) % 2).astype(bool)
    # Each turn of a pair meets another picture, and all pictures are made use of.
    step = next(one for one in range(len(every), most + 2) if gcd(one, len(places)) == 1)
    found = []
    for number in range(count):
        turn, which = divmod(number, len(every))
        network, image = places[where[(which + turn * step) % len(places)]]
        first, second = every[which]
        methods_ = (second, first) if turned[number] else (first, second)
        found.append(Pair(network=network, image=image, methods=methods_))
    return found


def guesses(
    networks: int, conditions: Sequence[str], images: int, pictures: int, seed: int
) -> list[Guess]:
    """Every network under every condition, with pictures that no other condition shows with it.

    There are as many forms as conditions; over them each block of pictures meets each condition
    once (a Latin square), so that pictures favour none.

    Args:
        networks: how many.
        conditions: what is shown, two or more.
        images: how many there are of each network.
        pictures: that a question shows.
        seed: of the order of images.

    Raises:
        InputError: when there are too few images.
    """
    needed = len(conditions) * pictures
    if images < needed:
        raise InputError(
            f"survey.pictures: got {pictures} for {len(conditions)} conditions and {images} "
            f"images; allowed: up to {images // len(conditions)}, or images={needed}"
        )
    rng, forms, found = np.random.default_rng(seed), range(len(conditions)), []
    for network in range(networks):
        order = [int(one) for one in rng.permutation(images)]
        blocks = [order[start : start + pictures] for start in range(0, needed, pictures)]
        for place, condition in enumerate(conditions):
            own = [blocks[(place + form) % len(blocks)] for form in forms]
            found.append(Guess(network=network, condition=condition, images=own))
    return found


def truth_map(worth: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """What each part is worth, spread evenly over its pixels.

    Args:
        worth: (image, part) exact values.
        parts: (image, part, height, width) coverage; parts that are not there cover nothing.

    Returns:
        (image, height, width).
    """
    import torch

    from xai_exp.truth.doses import spread

    values = torch.from_numpy(np.nan_to_num(worth.astype(np.float64)))
    return spread(values, torch.from_numpy(parts.astype(np.float64))).numpy()
