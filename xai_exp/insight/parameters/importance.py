"""How much the network's answers hang on each parameter, and on each block of pixels."""

from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.inspection import permutation_importance
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.config import Count, Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.insight.parameters.rendered import RenderedNetwork, rendered
from xai_exp.report.figures import ink
from xai_exp.types import Images, Rows

_DARK = 0.6  # of the largest value: from there on words are white


@configured
class PermutationImportance:
    r"""Permutation importance of scene parameters (Breiman 2001; Fisher et al. 2019).

    $\mathrm{score}(X) - \overline{\mathrm{score}(X^{\pi_j})}$, $X^{\pi_j}$ being the scenes drawn
    again with parameter j of another scene, the score the share of answers that agree with `with`.
    In -1..1, 0 for a parameter that is not used; HIGHER means that more answers hang on it. Two
    parameters of which one follows from others (contrast from greys) share what they are worth.

    Args:
        images: scenes, the first of the test split.
        repeats: permutations of each parameter.
        agree_with: predicted (what the network says of the scenes as they are: what it uses) or
            label (what is true: the usual one, what its accuracy needs).
    """

    shows: ClassVar[str] = "how many answers change when a parameter is shuffled"
    images: Annotated[int, Range(2)] = 200
    repeats: Count = 3
    agree_with: Literal["predicted", "label"] = "predicted"

    def __call__(self, subject: Subject) -> Finding:
        """The importance of every parameter, the most important first."""
        model = rendered(subject, self.images)
        table = model.space.table()
        wanted = self._wanted(subject, model, table)
        found = permutation_importance(
            model,
            table,
            wanted,
            scoring=agreement,
            n_repeats=self.repeats,
            random_state=subject.seed,
        )
        rows = pd.DataFrame(
            {
                "parameter": model.space.names,
                "importance": found["importances_mean"],
                "deviation": found["importances_std"],
            }
        ).sort_values("importance", ascending=False, kind="stable", ignore_index=True)
        numbers = dict(zip(rows["parameter"], rows["importance"], strict=True))
        first = rows.iloc[0]
        line = f"most important: {first['parameter']}, {100 * first['importance']:.0f} % of answers"
        return Finding(
            figures={"permutation_importance": partial(_bars, rows, self.agree_with)},
            tables={"permutation_importance": rows},
            numbers={name.replace(" ", "_"): float(value) for name, value in numbers.items()},
            lines=(line,),
        )

    def _wanted(self, subject: Subject, model: RenderedNetwork, table: np.ndarray) -> np.ndarray:
        if self.agree_with == "predicted":
            return model.predict(table).argmax(1)
        return subject.labels(self.images).cpu().numpy()


def agreement(model: RenderedNetwork, table: np.ndarray, wanted: np.ndarray) -> float:
    """The share of answers that are as wanted."""
    return float((model.predict(table).argmax(1) == wanted).mean())


def _bars(rows: pd.DataFrame, agree_with: str) -> Figure:
    figure, axes = ink.canvas(0.9 + 0.24 * len(rows))
    places = np.arange(len(rows))
    axes.barh(places, rows["importance"], xerr=rows["deviation"], color=ink.BLUE, height=0.6)
    axes.set_yticks(places, rows["parameter"])
    axes.invert_yaxis()
    what = "answers that change" if agree_with == "predicted" else "accuracy lost"
    axes.set_xlabel(f"{what} when it is shuffled")
    axes.xaxis.set_major_formatter("{x:.0%}")
    ink.plain(axes, grid="x")
    return figure


@configured
class BlockPermutation:
    r"""Permutation importance of blocks of pixels, of any images (Breiman 2001, on blocks).

    $\overline{p_t(x)} - \overline{p_t(x^{\pi_b})}$: block b of every image is exchanged for
    that of another one; $p_t$ is the probability of the class that was predicted. In -1..1, 0 for
    a block that is not looked at; HIGHER means that the answers hang on it. It is about all images
    together: of objects that lie anywhere it shows where they lie, not what they are.

    Args:
        images: the first of the test split.
        blocks: of an image's side.
        repeats: permutations of each block.
    """

    shows: ClassVar[str] = "what the answers lose when a block is exchanged between images"
    images: Annotated[int, Range(2)] = 64
    blocks: Annotated[int, Range(1, 64)] = 8
    repeats: Count = 1

    def __call__(self, subject: Subject) -> Finding:
        """The importance of every block."""
        images = subject.images(self.images)
        chances = subject.logits(self.images).softmax(1)
        top = chances.argmax(1)
        before = ops.pick(chances, top).mean()
        source = torch.Generator().manual_seed(subject.seed)
        rows, columns = (self._edges(side) for side in images.shape[2:])
        found = torch.zeros(len(rows) - 1, len(columns) - 1)
        for row, column in np.ndindex(*found.shape):
            place = (slice(rows[row], rows[row + 1]), slice(columns[column], columns[column + 1]))
            after = self._after(subject, images, top, place, source)
            found[row, column] = float(before - after)
        numbers = {"largest": float(found.max()), "mean": float(found.mean())}
        return Finding(
            figures={"block_permutation": partial(_map, found, images.mean((0, 1)).cpu())},
            tables={"block_permutation": pd.DataFrame(found.numpy())},
            numbers=numbers,
            lines=(f"a block's exchange costs {100 * numbers['largest']:.1f} points at most",),
        )

    def _edges(self, side: int) -> list[int]:
        steps = min(self.blocks, side)
        return [round(side * one / steps) for one in range(steps + 1)]

    def _after(
        self,
        subject: Subject,
        images: Images,
        top: Tensor,
        place: tuple[slice, slice],
        source: torch.Generator,
    ) -> Tensor:
        scores: list[Tensor] = []
        for _ in range(self.repeats):
            order = torch.randperm(len(images), generator=source).to(images.device)
            changed = images.clone()
            changed[:, :, place[0], place[1]] = images[order][:, :, place[0], place[1]]
            with ops.evaluating(subject.network):
                said = ops.logits(subject.network, changed).softmax(1)
            scores.append(ops.pick(said, top).mean())
        return torch.stack(scores).mean()


def _map(found: Rows, mean: Tensor) -> Figure:
    figure = Figure(figsize=(ink.WIDE, 2.3), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(mean.numpy(), cmap="gray", vmin=0, vmax=1)
    left.set_title("mean image", fontsize=ink.SIZE)
    far = max(float(found.abs().max()), 1e-9)
    drawn = right.imshow(found.numpy(), cmap="RdBu_r", vmin=-far, vmax=far)
    right.set_title("probability lost", fontsize=ink.SIZE)
    for axes in (left, right):
        axes.set_axis_off()
    figure.colorbar(drawn, ax=right, shrink=0.8).ax.tick_params(labelsize=ink.SIZE)
    return figure
