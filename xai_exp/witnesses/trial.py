"""One trial of planted truth: plant, train, certify, and grade every explainer.

What a trial gave is kept in a file as soon as it is made, so that work that was killed goes on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xai_exp import scoring
from xai_exp.compute import ops
from xai_exp.compute.values import valued
from xai_exp.config import InputError, identity
from xai_exp.data.loading import TensorSplit
from xai_exp.errors import in_a_line
from xai_exp.explainers.reference import Reference
from xai_exp.files import write_whole
from xai_exp.metrics.truth.measures import PartSkill
from xai_exp.truth.games import attribute
from xai_exp.types import Case, Dataset, Explainer
from xai_exp.witnesses.certificate import NONE, Certificate, certified
from xai_exp.witnesses.looks import KINDS, LOOKS, Look, cut, pasted
from xai_exp.witnesses.planting import DESIGNS, Design, Planted, side_of
from xai_exp.witnesses.tuning import Pace, Plan, tuned

VERSION = 3  # of all that decides what a trial gives
MOST = 200  # pictures that a copy is trained on, and half as many that certify it
_LINE = 200


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a trial is of.

    Attributes:
        design: what plants are worth.
        look: of the plants.
        seed: which kind plays which role, the draws, the order of training.
    """

    design: Design
    look: Look
    seed: int

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.look}, {self.design}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial gave.

    Attributes:
        asked: what it is of.
        certificate: whether the copy uses the plants as it should.
        skills: of each explainer, an image each; NaN where undefined. Empty if not certified.
        weights: what each image counts in the mean.
        refused: explainers that had no heatmap here, and why.
    """

    asked: Asked
    certificate: Certificate
    skills: Mapping[str, Sequence[float]]
    weights: Sequence[float]
    refused: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Whose network it is, and what it sees.

    Attributes:
        network: in evaluation mode, on the device of the pictures.
        data: its pictures.
        explainers: to be graded.
        images: how many planted pictures are explained in each trial.
        reference: the image that counts as nothing.
        pace: of training.
    """

    network: nn.Module
    data: Dataset
    explainers: Mapping[str, Explainer]
    images: int = 16
    reference: Reference = "own"
    pace: Pace = field(default_factory=Pace)

    def asked(self, looks: Sequence[str], seeds: Sequence[int]) -> list[Asked]:
        """All trials of these looks and seeds that the pictures allow."""
        return [
            Asked(design=design, look=look, seed=seed)
            for seed in seeds
            for look in LOOKS
            for design in DESIGNS
            if look in looks and self._has(look, design)
        ]

    def _has(self, look: Look, design: Design) -> bool:
        if look == "colour":
            return self.data.channels >= KINDS
        if look == "own":
            return len(self.cuttable) >= (2 if design == "distract" else KINDS)
        return True

    @cached_property
    def cuttable(self) -> Sequence[int]:
        """The first training image of each of up to three classes that has a mask."""
        return _cuttable(self.data)


def kept(subject: Subject, asked: Asked, folder: Path, key: str) -> Trial:
    """The trial, made or found.

    Args:
        subject: whose.
        asked: which.
        folder: where trials are kept.
        key: of the network and its pictures.
    """
    if (found := known(subject, asked, folder, key)) is not None:
        return found
    made = tried(subject, asked)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(_path(subject, asked, folder, key), json.dumps(asdict(made)))
    return made


def known(subject: Subject, asked: Asked, folder: Path, key: str) -> Trial | None:
    """The trial if it is kept already."""
    return _read(_path(subject, asked, folder, key))


def tried(subject: Subject, asked: Asked) -> Trial:
    """Plant, train, certify, grade.

    Raises:
        InputError: for pictures too small for plants, or a network that can't be trained.
    """
    data, seed = subject.data, asked.seed
    device = next((p.device for p in subject.network.parameters()), torch.device("cpu"))
    train, held, test = (
        split.images(torch.arange(min(most, len(split)), device=device))
        for split, most in (
            (data.train, MOST),
            (data.validation, MOST // 2),
            (data.test, subject.images),
        )
    )
    plan = Plan(
        design=asked.design,
        pasted=pasted(asked.look, side_of(data.size), _cuts(subject, asked.look, device)),
        order=_order(seed),
    )
    generator = torch.Generator().manual_seed(1_000_003 * (seed + 1))
    certifying = plan.drawn(_several(held, MOST // 2), generator)
    told = plan.drawn(_several(test, subject.images), generator, telling=True)
    certificate = NONE
    for steps, learning_rate in subject.pace.attempts:
        model, good = tuned(
            subject.network,
            plan,
            train,
            certifying,
            steps=steps,
            batch=subject.pace.batch,
            learning_rate=learning_rate,
            seed=seed,
        )
        asked_of = valued(model, "pair", told.pictures[:1], 0)
        ones = torch.ones(len(certifying), dtype=torch.long, device=device)
        known = attribute(asked_of, certifying, ones)
        certificate = certified(good, known, certifying.roles, asked.design)
        if certificate.holds:
            planted_ = plan.drawn(_several(train, MOST), generator)
            return _graded(subject, asked, certificate, model, told, Learnt(planted_, told))
    return Trial(asked=asked, certificate=certificate, skills={}, weights=[], refused={})


class Learnt:
    """What the copy has learnt from, as a dataset: references come from pictures with plants.

    From pictures without any they would be the very absence of what is to be found.
    """

    def __init__(self, train: Planted, test: Planted) -> None:
        self.classes, self.channels = ("without", "with"), train.pictures.shape[1]
        self.size = (train.pictures.shape[2], train.pictures.shape[3])
        self.train, self.test = (
            TensorSplit(pixels=one.render(), labels=(one.roles == 0).any(1).long())
            for one in (train, test)
        )
        self.validation = self.test


def _graded(
    subject: Subject,
    asked: Asked,
    certificate: Certificate,
    model: nn.Module,
    told: Planted,
    learnt: Learnt,
) -> Trial:
    """The skill of every explainer on the certified copy."""
    images, skill = told.render(), PartSkill()
    ones = torch.ones(len(images), dtype=torch.long, device=images.device)
    unseen = scoring.Sample(images=images, labels=ones, scenes=None, parts=None)
    across: dict[Any, Any] = {}
    skills, refused, weights = {}, {}, []
    with ops.evaluating(model):
        asked_of = valued(model, "pair", images, 0)
        for name, explainer in subject.explainers.items():
            try:
                # Explainers are told of no plants: they see pictures.
                bound = scoring.bound(explainer, model, learnt, unseen, subject.reference)
                heatmaps = bound(asked_of, images, ones).detach()
                scoring.refuse_not_finite(heatmaps)
                case = Case(
                    model=asked_of,
                    images=images,
                    targets=ones,
                    heatmaps=heatmaps,
                    explain=bound,
                    scenes=told,
                    generator=torch.Generator(images.device).manual_seed(asked.seed),
                    value="pair",
                    across=across,
                )
                found, counted = skill(case), skill.weights(case)
            except InputError as error:
                refused[name] = str(error)
            except Exception as error:  # as in a run, one method's failure is its own line
                refused[name] = in_a_line(error)[:_LINE]
            else:
                skills[name] = [float(one) for one in found.double()]
                weights = [float(one) for one in counted.double()]
    return Trial(
        asked=asked, certificate=certificate, skills=skills, weights=weights, refused=refused
    )


def _several(pictures: Tensor, count: int) -> Tensor:
    """`count` pictures, taken again in turn where there are fewer."""
    return pictures[torch.arange(count, device=pictures.device) % len(pictures)]


def _order(seed: int) -> tuple[int, ...]:
    """Which kind plays A, B and C: each plays each once in three seeds."""
    return tuple((role + seed) % KINDS for role in range(KINDS))


def _cuttable(data: Dataset) -> list[int]:
    index = torch.arange(min(MOST, len(data.train)))
    parts = data.train.parts(index)
    if parts is None:
        return []
    labels = data.train.labels[index]
    there = (parts.flatten(1) > 0).any(1).cpu()
    found = [(labels == one) & there for one in labels.unique()]
    return [int(mine.nonzero()[0]) for mine in found if mine.any()][:KINDS]


def _cuts(subject: Subject, look: Look, device: torch.device) -> Any:  # noqa: ANN401
    if look != "own":
        return None
    data, places = subject.data, torch.tensor(subject.cuttable, device=device)
    pictures, parts = data.train.images(places), data.train.parts(places)
    assert parts is not None
    side = side_of(data.size)
    cuts = [cut(one, mask.amax(0), side) for one, mask in zip(pictures, parts, strict=True)]
    cuts += cuts[:1] * (KINDS - len(cuts))
    return torch.stack([one for one, _ in cuts]), torch.stack([mask for _, mask in cuts])


def _path(subject: Subject, asked: Asked, folder: Path, key: str) -> Path:
    return folder / f"{_key(subject, asked, key)}.json"


def _key(subject: Subject, asked: Asked, key: str) -> str:
    from xai_exp.training.store import model_key

    return model_key(
        {
            "network": key,
            "trial": asdict(asked),
            "rules": VERSION,
            "images": subject.images,
            "reference": subject.reference,
            "pace": asdict(subject.pace),
            "explainers": {name: identity(one) for name, one in subject.explainers.items()},
            "skill": identity(PartSkill()),
        }
    )


def _read(path: Path) -> Trial | None:
    """A trial that was kept; None if there is none, or half of one."""
    try:
        found: Any = json.loads(path.read_text("utf-8"))
        return Trial(
            asked=Asked(**found["asked"]),
            certificate=Certificate(**found["certificate"]),
            skills=found["skills"],
            weights=found["weights"],
            refused=found["refused"],
        )
    except (FileNotFoundError, KeyError, TypeError, json.JSONDecodeError):
        return None
