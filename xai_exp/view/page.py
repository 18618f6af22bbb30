"""One self-contained page of stored explanations: nothing is loaded from elsewhere."""

import base64
import html
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from xai_exp.config import InputError
from xai_exp.report import tables
from xai_exp.report.figures import gallery
from xai_exp.report.pages import browser, document
from xai_exp.view.stored import Explained, Network, Setting

MOST = 200_000_000  # bytes of a page that browsers still open


def made(settings: Sequence[Setting], title: str, images: int) -> str:
    """The page as text.

    Args:
        settings: what to show.
        title: its heading.
        images: how many images of each setting, the first ones.

    Raises:
        InputError: when the page would be too large for a browser.
    """
    if not isinstance(images, int) or images < 1:
        raise InputError(f"--images: got {images}; allowed: 1 or more")
    text = json.dumps([_setting(one, images) for one in settings]).replace("<", "\\u003c")
    if len(text) > MOST:
        raise InputError(
            f"view: got {len(text) // 10**6} MB of heatmaps, too many for a browser; allowed: one "
            "study instead of all, or fewer --images"
        )
    explainers = {
        name for one in settings for net in one.networks.values() for name in net.explained
    }
    networks = sum(len(one.networks) for one in settings)
    counts = {"setting": len(settings), "network": networks, "explainer": len(explainers)}
    summary = ", ".join(f"{n} {name}{'s' * (n != 1)}" for name, n in counts.items()) + "."
    return document.filled("view.html", title=html.escape(title), summary=summary, data=text)


def _setting(one: Setting, images: int) -> dict[str, Any]:
    seen = one.images[:images]
    pictures = (
        seen.mean(1).astype(np.uint8) if seen.shape[1] < 3 else np.moveaxis(seen[:, :3], 1, -1)
    )
    return {
        "name": one.name,
        "size": list(one.images.shape[2:]),
        "colours": 1 if seen.shape[1] < 3 else 3,
        "count": len(seen),
        "images": _encoded(pictures),
        "files": list(one.files[:images]),
        "parts": None if one.parts is None else _encoded(one.parts[:images]),
        "networks": [_network(each, images) for each in one.networks.values()],
    }


def _network(one: Network, images: int) -> dict[str, Any]:
    return {
        "name": one.name,
        "accuracy": None if np.isnan(one.accuracy) else one.accuracy,
        "told": list(one.told[:images]),
        "worth": _numbers(one.worth, images),
        "explained": [
            {"name": tables.words(name), **_explained(each, images)}
            for name, each in one.explained.items()
        ],
    }


def _explained(one: Explained, images: int) -> dict[str, Any]:
    maps = one.heatmaps[:images]
    return {
        "maps": _encoded(browser.signed(maps)),
        "ends": [float(f"{gallery.limit(torch.from_numpy(each)):.4g}") for each in maps],
        "shown": _numbers(one.shown, images),
        "scores": {tables.words(name): _numbers(row, images) for name, row in one.scores.items()},
        "curves": {
            tables.words(name): [_numbers(x, len(x)), _numbers(y, len(y))]
            for name, (x, y) in one.curves.items()
        },
    }


def _numbers(values: np.ndarray | None, count: int) -> list[Any] | None:
    """As JSON has them, four digits each; None is missing."""
    if values is None:
        return None
    if values.ndim > 1:
        return [_numbers(row, len(row)) for row in values[:count]]
    return [float(f"{one:.4g}") if np.isfinite(one) else None for one in values[:count]]


def _encoded(block: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(block).tobytes()).decode()
