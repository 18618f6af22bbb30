"""Heatmaps of several explainers for the same images, and what it takes to show or score them."""

import base64
import html
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from xai_exp.compute.values import Question
from xai_exp.config import InputError
from xai_exp.errors import unknown
from xai_exp.files import whole, write_whole
from xai_exp.report.figures.gallery import ROWS, gallery
from xai_exp.scoring import Sample
from xai_exp.types import Explainer

_SUFFIXES = (".png", ".npz")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Heatmaps(Mapping[str, Tensor]):
    """A heatmap an image for each explainer: `heatmaps["lrp"]` is (batch, height, width).

    Heatmaps are signed (positive speaks for the target), in units of the target's logit, summed
    over channels, in the pictures' own pixels, and on the CPU. A notebook shows the set by itself.

    Args:
        maps: heatmaps by explainer.
        explainers: what made them, bound to what it needed.
        network: as it was asked: with what stands before and behind the network that was given.
        sample: images (batch, channel, height, width) in 0..1, targets as labels, and the truth
            (masks, scenes) where it is known.
        question: which value of the targets was explained.
        predictions: the class that the network says, for each image.
        skipped: why other explainers could not be used.
        note: what is to be known of the network's answers.
        classes: the names of the classes, if they are known.
        files: the names of the images' files, if they come from files.
    """

    maps: Mapping[str, Tensor]
    explainers: Mapping[str, Explainer]
    network: nn.Module = field(repr=False)
    question: Question = field(repr=False)
    sample: Sample
    predictions: Tensor
    skipped: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    @property
    def images(self) -> Tensor:
        """The images, in 0..1."""
        return self.sample.images

    @property
    def targets(self) -> Tensor:
        """The class that each image's heatmaps explain."""
        return self.sample.labels

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.maps:
            why = f" ({name} was skipped: {self.skipped[name]})" if name in self.skipped else ""
            raise InputError(unknown("heatmaps", str(name), list(self.maps)) + why)
        return self.maps[name]

    def __contains__(self, name: object) -> bool:
        return name in self.maps

    def __iter__(self) -> Iterator[str]:
        return iter(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        count, _, height, width = self.images.shape
        words = f"Heatmaps of {count} images ({height}x{width}): {', '.join(self.maps)}"
        skipped = [f"; skipped: {name} ({why})" for name, why in self.skipped.items()]
        return "".join([words, *skipped, f"; {self.note}" if self.note else ""])

    def figure(self) -> Figure:
        """A row for each of the first images: the image, its mask if known, every heatmap.

        Red speaks for the target, blue against it; each heatmap has a scale of its own.
        """
        parts = self.sample.parts
        shown = f"the first of {len(self.images)} images" if len(self.images) > ROWS else ""
        skipped = f"skipped: {', '.join(self.skipped)}" if self.skipped else ""
        return gallery(
            self.images,
            self.maps,
            self._captions(),
            masks=None if parts is None else parts.sum(1).clamp(max=1),
            overlay=len(self.maps) == 1,
            note="; ".join(line for line in (shown, skipped, self.note) if line),
        )

    def _captions(self) -> list[str]:
        """File, target and prediction of each image."""
        names = self.files or ("",) * len(self.images)
        return [
            "\n".join(filter(None, (name, f"target {self.named(target)}", f"predicted {said}")))
            for name, target, said in zip(
                names,
                self.targets.tolist(),
                map(self.named, self.predictions.tolist()),
                strict=True,
            )
        ]

    def named(self, number: int) -> str:
        """A class by its name, or by its number where that is all that is known."""
        return self.classes[number] if number < len(self.classes) else str(number)

    def show(self) -> None:
        """Show the figure in a notebook; elsewhere print the path of a PNG file with it."""
        if "IPython" in sys.modules:
            python = import_module("IPython")
            if python.get_ipython() is not None:
                python.display.display(self)
                return
        path = Path(tempfile.mkdtemp(prefix="heatmaps-")) / "heatmaps.png"
        sys.stdout.write(f"{self.save(path)}\n")

    def save(self, path: str | Path) -> Path:
        """Save as a picture (.png: the figure) or as arrays (.npz), by the path's suffix.

        The npz holds `heatmaps/NAME` for each explainer, `images`, `targets`, `predictions`,
        `masks` and `classes` where they are known, and `explainers`, their fields as JSON text.

        Returns:
            The path, absolute.

        Raises:
            InputError: for another suffix, or a folder that there is not.
        """
        place = Path(path).expanduser().absolute()
        if place.suffix.lower() not in _SUFFIXES or not place.parent.is_dir():
            raise InputError(
                f"save: got {str(path)!r}; allowed: a path in a folder that exists, ending in "
                f"{' or '.join(_SUFFIXES)}"
            )
        if place.suffix.lower() == ".png":
            write_whole(place, self._png())
        else:
            arrays: dict[str, Any] = self._arrays()
            with whole(place) as part, part.open("wb") as file:
                np.savez_compressed(file, **arrays)
        return place

    def _arrays(self) -> dict[str, np.ndarray]:
        told = {name: _plainly(explainer) for name, explainer in self.explainers.items()}
        arrays = {
            "images": _array(self.images),
            "targets": _array(self.targets),
            "predictions": _array(self.predictions),
            "explainers": np.array(json.dumps(told)),
        }
        if self.sample.parts is not None:
            arrays["masks"] = _array(self.sample.parts)
        if self.classes:
            arrays["classes"] = np.array(self.classes)
        return arrays | {f"heatmaps/{name}": _array(one) for name, one in self.maps.items()}

    def _png(self) -> bytes:
        drawn = io.BytesIO()
        self.figure().savefig(drawn, format="png")
        return drawn.getvalue()

    def _repr_html_(self) -> str:
        """The figure and what was skipped, for notebooks."""
        code = base64.b64encode(self._png()).decode()
        image = f'<img src="data:image/png;base64,{code}" style="max-width:100%" alt='
        lines = "".join(
            f"<p>{html.escape(name)} is skipped: {html.escape(why)}</p>"
            for name, why in self.skipped.items()
        )
        title = html.escape(repr(self))
        return f'{image}"{title}">{lines}'

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.maps)


def _plainly(explainer: object) -> dict[str, object]:
    """An explainer's class and fields; of tensors and the like only what they are."""
    inner = getattr(explainer, "explainer", None)
    if is_dataclass(inner):  # bound to references or scenes
        return _plainly(inner)
    found: dict[str, object] = {"class": type(explainer).__name__}
    for one in fields(explainer) if is_dataclass(explainer) else ():
        value = getattr(explainer, one.name)
        plain = isinstance(value, int | float | str | tuple | None)
        found[one.name] = value if plain else type(value).__name__
    return found


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
