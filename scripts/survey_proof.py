"""Surveys of simulated people whose preferences are known: how often the truth is in the intervals.

python scripts/survey_proof.py [--page]     (`make survey-proof`)

Questions are dealt out, and answers judged, as by `experiment=survey`. What is done stands in
scripts/survey.json and is not done again; `--page` only writes the tables of docs/survey.md.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special
from scipy.optimize import isotonic_regression, root

from xai_exp.files import write_whole
from xai_exp.statistics.raters import krippendorff_alpha
from xai_exp.survey import analysis, design
from xai_exp.survey.answers import Answers
from xai_exp.survey.key import GUESSES, PAIRS, Item, Key

ROOT = Path(__file__).resolve().parent.parent
FOUND, PAGE = ROOT / "scripts" / "survey.json", ROOT / "docs" / "survey.md"
METHODS = [f"m{place}" for place in range(8)]
PICTURES = 16  # of a network that is asked about
DEFAULT, RATERS = 56, (3, 5, 12, 30)
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Case:
    """A survey that is simulated many times.

    Attributes:
        raters: how many people.
        people: the standard deviation of a person's own strengths about the mean of all people.
        pictures: the same of a method's own strength on each picture.
        questions: a person is asked.
        images: that questions are about.
        step: from one method's strength to the next.
        surveys: how often.
    """

    raters: int
    people: float
    pictures: float
    questions: int = DEFAULT
    images: int = 16
    step: float = 0.25
    surveys: int = 200

    @property
    def true(self) -> Any:  # noqa: ANN401
        """The strengths, evenly apart."""
        return self.step * (np.arange(8) - 3.5)


KINDS = {
    (0.0, 0.0): "no",
    (0.7, 0.0): "people",
    (0.0, 0.5): "pictures",
    (0.7, 0.5): "people and pictures",
}
COVERED = [Case(raters=n, people=a, pictures=b) for a, b in KINDS for n in RATERS]
ASKED = ((16, 56), (56, 56), (56, 112))  # images and questions
POWERED = [
    Case(raters=n, people=0.7, pictures=0.5, questions=q, images=i, step=0.4, surveys=100)
    for i, q in ASKED
    for n in RATERS[1:]
]
GUESSED = [(raters, people) for people in (0.0, 0.7) for raters in (5, 12, 30)]
EFFECT, PLAIN, CONDITIONS = 0.3, 0.4, (design.NOTHING, "placebo", "shown")


def main(words: Sequence[str]) -> None:
    """Simulate what is not there yet, then write the page."""
    found = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {"pairs": [], "rules": []}
    if "--page" not in words:
        done = [one["case"] for one in found["pairs"]]
        for case in [one for one in (*COVERED, *POWERED) if asdict(one) not in done]:
            found["pairs"].append({"case": asdict(case), **simulated(case)})
            write_whole(FOUND, written(found) + "\n")
            print(case)
        for raters, people in GUESSED[len(found["rules"]) :]:
            found["rules"].append(rules(raters, people))
            write_whole(FOUND, written(found) + "\n")
    text = PAGE.read_text("utf-8")
    for name, table in {"covered": covered(found), "power": power(found["pairs"])}.items():
        mark = re.compile(f"(<!-- begin: {name} -->).*(<!-- end: {name} -->)", re.DOTALL)
        text = mark.sub(lambda match: f"{match[1]}\n\n{table}\n\n{match[2]}", text)  # noqa: B023
    write_whole(PAGE, text)


def written(found: dict[str, Any]) -> str:
    """A line for each case."""
    parts = [
        f'"{name}": [\n' + ",\n".join(json.dumps(one) for one in rows) + "\n]"
        for name, rows in found.items()
    ]
    return "{" + ",\n".join(parts) + "}"


def simulated(case: Case) -> dict[str, Any]:
    """How often intervals held the truth, and leads of each size were found."""
    strengths, alpha = truth(case)
    leads = np.array([strengths[b] - strengths[a] for a, b in combinations(range(8), 2)])
    held, together, agreed, known = [], [], [], []
    for seed in range(case.surveys):
        key, told = survey(case, seed)
        methods, found = analysis.ranked(key, told)
        every = [found.strength(place) for place in range(8)]
        held += [one.low <= strengths[place] <= one.high for place, one in enumerate(every)]
        said = analysis.Preferred(methods, found, {}, every[0], every[0], {})
        pairs = [said.lead(b, a) for a, b in combinations(methods, 2)]
        inside = [one.low <= lead <= one.high for one, lead in zip(pairs, leads, strict=True)]
        together.append(all(inside))
        known.append([one.low > 0 for one in pairs])
        first = [
            [float(one.given[n] == i.choices[0]) for n, i in key.items.items()] for one in told
        ]
        interval = krippendorff_alpha(first, seed=seed)
        agreed.append(interval.low <= alpha <= interval.high)
    return {
        "strength": float(np.mean(held)),
        "leads": float(np.mean(together)),
        "alpha": float(np.mean(agreed)),
        **_grouped(leads, np.mean(known, 0)),
    }


def _grouped(leads: Any, found: Any) -> dict[str, list[float]]:  # noqa: ANN401
    """The share of leads of each size that were found."""
    sizes = np.round(leads, 2)
    each = sorted(set(sizes.tolist()))
    return {
        "sizes": each,
        "found": [round(float(found[sizes == one].mean()), 4) for one in each],
    }


def survey(case: Case, seed: int) -> tuple[Key, list[Answers]]:
    """One survey and what people answer."""
    rng = np.random.default_rng((seed, case.raters, case.questions))
    places = [(0, image) for image in range(case.images)]
    asked = design.pairs(METHODS, places, case.questions, seed)
    items = {
        f"q{number}": Item(
            network=0,
            choices=["a", "b"],
            methods=dict(zip("ab", one.methods, strict=True)),
            image=one.image,
        )
        for number, one in enumerate(asked)
    }
    key = Key(title="simulated", kind=PAIRS, items=items, forms=2)
    own = case.true + case.people * rng.normal(size=(case.raters, 8))
    seen = case.pictures * rng.normal(size=(case.images, 8))
    return key, list(answers(key, own, seen, rng))


def answers(key: Key, own: Any, seen: Any, rng: np.random.Generator) -> Iterator[Answers]:  # noqa: ANN401
    """By the model of Bradley and Terry, each person with strengths of their own."""
    items = list(key.items.values())
    one, two = (np.array([METHODS.index(i.methods[c]) for i in items]) for c in "ab")
    image = np.array([i.image for i in items])
    lead = own[:, one] - own[:, two] + seen[image, one] - seen[image, two]
    first = rng.random(lead.shape) < special.expit(lead)
    for number, row in enumerate(first):
        given = dict(zip(key.items, np.where(row, "a", "b").tolist(), strict=True))
        yield Answers(rater=f"r{number}", form=number % 2, given=given, seconds={})


def truth(case: Case) -> tuple[Any, float]:
    """What endless surveys would find: the strengths, and alpha.

    Where people or pictures differ, these are the strengths that give every two methods the share
    of all answers that each is preferred in.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    weights = weights / weights.sum()
    one, two = np.array(list(combinations(range(8), 2))).T
    lead = case.true[one] - case.true[two]
    seen = lead[:, None] + np.sqrt(2) * case.pictures * nodes
    liked = special.expit(seen[..., None] + np.sqrt(2) * case.people * nodes) @ weights
    share = liked @ weights
    agreed = float(1 - 4 * np.mean((liked * (1 - liked)) @ weights))

    def surprise(strengths: Any) -> Any:  # noqa: ANN401
        rest = share - special.expit(strengths[one] - strengths[two])
        found = np.full(8, strengths.sum())
        np.add.at(found, one, rest)
        np.add.at(found, two, -rest)
        return found

    return root(surprise, case.true, tol=1e-12).x, agreed


def rules(raters: int, people: float, surveys: int = 200) -> dict[str, Any]:
    """How often the effect of a heatmap, against the placebo, was in its interval."""
    networks = len(METHODS) // 2
    names = [f"rule {place}" for place in range(networks)]
    held, found = [], []
    for seed in range(surveys):
        rng = np.random.default_rng((seed, raters))
        asked = design.guesses(networks, CONDITIONS, PICTURES, 4, seed)
        items = {
            f"q{number}": Item(
                network=one.network,
                choices=names,
                right=names[one.network],
                condition=one.condition,
            )
            for number, one in enumerate(asked)
        }
        key = Key(title="", kind=GUESSES, items=items, forms=3, placebo="placebo")
        able = 0.2 * people * rng.uniform(-1, 1, raters)
        told = [guesses(key, number, float(one), rng) for number, one in enumerate(able)]
        effect = analysis.guessed(key, told).effect["shown"]
        held.append(effect.low <= EFFECT <= effect.high)
        found.append(effect.low > 0)
    return {
        "raters": raters,
        "people": people,
        "effect": float(np.mean(held)),
        "found": float(np.mean(found)),
    }


def guesses(key: Key, number: int, able: float, rng: np.random.Generator) -> Answers:
    """One person's: right as often beside the placebo as beside nothing, more so when shown."""
    given = {}
    for name, item in key.items.items():
        chance = PLAIN + able + EFFECT * (item.condition == "shown")
        wrong = [rule for rule in item.choices if rule != item.right]
        given[name] = item.right if rng.random() < chance else str(rng.choice(wrong))
    return Answers(rater=f"r{number}", form=number % key.forms, given=given, seconds={})


def covered(found: dict[str, Any]) -> str:
    """The table of how often the truth was in the intervals."""
    rows = {json.dumps(one["case"]): one for one in found["pairs"]}
    lines = [
        "| what differs | people | strengths | all leads together | alpha |",
        "| --- " * 5 + "|",
    ]
    for case in COVERED:
        one = rows[json.dumps(asdict(case))]
        told = " | ".join(f"{100 * one[name]:.0f} %" for name in ("strength", "leads", "alpha"))
        lines.append(f"| {KINDS[case.people, case.pictures]} | {case.raters} | {told} |")
    lines += ["", "| people (they differ) | effect in its interval | effect found |"]
    lines.append("| --- " * 3 + "|")
    for one in found["rules"]:
        if one["people"]:
            told = " | ".join(f"{100 * one[name]:.0f} %" for name in ("effect", "found"))
            lines.append(f"| {one['raters']} | {told} |")
    return "\n".join(lines)


def power(found: Sequence[dict[str, Any]]) -> str:
    """The smallest lead that is found in 80 % of surveys, by people and questions."""
    rows = {json.dumps(one["case"]): one for one in found}
    heads = [f"{questions} questions, {images} pictures" for images, questions in ASKED]
    lines = [f"| people | {' | '.join(heads)} |", "| --- " * 4 + "|"]
    for raters in RATERS[1:]:
        cells = []
        for case in [one for one in POWERED if one.raters == raters]:
            one = rows[json.dumps(asdict(case))]
            least = smallest(one["sizes"], one["found"])
            cells.append(
                f"more than {max(one['sizes']):.1f}"
                if least is None
                else f"{least:.1f} (preferred in {100 * special.expit(least):.0f} %)"
            )
        lines.append(f"| {raters} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def smallest(sizes: Sequence[float], found: Sequence[float]) -> float | None:
    """The lead at which the share of surveys that find it, which only grows, reaches 80 %."""
    order = np.argsort(sizes)
    grown = isotonic_regression(np.asarray(found)[order]).x
    if grown[-1] < POWER:
        return None
    place = int(np.argmax(grown >= POWER))
    ahead = np.asarray(sizes)[order]
    if place == 0:
        return float(ahead[0])
    low, high = grown[place - 1], grown[place]
    part = (POWER - low) / (high - low)
    return float(ahead[place - 1] + part * (ahead[place] - ahead[place - 1]))


if __name__ == "__main__":
    main(sys.argv[1:])
