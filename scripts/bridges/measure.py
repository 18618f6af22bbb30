"""One library's bridges beside our methods of the same name: `measure.py LIBRARY` prints JSON.

It runs in the library's own environment. *apart* is the largest difference as a share of the
largest value over six images; heatmaps that a library stretches are laid over ours by a line first.
"""

import contextlib
import importlib
import io
import json
import sys
import warnings
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure what is asked for."""
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        found = measured(sys.argv[1])
    print(json.dumps(found))


def measured(name: str) -> dict[str, Any]:
    """The installed version and every row."""
    with contextlib.suppress(ImportError):  # torch asks for it later: behind TensorFlow it crashes
        importlib.import_module("triton")
    import torch

    torch.set_num_threads(1)
    library: Any = importlib.import_module(f"xai_exp.bridges.{name}").LIBRARY
    # Some ask for packages whose names are those of scripts here.
    sys.path = [
        one for one in sys.path if Path(one or ".").resolve() not in (SCRIPTS, SCRIPTS.parent)
    ]
    library.part()
    sys.path.append(str(SCRIPTS))
    from equals import common  # noqa: F401

    from bridges import rows

    sys.path.pop()

    found = []
    for row in rows.ROWS[name]():
        one = {"theirs": row.theirs, "ours": row.ours, "change": row.change, "why": row.why}
        found.append({**one, **compared(row)})
        print(found[-1], file=sys.stderr, flush=True)
    return {"version": metadata.version(library.package), "rows": found}


def compared(row: Any) -> dict[str, Any]:
    """How far both are apart, or what the library says where it stops."""
    try:
        theirs = of(row.bridge, row)
    except Exception as error:  # whatever it raises is what is to be known
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return {"stops": words[:120]}
    from equals.common import laid_over

    ours = of(row.explainer, row)
    ours = laid_over(ours, theirs) if row.stretched else ours
    return {"apart": float(f"{float((ours - theirs).abs().max() / theirs.abs().max()):.0e}")}


def of(explain: Any, row: Any) -> Any:
    """The heatmaps of either (of a metric the scores), in double precision."""
    from equals.common import references, setting

    from xai_exp.types import IsFitted

    one = setting(row.change)
    first = references()
    if row.single:
        one = replace(one, network=one.network.float(), images=one.images.float())
        first = first.float()
    if row.scored:
        return explain(case(one)).double()
    bound = explain.fit(one.network, first) if isinstance(explain, IsFitted) else explain
    return bound(one.network, one.images[: row.count], one.targets[: row.count]).double()


def case(one: Any) -> Any:
    """Gradients as heatmaps, each image's middle as the mask."""
    import torch

    from xai_exp.explainers.gradients import Gradient
    from xai_exp.types import Case

    explain = Gradient()
    parts = torch.zeros_like(one.images[:, :1])
    parts[..., 4:12, 4:12] = 1
    return Case(
        model=one.network, images=one.images, targets=one.targets, explain=explain,
        heatmaps=explain(one.network, one.images, one.targets), parts=parts,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


if __name__ == "__main__":
    main()
