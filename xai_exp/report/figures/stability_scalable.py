"""The figures of the stability page, a small one for each explainer: a phone stacks them."""

import base64
import html
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from xai_exp.report.figures import stability as plots
from xai_exp.report.figures.svg import svg
from xai_exp.report.tables import words

_PALETTE = [round(255 * part) for shade in colormaps["RdBu_r"](range(256)) for part in shade[:3]]


def figures(maps: Any, found: Any) -> dict[str, str]:  # noqa: ANN401
    """HTML by name, of what `xai_exp.stability.tables` read and found."""
    names = list(maps.models["architecture"])
    squares = found.matrices.items()
    drawn = {
        "similarity": _each((name, plots.matrix(square, names)) for name, square in squares),
        "accuracy": _one(
            "Likeness against accuracy",
            plots.against_accuracy(found.likeness, maps.models["accuracy"].to_numpy()),
        ),
        "side_by_side": _side_by_side(maps),
    }
    if len(found.variance):
        drawn["variance"] = _one("Share explained by each choice", plots.variance(found.variance))
    if len(found.tracking):
        drawn["tracking"] = _each(plots.clouds(maps, found.tracking).items())
    return drawn


def _one(alt: str, figure: Any) -> str:  # noqa: ANN401
    return f"<figure>{svg(figure, alt)}</figure>"


def _each(drawn: Iterable[tuple[str, Any]]) -> str:
    """A figure an explainer, with its name above."""
    return "\n".join(
        f"<figure><figcaption>{html.escape(words(name))}</figcaption>"
        f"{svg(figure, words(name))}</figure>"
        for name, figure in drawn
    )


def _side_by_side(maps: Any, image: int = 0) -> str:  # noqa: ANN401
    """One image as explained by the networks, which stand in the same order for every explainer."""
    best = plots.most_accurate(maps.models)
    captions = plots.captions(maps.models, best)
    first = maps.images[image].mean(0)
    shown = _thumbnail(Image.fromarray(first.round().astype(np.uint8)), "image")
    found = []
    for name, heatmaps in maps.heatmaps.items():
        cells = [
            _thumbnail(_painted(heatmaps[model, image]), caption)
            for model, caption in zip(best, captions, strict=True)
        ]
        found.append(f'<h3>{html.escape(words(name))}</h3><div class="thumbs">')
        found += [shown, *cells, "</div>"]
    return "\n".join(found)


def _painted(heatmap: np.ndarray) -> Image.Image:
    """Red for the class, blue against it, on a scale of its own; white is zero."""
    largest = float(np.abs(heatmap).max()) or 1.0
    made = Image.fromarray((127.5 * (1 + heatmap / largest)).round().astype(np.uint8))
    made.putpalette(_PALETTE)
    return made


def _thumbnail(picture: Image.Image, caption: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    source = base64.b64encode(buffer.getvalue()).decode()
    alt, text = (caption.replace("\n", mark) for mark in (", ", "<br>"))
    return (
        f'<figure><img alt="{alt}" src="data:image/png;base64,{source}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
