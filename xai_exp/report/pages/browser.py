"""What the image browser of a page shows: images, exact masks and heatmaps, to be compared."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from xai_exp.report import tables
from xai_exp.report.figures import gallery

_FEWEST_IMAGES, _MOST_MODELS, _MOST_MAPS = 12, 3, 24
_TILES, _TILE, _GAP = 4, 64, 4  # heatmaps of a thumbnail; its pixels
_FOR, _AGAINST = (165, 15, 34), (11, 74, 143)
URI = "data:image/png;base64,"
_ROOM = 6_000_000  # bytes of heatmaps for which a page has more images than the fewest


@dataclass(frozen=True, kw_only=True)
class Maps:
    """What the image browser shows of one setting.

    Attributes:
        setting: its name.
        images: (image, height, width) grey levels, or (image, height, width, 3) colours, in bytes.
        masks: (image, height, width) coverage by objects in bytes, if known.
        captions: a line an image.
        channels: of the images.
        models: for a model's name, its heatmaps (image, height, width) by explainer.
    """

    setting: str
    images: np.ndarray
    masks: np.ndarray | None
    captions: Sequence[str]
    models: Mapping[str, Mapping[str, np.ndarray]]
    channels: int = 1


def data(maps: Sequence[Maps]) -> str:
    """What the page's script reads, as JSON; nothing without maps."""
    if not maps:
        return ""
    many = _images(maps)
    found = [
        {
            "name": one.setting,
            "size": list(one.images.shape[1:3]),
            "colours": one.images.shape[3] if one.images.ndim == 4 else 1,
            "images": _encoded(one.images[:many]),
            "masks": _encoded(one.masks[:many]) if one.masks is not None else None,
            "captions": list(one.captions[:many]),
            "models": [
                {
                    "name": name,
                    "heatmaps": {
                        tables.words(method): _encoded(signed(drawn[:many]))
                        for method, drawn in list(heatmaps.items())[:_MOST_MAPS]
                    },
                }
                for name, heatmaps in list(one.models.items())[:_MOST_MODELS]
            ],
        }
        for one in maps
    ]
    return json.dumps(found).replace("<", "\\u003c")  # nothing in it is a tag to a browser


def _images(maps: Sequence[Maps]) -> int:
    """How many images of each setting the page holds: all, where there is room for them."""
    each = sum(
        int(np.prod(drawn.shape[1:]))
        for one in maps
        for heatmaps in list(one.models.values())[:_MOST_MODELS]
        for drawn in list(heatmaps.values())[:_MOST_MAPS]
    )
    return max(_FEWEST_IMAGES, _ROOM // max(1, each))


def signed(heatmaps: np.ndarray) -> np.ndarray:
    """Each map in -127..127, its 99.5 % quantile at the end of the scale."""
    ends = np.array([gallery.limit(torch.from_numpy(one)) for one in heatmaps])[:, None, None]
    return (np.clip(np.nan_to_num(heatmaps / ends), -1, 1) * 127).round().astype(np.int8)


def thumbnail(maps: Sequence[Maps]) -> str:
    """The first image beside its first heatmaps as a small PNG's data URI; nothing without maps."""
    if not maps or not len(maps[0].images) or not maps[0].models:
        return ""
    first = maps[0].images[0]
    drawn = list(next(iter(maps[0].models.values())).values())[:_TILES]
    tiles = [np.stack([first] * 3, -1) if first.ndim == 2 else first]
    tiles += [_painted(signed(one[:1])[0] / 127) for one in drawn]
    strip = Image.new("RGB", (len(tiles) * (_TILE + _GAP) - _GAP, _TILE), "white")
    for place, tile in enumerate(tiles):
        small = Image.fromarray(tile.astype(np.uint8)).resize((_TILE, _TILE), Image.Resampling.BOX)
        strip.paste(small, (place * (_TILE + _GAP), 0))
    with io.BytesIO() as file:
        strip.save(file, "PNG", optimize=True)
        return URI + base64.b64encode(file.getvalue()).decode()


def _painted(values: np.ndarray) -> np.ndarray:
    """Colours (height, width, 3) of values in -1..1, as the page's script has them."""
    ends = np.where((values < 0)[..., None], _AGAINST, _FOR)
    return 255 + abs(values)[..., None] * (ends - 255.0)


def _encoded(block: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(block).tobytes()).decode()


def pooling(maps: Sequence[Maps]) -> str:
    """Whether it can matter how channels are pooled to one heatmap."""
    if not maps or any(one.channels > 1 for one in maps):
        return ""
    return (
        "How channels are pooled to one heatmap is no setting here: all images are grey, so that "
        "a heatmap has one channel to begin with."
    )
