"""The datasheet of an exported dataset: the questions of Gebru et al. 2021, from what is there."""

import json
from typing import Any

from xai_exp.export.told import Counted, Told

_PAGE = """# {name}

{count} pictures, {width}x{height}, {colours}, {classes} classes; written by `{command}`.

```python
from torchvision.datasets import ImageFolder
train = ImageFolder("images/train")  # or: datasets.load_dataset("imagefolder", data_dir="images")
```

| file | what it holds |
| --- | --- |
| images/SPLIT/CLASS/NUMBER.png | a picture, 8 bits a channel; at most {error:.2g} of 0..1 off |
{masks}{parameters}| index.csv | a row a picture: split, number, file, mask, label, class |
| dataset.json | the configuration, from which the same bytes are made again |
| croissant.json | metadata for machines (Croissant 1.0) |
| SHA256SUMS | of every file |

## Motivation

To find out which explanations of image classifiers can be trusted: {why}

## Composition

{table}

{missing} The splits are disjoint and drawn from the configuration's seed; models of all seeds see
the same pictures. Nothing refers to people{people}.

## How it was made

{made}

## Uses

Training classifiers and grading their heatmaps. A network that is right here has learnt these
pictures, and nothing follows for photographs. Labels and masks are as exact as the drawing; the
masks say where parts are, and not what they are worth to a network.

## Distribution and maintenance

Whoever has the configuration has the data: it is made again by the command above, with the same
version of xai_exp. Cite xai_exp as its CITATION.cff says.

## Configuration

```json
{settings}
```
"""


_COMPLETED = (
    " Networks are trained here on images of which half lack random parts; the files show them "
    "whole."
)


def page(told: Told, counted: Counted) -> str:
    """The datasheet in Markdown."""
    height, width = counted.size
    rendered = bool(counted.parameters)
    counts: Any = counted.index.groupby(["class", "split"], sort=False).size().unstack(fill_value=0)
    splits = list(dict.fromkeys(counted.index["split"]))
    head = f"| class | {' | '.join(splits)} |\n|{' --- |' * (len(splits) + 1)}\n"
    lines = [
        f"| {name} | {' | '.join(str(counts[s].get(name, 0)) for s in splits)} |"
        for name in counted.classes
    ]
    return _PAGE.format(
        name=told.name,
        count=len(counted.index),
        width=width,
        height=height,
        colours="grey" if counted.channels == 1 else "RGB",
        classes=len(counted.classes),
        command=told.command,
        error=counted.error,
        masks=_masks(counted),
        parameters=_parameters(counted),
        why="what decides the class is known exactly." if rendered else "on pictures of one's own.",
        table=head + "\n".join(lines),
        missing="No label or part is missing." if counted.parts else "There are no masks.",
        people="" if rendered else " as far as the configuration says: who uses it looks",
        made=_made(rendered) + _COMPLETED * counted.completed,
        settings=json.dumps(told.settings, indent=2, default=str),
    )


def _masks(counted: Counted) -> str:
    if not counted.parts:
        return ""
    several = f"one below the other, each {counted.size[0]} rows: {'; '.join(counted.parts)}"
    return f"| masks/SPLIT/CLASS/NUMBER.png | the coverage of every part in 255ths, {several} |\n"


def _parameters(counted: Counted) -> str:
    if not counted.parameters:
        return ""
    names = ", ".join(f"`{name}`" for name in counted.parameters)
    return f"| parameters/SPLIT.npz | what every picture is drawn from, unrounded: {names} |\n"


def _made(rendered: bool) -> str:
    if rendered:
        return (
            "Drawn by a program from random parameters, with exact area coverage at the borders; "
            "no picture was taken, bought or labelled by people."
        )
    return "Read from the files that the configuration names, as `python -m xai_exp check` tells."
