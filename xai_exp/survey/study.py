"""A callback of Hydra that makes a survey of what an experiment has explained."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from xai_exp.config import InputError
from xai_exp.studies.callbacks import Report, page_name

if TYPE_CHECKING:
    import numpy as np

    from xai_exp.build import Experiment
    from xai_exp.survey.design import Guess, Material, Pair
    from xai_exp.tracking import Kept

_SKILL = "part_skill"  # 1 is the truth


class Survey(Report):
    """Write the page that asks people, and the key of what it shows.

    Args:
        title: the question, as people read it.
        questions: how many pairs are asked about; null where the mechanism is asked for.
        controls: explainers that know no network.
        mechanism: the key of the configuration that says which mechanism a network has.
        rules: each mechanism in words.
        shown: the explainers beside which mechanisms are guessed, and exact truth.
        placebo: the control that they are compared with.
        pictures: that a guess is made from.
        seed: of the order in which all is dealt out.
        others: as `Report` has them; `truths` are the metrics that compare with exact truth.
    """

    def __init__(
        self,
        title: str,
        questions: int | None = None,
        controls: Sequence[str] = (),
        mechanism: str | None = None,
        rules: Mapping[str, str] | None = None,
        shown: Sequence[str] = (),
        placebo: str = "",
        pictures: int = 4,
        seed: int = 0,
        **others: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(title, **others)
        if (questions is None) == (mechanism is None):
            raise InputError(
                f"survey: got questions={questions} and mechanism={mechanism}; allowed: one of them"
            )
        if not isinstance(pictures, int) or not 1 <= pictures <= 12:
            raise InputError(f"survey.pictures: got {pictures}; allowed: 1 to 12")
        self.questions, self.controls, self.mechanism = questions, list(controls), mechanism
        self.rules, self.shown, self.placebo = dict(rules or {}), list(shown), placebo
        self.pictures, self.seed = pictures, seed

    def _report(self, config: DictConfig) -> None:
        from xai_exp.files import write_whole
        from xai_exp.studies.callbacks import refuse_nothing
        from xai_exp.studies.publish import write
        from xai_exp.survey.page import made

        refuse_nothing(len(self.skipped), sum(len(job.explainers) for job in self.jobs))
        if not any(self.left):
            sys.stdout.write("no survey: tracking=off keeps nothing to ask about\n")
            return
        if config.hydra.runtime.choices.get("size") == "tiny":
            self.pictures = 1
        page, key = made(self._asked())
        study = self.jobs[0].settings.study or "survey"
        name = page_name(str(study), config.hydra.runtime.choices.get("size"))
        folder = Path(self.folder)
        name = _unclobbering(folder, name, key.survey)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{name}.key.json", key.written())
        path = write(folder, name, page)
        sys.stdout.write(
            f"survey: {path} (send it to people)\nkey: {path.with_suffix('.key.json')} (keep it)\n"
            f"then: python -m xai_exp survey --key {path.with_suffix('.key.json')} ANSWERS...\n"
        )

    def _asked(self) -> Any:  # noqa: ANN401
        from xai_exp.survey.design import TRUTH
        from xai_exp.survey.page import Asked

        materials = self._materials()
        names = [TRUTH] if TRUTH in materials[0].heatmaps else []
        rows = [one.scores for mine in self.left for one in mine.values()]
        higher = {
            str(metric): bool(up)
            for table in rows
            for metric, up in zip(table["metric"], table["higher_is_better"], strict=True)
        }
        known = dict.fromkeys(one.mechanism for one in materials)
        return Asked(
            title=self.title,
            materials=materials,
            questions=self._questions(materials),
            controls=[*self.controls, *names],
            placebo=self.placebo,
            mechanisms={name: self.rules.get(name, name) for name in known}
            if self.mechanism
            else {},
            higher=higher,
            truths=[name for name in self.truths if name in higher],
            seed=self.seed,
        )

    def _questions(self, materials: "Sequence[Material]") -> "Sequence[Pair] | Sequence[Guess]":
        from xai_exp.survey import design

        common = [
            name for name in materials[0].heatmaps if all(name in m.heatmaps for m in materials)
        ]
        images = min(len(one.images) for one in materials)
        if self.questions is not None:
            places = [(n, i) for n in range(len(materials)) for i in range(images)]
            return design.pairs(common, places, self.questions, self.seed)
        kinds = {one.mechanism for one in materials}
        if len(kinds) < 2:
            raise InputError(
                f"survey: got networks of {len(kinds)} mechanism; allowed: two or more, such as "
                f"{self.mechanism} swept by -m"
            )
        shown = [self.placebo, *self.shown]
        if lacking := [name for name in shown if name not in common]:
            raise InputError(
                f"survey: got {', '.join(lacking)} to show beside pictures; allowed: what all "
                f"networks were explained by: {', '.join(common)}"
            )
        conditions = [design.NOTHING, *shown]
        return design.guesses(len(materials), conditions, images, self.pictures, self.seed)

    def _materials(self) -> "list[Material]":
        """Networks that are accurate enough, each once."""
        from omegaconf import OmegaConf

        found, seen = [], set()
        for config, job, mine in zip(self.composed, self.jobs, self.left, strict=True):
            if not mine or next(iter(mine.values())).accuracy < self.least_accuracy:
                continue
            model = next(iter(mine.values())).tags["model_key"]
            if model in seen:
                continue
            seen.add(model)
            name = OmegaConf.select(config, self.mechanism) if self.mechanism else ""
            found.append(material(job, mine, str(name)))
        if not found:
            best = max((one.accuracy for mine in self.left for one in mine.values()), default=0.0)
            raise InputError(
                f"survey: got no network with an accuracy of at least {self.least_accuracy:g} (the "
                f"best has {best:.3f}); allowed: one at least, or least_accuracy=SHARE, from which "
                "answers are asked about"
            )
        return found


def material(job: "Experiment", mine: "Mapping[str, Kept]", mechanism: str) -> "Material":
    """What one network's explanations give to a survey; with exact truth if it was asked for.

    Raises:
        InputError: where each image was explained for several classes, or has no picture.
    """
    from xai_exp.survey.design import TRUTH, Material, truth_map

    first = next(iter(mine.values()))
    arrays = {name: one.arrays() for name, one in mine.items()}
    beside = next(iter(arrays.values()))
    rows = first.scores.drop_duplicates("image").sort_values("image")
    if job.settings.target == "all" or "images" not in beside or len(rows) != len(beside["images"]):
        raise InputError("survey: got target=all, or no pictures; allowed: one class an image")
    heatmaps = {name: one["heatmaps"] for name, one in arrays.items()}
    if "worth/objects" in beside and "parts" in beside:
        heatmaps[TRUTH] = truth_map(beside["worth/objects"], beside["parts"])
    classes = job.dataset.classes
    return Material(
        mechanism=mechanism,
        images=beside["images"],
        says=[classes[int(target)] for target in rows["target"]],
        heatmaps=heatmaps,
        scores=_scores(mine, len(rows), known=TRUTH if TRUTH in heatmaps else None),
    )


def _scores(
    mine: "Mapping[str, Kept]", count: int, known: str | None
) -> "dict[str, dict[str, np.ndarray]]":
    """By metric and explainer, an image each; exact truth has the skill of exact truth."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, kept in mine.items():
        for metric, rows in kept.scores.groupby("metric", sort=False):
            scores = rows.sort_values("image")["score"].to_numpy(float)
            if len(scores) == count:
                found.setdefault(str(metric), {})[name] = scores
    if known and _SKILL in found:
        others = list(found[_SKILL].values())
        found[_SKILL][known] = 0 * others[0] + 1  # missing where equal shares are true as well
    return found


def _unclobbering(folder: Path, name: str, survey: str) -> str:
    """NAME, or NAME-ID where another survey is: people may be answering that one."""
    from xai_exp.survey.key import read

    before = folder / f"{name}.key.json"
    if not before.exists() or read(before).survey == survey:
        return name
    return f"{name}-{survey[:8]}"
