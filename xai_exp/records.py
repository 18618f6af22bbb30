"""What tracking keeps of each step: names, tags, parameters, numbers and pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from xai_exp.build import Experiment
from xai_exp.compute.chunks import in_pieces
from xai_exp.compute.sample import Chosen, Sample, first, in_order
from xai_exp.data.loading import files_of
from xai_exp.formats import exporting
from xai_exp.formats.card import Card
from xai_exp.insight import Finding
from xai_exp.scoring import Scored
from xai_exp.show import notes
from xai_exp.show import terminal as show
from xai_exp.statistics import evened, mean_interval
from xai_exp.tracking import Blocks, Data, Record
from xai_exp.training.store import TrainingResult
from xai_exp.types import Curves, Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training(experiment: Experiment, key: str, result: TrainingResult) -> Record:
    """Of a training."""
    names = experiment.names
    groups = ("dataset", "model", "trainer")
    return Record(
        key=key,
        name=notes.name(experiment),
        note=notes.training(experiment, result),
        texts={"config.yaml": lambda: experiment.text},
        data=data(experiment, "training"),
        tags=_tags(experiment),
        params={group: {"name": names[group], **experiment.described[group]} for group in groups}
        | {"seed": experiment.settings.seed},
        metrics={
            "accuracy": result.accuracy,
            "final_validation_accuracy": result.validation_accuracy,
            "epochs": result.epochs,
            "training_seconds": result.seconds,
            "parameters": result.parameters,
        },
        figures={"learning": partial(_learning, result.history)},
        seconds=result.seconds,
        exports={"network.onnx": partial(exporting.export, card=card(experiment.dataset))},
    )


def finding(group: str, name: str, found: Finding) -> Record:
    """Of an insight, to be kept with the run of its network."""
    figures = {file_name(name, one): draw for one, draw in found.figures.items()}
    numbers = {f"{group}/{name}/{one}": value for one, value in found.numbers.items()}
    return Record(key="", name=group, metrics=numbers, figures=figures)


def file_name(name: str, one: str) -> str:
    """What a file of an insight is called, so that those of two insights never meet."""
    return name if one == name else f"{name}-{one}"


def data(experiment: Experiment, context: str, images: int | None = None) -> Data:
    """The data of a run, as MLflow lists them."""
    made = experiment.dataset
    height, width = made.size
    # Only the test split is there in any case; to make the others costs seconds.
    profile = {
        "test": len(made.test),
        "height": height,
        "width": width,
        "classes": len(made.classes),
    }
    return Data(
        name=experiment.names["dataset"],
        digest=experiment.data_key,
        source=f"{type(made).__module__}.{type(made).__qualname__}",
        context=context,
        profile=profile if images is None else {**profile, "explained": images},
    )


def card(data: Dataset) -> Card:
    """What a file says of a network that was trained on these data: pictures in 0..1 go in."""
    height, width = data.size
    return Card(mean=(0.0,), std=(1.0,), size=(height, width), classes=tuple(data.classes))


def explanation(experiment: Experiment, name: str, sample: Chosen, scored: Scored) -> Record:
    """Of one explainer's work; its key, model and duration are the caller's to add."""
    names, settings = experiment.names, experiment.settings
    means = {
        str(metric): mean_interval(evened(rows), seed=settings.seed)._asdict()
        for metric, rows in scored.scores.groupby("metric", sort=False)
    }
    figures = {"gallery": partial(_gallery, experiment, sample, {name: scored}, overlay=True)}
    for metric, drawn in scored.curves.items():
        title = f"{name}: {metric}"
        figures[f"curves_{metric}"] = partial(_perturbation, drawn, title)
    return Record(
        key="",
        name=notes.name(experiment, name, sample.count),
        note=notes.explanation(experiment, name, scored.scores),
        texts={"config.yaml": lambda: experiment.text},
        data=data(experiment, "evaluation", sample.count),
        tags=_tags(experiment) | {"explainer": name},
        params={
            "dataset": {"name": names["dataset"], **experiment.described["dataset"]},
            "model": {"name": names["model"], **experiment.described["model"]},
            "explainer": {"name": name, **experiment.described["explainer"][name]},
            "imputer": {"name": names["imputer"], **experiment.described["imputer"]},
            "metric": experiment.described["metric"],
            "images": sample.count,
            "target": settings.target,
            "value": settings.value,
            **({"against": settings.against} if settings.value == "pair" else {}),
            "reference": settings.reference,
            "seed": settings.seed,
        },
        metrics={
            **means,
            **_medians(scored),
            "explain_seconds_per_image": scored.seconds_per_image,
        },
        figures=figures,
    )


def few(scored: Scored) -> Scored:
    """The same with as many heatmaps as a gallery shows: those of all explainers pile up."""
    from xai_exp.report.figures import gallery

    return replace(scored, heatmaps=scored.heatmaps[: gallery.ROWS].clone())


def arrays(sample: Chosen, scored: Scored) -> dict[str, np.ndarray | Blocks]:
    """The heatmaps, images, masks and every part (bytes, 255 for 1), curves as curve/METRIC/NAME.

    What the explainer says of its own work is there image by image as guard/NAME; exact values of
    parts as worth/DIVISION and the relevance on them, the rest last, as shown/DIVISION.
    """
    shown = {"images": _images, **({"masks": _masks, "parts": _parts} if _known(sample) else {})}
    found = {name: _pixels(sample, pixels) for name, pixels in shown.items()}
    drawn = {
        f"curve/{metric}/{name}": rows.double().nanmean(0).cpu().numpy()
        for metric, curves_ in scored.curves.items()
        for name, rows in curves_.items()
    }
    guards = {f"guard/{name}": rows.cpu().numpy() for name, rows in scored.diagnostics.items()}
    parts = {
        f"{kind}/{division}": values.cpu().numpy()
        for division, both in scored.parts.items()
        for kind, values in zip(("worth", "shown"), both, strict=True)
    }
    return {"heatmaps": scored.heatmaps.cpu().numpy(), **found, **drawn, **guards, **parts}


def _medians(scored: Scored) -> dict[str, float]:
    """The medians of what the explainer says of its own work: a mean is one bad image's."""
    return {f"guard/{name}": float(rows.median()) for name, rows in scored.diagnostics.items()}


def _pixels(sample: Chosen, pixels: Callable[[Sample], Tensor]) -> np.ndarray | Blocks:
    if isinstance(sample, Sample):
        return _bytes(pixels(sample))

    def made() -> Iterator[np.ndarray]:
        return (_bytes(pixels(piece)) for piece in in_order(sample))

    return Blocks(rows=len(sample.labels), made=made)


def _bytes(pixels: Tensor) -> np.ndarray:
    def made(some: Tensor) -> Tensor:
        return some.clamp(0, 1).mul(255).round().byte().cpu()

    return in_pieces(made, pixels).numpy()


def comparison(
    experiment: Experiment,
    sample: Chosen,
    done: Mapping[str, Scored],
    skipped: Sequence[str] = (),
    accuracy: float = float("nan"),
) -> Record:
    """Of several explainers side by side; its key and model are the caller's to add."""
    seed = experiment.settings.seed
    scores = {name: one.scores for name, one in done.items()}
    return Record(
        key="",
        name=f"{len(done)} explainers · {notes.name(experiment, images=sample.count)}",
        note=notes.comparison(experiment, scores, accuracy),
        metrics={
            f"{metric}/{explainer}": float(evened(rows).mean())
            for explainer, table in scores.items()
            for metric, rows in table.groupby("metric", sort=False)
        }
        | {"accuracy": accuracy},
        texts={"config.yaml": lambda: experiment.text},
        data=data(experiment, "evaluation", sample.count),
        tags=_tags(experiment),
        params={"explainers": ", ".join(done), "images": sample.count, "seed": seed},
        figures={
            "gallery": partial(
                _gallery, experiment, sample, dict(done), overlay=False, skipped=skipped
            )
        },
    )


def _learning(history: Sequence[Mapping[str, Any]]) -> "Figure":
    from xai_exp.report.figures import curves

    return curves.learning(history)


def _perturbation(drawn: Mapping[str, Curves], title: str) -> "Figure":
    from xai_exp.report.figures import curves

    return curves.perturbation(drawn, title=title)


def _gallery(
    experiment: Experiment,
    sample: Chosen,
    done: Mapping[str, Scored],
    *,
    overlay: bool,
    skipped: Sequence[str] = (),
) -> "Figure":
    from xai_exp.report.figures import gallery

    shown, one = first(sample, gallery.ROWS), next(iter(done.values()))
    count = len(shown.labels)
    marks = show.marks({name: scored.diagnostics for name, scored in done.items()})
    lines = {name: show.score_lines(scored.scores, count) for name, scored in done.items()}
    return gallery.gallery(
        shown.images,
        {name: scored.heatmaps for name, scored in done.items()},
        show.captions(
            shown.labels,
            one.predictions[:count],
            one.targets[:count],
            experiment.dataset.classes,
            files_of(experiment.dataset.test, shown.at),
        ),
        scores=lines,
        masks=_masks(shown) if _known(shown) else None,
        overlay=overlay,
        note="; ".join([*_skipped(skipped), *marks]),
    )


def _skipped(names: Sequence[str]) -> list[str]:
    return [f"skipped, as they can't explain this network: {', '.join(names)}"] if names else []


def _known(sample: Chosen) -> bool:
    return "parts" in sample.truths


def _images(sample: Sample) -> Tensor:
    return sample.images


def _parts(sample: Sample) -> Tensor:
    assert sample.parts is not None
    return sample.parts


def _masks(sample: Sample) -> Tensor:
    return _parts(sample).sum(1).clamp_(max=1)


def _tags(experiment: Experiment) -> dict[str, object]:
    names, settings = experiment.names, experiment.settings
    return {
        "dataset": names["dataset"],
        "model": names["model"],
        "seed": settings.seed,
        "study": settings.study,
        "trial": settings.trial,
    }
