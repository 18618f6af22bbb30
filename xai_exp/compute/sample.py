"""The test images that are explained: held in memory, or drawn whenever they are asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xai_exp.compute import machine, ops
from xai_exp.compute.chunks import PIECE, in_pieces
from xai_exp.compute.values import valued
from xai_exp.types import Dataset, Images, Index, Labels, Logits, Parts, Scenes, Split, Value

_HELD = 256  # images and masks that are kept, rather than drawn again for each explainer


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Images and their truth in memory.

    `numbers` are the images' own where a row is not an image of its own; `across` is what is kept
    of them for the next explainer.
    """

    images: Tensor
    labels: Tensor
    scenes: Scenes | None
    parts: Parts | None
    numbers: Tensor | None = None
    across: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def some(self, rows: Tensor) -> "Sample":
        """These rows only; the same ones are the same sample, so that what it keeps is found."""
        key = ("rows", tuple(rows.tolist()))
        if key not in self.across:
            self.across[key] = self._at(rows)
        return self.across[key]

    def repeated(self, times: int) -> "Sample":
        """Every image several times in a row, still with its number."""
        key = ("times", times)
        if key not in self.across:
            rows = torch.arange(len(self.images), device=self.images.device)
            self.across[key] = self._at(rows.repeat_interleave(times))
        return self.across[key]

    def _at(self, rows: Tensor) -> "Sample":
        start, end = int(rows[0]), int(rows[-1]) + 1
        follow = torch.arange(start, end, device=rows.device)
        # Neighbours are a view: the masks of all images would otherwise be there twice.
        pick = slice(start, end) if torch.equal(rows, follow) else rows
        return Sample(
            images=self.images[pick],
            labels=self.labels[pick],
            scenes=None if self.scenes is None else self.scenes[rows],
            parts=None if self.parts is None else self.parts[pick],
            numbers=self.at[pick],
        )

    @property
    def count(self) -> int:
        """The number of different images."""
        return len(self.at.unique())

    @property
    def at(self) -> Tensor:
        """The number of each row's image in the test split."""
        rows = torch.arange(len(self.images), device=self.images.device)
        return rows if self.numbers is None else self.numbers

    def answering(self, network: nn.Module, value: Value, against: int) -> nn.Module:
        """The network whose outputs are the asked value, made once."""
        key = ("answering", id(network), value, against)
        if key not in self.across:
            self.across[key] = (valued(network, value, self.images, against), network)
        return self.across[key][0]

    @property
    def truths(self) -> frozenset[str]:
        """What of the truth is known: what a metric can need."""
        known = {"scenes": self.scenes, "parts": self.parts}
        return frozenset(name for name, value in known.items() if value is not None)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Images of scenes, of which only the scenes are held: a thousand take no more than a few.

    They are drawn in the same pieces whichever are asked for, so the same bit for bit.

    Args:
        split: that they are of.
        labels: of each row.
        at: the number of each row's image in the split.
        whole: how many of the split's images the sample has.
    """

    split: Split
    labels: Labels
    at: Index
    whole: int
    across: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def images(self) -> Images:
        """All of them, drawn anew."""
        return self._picked(self.split.images, self.at)

    @property
    def parts(self) -> Parts | None:
        """The masks of all, drawn anew."""
        return self._masks(self.at)

    @property
    def scenes(self) -> Scenes | None:
        """The scenes of all."""
        return self.split.scenes(self.at)

    @property
    def count(self) -> int:
        """The number of different images."""
        return len(self.at.unique())

    @property
    def truths(self) -> frozenset[str]:
        """What of the truth is known: what a metric can need."""
        return self.some(torch.zeros_like(self.at[:1])).truths

    def some(self, rows: Index) -> Sample:
        """These rows, drawn; what was found of the same ones is found again."""
        numbers = self.at[rows]
        key = ("rows", tuple(rows.tolist()))
        if key not in self.across:
            self.across[key] = (self.split.scenes(numbers), {})
        scenes, kept = self.across[key]
        return Sample(
            images=self._picked(self.split.images, numbers),
            labels=self.labels[rows],
            scenes=scenes,
            parts=self._masks(numbers),
            numbers=numbers,
            across=kept,
        )

    def repeated(self, times: int) -> "Drawn":
        """Every image several times in a row, still with its number."""
        key = ("times", times)
        if key not in self.across:
            labels, at = (one.repeat_interleave(times) for one in (self.labels, self.at))
            self.across[key] = Drawn(split=self.split, labels=labels, at=at, whole=self.whole)
        return self.across[key]

    def _masks(self, numbers: Index) -> Parts | None:
        if self.split.parts(self.at[:1]) is None:
            return None
        return self._picked(self._parts, numbers)

    def _parts(self, numbers: Index) -> Parts:
        found = self.split.parts(numbers)
        assert found is not None
        return found

    def _picked(self, draw: Callable[[Index], Tensor], numbers: Index) -> Tensor:
        """What is drawn of these images, each in its piece of the split."""
        found: Tensor | None = None
        for piece in (numbers // PIECE).unique().tolist():
            start, end = piece * PIECE, min((piece + 1) * PIECE, self.whole)
            drawn = draw(torch.arange(start, end, device=numbers.device))
            mine = numbers // PIECE == piece
            if bool(mine.all()) and torch.equal(
                numbers, torch.arange(start, end, device=numbers.device)
            ):
                return drawn
            if found is None:
                found = drawn.new_empty((len(numbers), *drawn.shape[1:]))
            found[mine] = drawn[numbers[mine] - start]
        assert found is not None
        return found


Chosen = Sample | Drawn


def sample(data: Dataset, count: int, device: torch.device) -> Chosen:
    """The first `count` images of the test split (all of them if there are fewer)."""
    index = torch.arange(min(count, len(data.test)), device=device)
    labels = data.test.labels[index.to(data.test.labels.device)].to(device)
    scenes, first = data.test.scenes(index), data.test.parts(index[:1])
    if scenes is not None and len(index) > _HELD:
        return Drawn(split=data.test, labels=labels, at=index, whole=len(index))

    def parts(rows: Tensor) -> Parts:
        found = data.test.parts(rows)
        assert found is not None
        return found

    return Sample(
        images=in_pieces(data.test.images, index),
        labels=labels,
        scenes=scenes.to(device) if scenes is not None else None,
        parts=None if first is None else in_pieces(parts, index),
    )


def in_order(chosen: Chosen, size: int = PIECE) -> Iterator[Sample]:
    """The rows, no more than `size` of them in memory at a time unless all are there anyway."""
    if isinstance(chosen, Sample):
        yield chosen
        return
    for rows in torch.arange(len(chosen.labels), device=chosen.labels.device).split(size):
        yield chosen.some(rows)
        machine.give_back()


def first(chosen: Chosen, count: int) -> Sample:
    """The first rows."""
    rows = torch.arange(min(count, len(chosen.labels)), device=chosen.labels.device)
    return chosen.some(rows)


def logits(network: nn.Module, chosen: Chosen) -> Logits:
    """What a network says of every row, in chunks of the same rows whatever is in memory."""
    chunk = ops.chunk_size(first(chosen, 1).images)
    pieces = in_order(chosen, max(chunk, PIECE - PIECE % chunk))
    return torch.cat([ops.logits(network, one.images) for one in pieces])
