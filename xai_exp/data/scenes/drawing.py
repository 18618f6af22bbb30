"""Scenes ready to be drawn with many subsets of their parts: each part is rasterised once.

Three ways, by what parts do to an image. Their cost for a subset of k parts, over the pixels of an
image: layers k multiply-adds in one matrix product, patches one selection, stacked objects k steps
of painting over one another, which is the dearest.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.types import Cells, Images, Index, Layers, Parts, Players, Subsets


@dataclass(frozen=True, kw_only=True)
class Layered:
    """Disjoint parts: image = base + sum of the kept layers.

    Args:
        base: what no part draws.
        layers: what each part adds to it.
    """

    base: Images
    layers: Layers

    @property
    def empty(self) -> Images:
        """The images without any part."""
        return self.base

    def whole(self) -> Images:
        """The images with every part."""
        return self.base + self.layers.sum(1)

    def only(self, rows: Index, players: Players) -> "Layered":
        """The images at `rows`, with these of their parts."""
        return Layered(base=self.base[rows], layers=self.layers[rows[:, None], players])

    def __call__(self, rows: slice, subsets: Subsets) -> Images:
        """The images at `rows` with each subset of their parts."""
        layers, base = self.layers[rows], self.base[rows]
        added = subsets.to(layers.dtype) @ layers.flatten(2)
        return _joined(base[:, None] + added.view(len(base), -1, *base.shape[1:]))


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """Objects that hide those before them: each is painted over what is there already.

    Args:
        base: what no part draws.
        coverage: of each object as if it were alone, in 0..1.
        fills: what each object is filled with: (batch, part, channel, height or 1, width or 1).
    """

    base: Images
    coverage: Parts
    fills: Tensor

    @property
    def empty(self) -> Images:
        """The images without any part."""
        return self.base

    def whole(self) -> Images:
        """The images with every part."""
        everything = torch.ones(1, 1, self.coverage.shape[1], dtype=torch.bool)
        return self(slice(None), everything.to(self.base.device)).contiguous()

    def only(self, rows: Index, players: Players) -> "Stacked":
        """The images at `rows`, with these of their parts."""
        chosen = rows[:, None], players
        return Stacked(
            base=self.base[rows], coverage=self.coverage[chosen], fills=self.fills[chosen]
        )

    def __call__(self, rows: slice, subsets: Subsets) -> Images:
        """The images at `rows` with each subset of their parts."""
        base, coverage, fills = self.base[rows], self.coverage[rows], self.fills[rows]
        drawn = base[:, None].repeat(1, subsets.shape[1], 1, 1, 1)
        keep = subsets.to(drawn.dtype)[..., None, None, None]
        for part in range(coverage.shape[1]):
            shown = keep[:, :, part] * coverage[:, part, None, None]
            drawn = drawn.lerp(fills[:, part, None].expand_as(drawn), shown.expand_as(drawn))
        return _joined(drawn)


@dataclass(frozen=True, kw_only=True)
class Patched:
    """Cells of the image: a kept cell shows the whole image, another one the base.

    Args:
        base: the images without any content.
        shown: the images with all of it.
        places: the cell of each pixel; cells from `count` on are never shown.
        count: the number of cells that can be chosen.
    """

    base: Images
    shown: Images
    places: Cells
    count: int

    @property
    def empty(self) -> Images:
        """The images without any part."""
        return self.base

    def whole(self) -> Images:
        """The images with every part."""
        return torch.where((self.places < self.count)[:, None], self.shown, self.base)

    def only(self, rows: Index, players: Players) -> "Patched":
        """The images at `rows`, with these of their cells."""
        count = players.shape[1]
        renamed = torch.full((len(rows), self.count + 1), count, device=players.device)
        numbers = torch.arange(count, device=players.device).expand_as(players)
        renamed = renamed.scatter(1, players, numbers)
        places = self.places[rows].clamp(max=self.count)
        return Patched(
            base=self.base[rows],
            shown=self.shown[rows],
            places=renamed.gather(1, places.flatten(1)).view_as(places),
            count=count,
        )

    def __call__(self, rows: slice, subsets: Subsets) -> Images:
        """The images at `rows` with each subset of their cells."""
        base, shown, places = self.base[rows], self.shown[rows], self.places[rows]
        chosen = functional.pad(subsets.bool(), (0, 1)).expand(len(base), -1, -1)
        places = places.clamp(max=self.count).flatten(1)
        kept = chosen.gather(2, places[:, None].expand(-1, chosen.shape[1], -1))
        kept = kept.view(*kept.shape[:2], 1, *base.shape[2:])
        return _joined(torch.where(kept, shown[:, None], base[:, None]))


def _joined(images: Tensor) -> Images:
    return images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
