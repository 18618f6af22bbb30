"""The page of a survey, self-contained and blind, and its key."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xai_exp.report.pages import browser, document
from xai_exp.survey.design import NOTHING, Guess, Material, Pair
from xai_exp.survey.key import GUESSES, PAIRS, Item, Key

_WORDS = {
    PAIRS: "Which heatmap shows better why the network says so?",
    GUESSES: "Which rule does this network go by?",
}
_SECONDS = {PAIRS: 6, GUESSES: 20}  # that a question takes


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A survey before it is written.

    Attributes:
        title: its heading.
        materials: the networks.
        questions: all pairs, or all guesses.
        controls: methods that know no network, and exact truth.
        placebo: of guesses.
        mechanisms: what may be guessed, by name as people read it.
        higher: whether more is better, by metric.
        truths: metrics that compare with exact truth.
        seed: of the maps' names.
    """

    title: str
    materials: Sequence[Material]
    questions: Sequence[Pair] | Sequence[Guess]
    controls: Sequence[str] = ()
    placebo: str = ""
    mechanisms: Mapping[str, str] = field(default_factory=dict)
    higher: Mapping[str, bool] = field(default_factory=dict)
    truths: Sequence[str] = ()
    seed: int = 0

    @property
    def kind(self) -> str:
        """Pairs, or mechanism."""
        return PAIRS if isinstance(self.questions[0], Pair) else GUESSES


def made(asked: Asked) -> tuple[str, Key]:
    """The page and its key."""
    blind = _Blind(asked)
    forms, items = blind.pairs() if asked.kind == PAIRS else blind.guesses()
    key = Key(
        title=asked.title,
        kind=asked.kind,
        items=items,
        forms=len(forms),
        controls=list(asked.controls),
        placebo=asked.placebo,
        scores=_scores(asked),
        higher=dict(asked.higher),
        truths=list(asked.truths),
    )
    images = asked.materials[0].images
    data = {
        "survey": key.survey,
        "kind": key.kind,
        "question": _WORDS[key.kind],
        "size": list(images.shape[2:]),
        "colours": 3 if images.shape[1] >= 3 else 1,
        "pictures": blind.pictures,
        "maps": dict(sorted(blind.maps.items())),
        "names": {name: asked.mechanisms.get(name, name) for name in asked.mechanisms},
        "forms": forms,
    }
    text = json.dumps(data).replace("<", "\\u003c")
    minutes = max(2, len(items) * _SECONDS[key.kind] // 60)
    summary = f"{len(items)} questions, about {minutes} minutes."
    page = document.filled("survey.html", title=_escaped(asked.title), summary=summary, data=text)
    return page, key


class _Blind:
    """Pictures and maps under names that tell nothing."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.pictures: dict[str, str] = {}
        self.maps: dict[str, str] = {}
        self._named: dict[tuple[int, str, int], str] = {}
        self._numbers = iter(np.random.default_rng(asked.seed).permutation(1_000_000))

    def pairs(self) -> tuple[list[list[dict[str, Any]]], dict[str, Item]]:
        """Two forms, the second the mirror of the first."""
        forms: list[list[dict[str, Any]]] = [[], []]
        items = {}
        for number, one in enumerate(self.asked.questions, 1):
            assert isinstance(one, Pair)
            name = f"q{number:03d}"
            maps = [self._map(one.network, method, one.image) for method in one.methods]
            for form, shown in zip(forms, (maps, maps[::-1]), strict=True):
                seen = [self._shown(one.network, one.image, shown)]
                form.append({"id": name, "pictures": seen, "choices": shown})
            items[name] = Item(
                network=one.network,
                choices=maps,
                methods=dict(zip(maps, one.methods, strict=True)),
                image=one.image,
            )
        return forms, items

    def guesses(self) -> tuple[list[list[dict[str, Any]]], dict[str, Item]]:
        """A form for each condition."""
        choices = list(self.asked.mechanisms)
        count = len({one.condition for one in self.asked.questions if isinstance(one, Guess)})
        forms: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        items = {}
        for number, one in enumerate(self.asked.questions, 1):
            assert isinstance(one, Guess)
            name = f"q{number:03d}"
            for form, images in zip(forms, one.images, strict=True):
                seen = [self._guessed(one, image) for image in images]
                form.append({"id": name, "pictures": seen, "choices": choices})
            items[name] = Item(
                network=one.network,
                choices=choices,
                right=self.asked.materials[one.network].mechanism,
                condition=one.condition,
            )
        return forms, items

    def _guessed(self, one: Guess, image: int) -> dict[str, Any]:
        none = one.condition == NOTHING
        maps = [] if none else [self._map(one.network, one.condition, image)]
        return self._shown(one.network, image, maps)

    def _shown(self, network: int, image: int, maps: Sequence[str]) -> dict[str, Any]:
        material = self.asked.materials[network]
        pixels = _encoded(browser_image(material.images[image]))
        known = {content: name for name, content in self.pictures.items()}
        name = known.get(pixels, f"p{len(self.pictures)}")
        self.pictures[name] = pixels
        return {"picture": name, "says": material.says[image], "maps": list(maps)}

    def _map(self, network: int, method: str, image: int) -> str:
        place = (network, method, image)
        if place not in self._named:
            name = f"m{next(self._numbers):06d}"
            drawn = self.asked.materials[network].heatmaps[method][image]
            self._named[place] = name
            self.maps[name] = _encoded(browser.signed(drawn[None]))
        return self._named[place]


def browser_image(image: np.ndarray) -> np.ndarray:
    """An image (channel, height, width) as a person sees it: grey, or three colours last."""
    if len(image) < 3:
        return image.mean(0).astype(np.uint8)
    return np.moveaxis(image[:3], 0, -1)


def _scores(asked: Asked) -> dict[str, list[dict[str, list[float | None]]]]:
    """As JSON has them: what is not a number is None."""
    return {
        metric: [
            {
                method: [None if np.isnan(score) else float(score) for score in rows]
                for method, rows in material.scores.get(metric, {}).items()
            }
            for material in asked.materials
        ]
        for metric in asked.higher
    }


def _encoded(block: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(block).tobytes()).decode()


def _escaped(text: str) -> str:
    import html

    return html.escape(text)
