"""One tool, measured in its own environment: `measure.py TOOL MODELS` prints JSON.

Each trial is a method on a network: *works*; *stops* with what it says; or *wrong*, an answer
without a word that breaks a law:

- the same function written with torch.nn.functional has another heatmap (by more than 1 % of the
  largest value);
- the heatmap's sum is not what the method promises (by more than 1 % of the largest output);
- it is not finite, or zero everywhere;
- it is not the method of this name as it is defined, that is ours, which is held to its paper in
  float64 by the tests (by more than 1 % of the largest value).
"""

import contextlib
import importlib
import io
import json
import math
import os
import runpy
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SECONDS, BRIEF, COUNT, SCENES, LEAST = 60, 0.5, 2, 12, 0.01


class SlowError(Exception):
    """A trial took longer than it may."""


def main() -> None:
    """Measure what is asked for."""
    name, models = sys.argv[1:]
    os.environ.setdefault("MPLBACKEND", "Agg")
    sys.path.append(str(ROOT))
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        found = measured(name, Path(models))
    print(json.dumps(found))


def measured(name: str, models: Path) -> dict[str, Any]:
    """All that is known of one tool."""
    with contextlib.suppress(ImportError):  # torch asks for it later: behind TensorFlow it crashes
        importlib.import_module("triton")
    from methods import METHODS, offered

    found: dict[str, Any] = {"script": script(name), "offered": offered(name)}
    if name in METHODS:
        found["trials"] = list(trials(METHODS[name]()))
        found["truth"] = truth(METHODS[name](), models)
    return found


def script(name: str) -> dict[str, Any]:
    """The lines that a user writes for one heatmap, and whether they give one."""
    import numpy as np

    path = HERE / "heatmaps" / f"one_{name}.py"
    text = path.read_text("utf-8").splitlines()
    lines = [one for one in text if one.strip() and "from given" not in one]
    sys.path.append(str(path.parent))
    try:
        made = runpy.run_path(str(path))["heatmap"]
        made = made.detach().numpy() if hasattr(made, "detach") else np.asarray(made)
        problem = "" if np.isfinite(made).all() and made.any() else "no finite heatmap"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"[:200]
    return {"lines": len(lines), "problem": problem}


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Stop what takes longer, in seconds of a processor: how busy the machine is does not count."""

    def stop(*_: object) -> None:
        raise SlowError(f"no answer within {seconds} s of a core")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def trials(methods: list[Any]) -> Iterator[dict[str, Any]]:
    """Every method on every network."""
    import networks
    import torch

    images, references = networks.images(COUNT), networks.images(8, seed=2)
    plain: dict[str, Any] = {}
    for kind, network in networks.networks():
        with torch.no_grad():
            targets = network(images).argmax(1)
        for method in methods:
            held = replace(method, ours=None) if method.layered and kind == "vit" else method
            one = tried(held, network, images, targets, references)
            maps = one.pop("maps")
            if kind == "cnn":
                plain[method.name] = maps
            before = plain.get(method.name)
            if kind == "functional" and maps is not None and before is not None:
                other = apart(maps, before)
                if other > LEAST:
                    one["wrong"].insert(0, f"another heatmap than the same function ({other:.0%})")
            yield {"network": kind, "method": method.name, **one}


def tried(method: Any, network: Any, images: Any, targets: Any, references: Any) -> dict[str, Any]:
    """Seconds and megabytes a heatmap, and what is wrong with it."""
    found: dict[str, Any] = {"stops": "", "wrong": [], "maps": None}
    try:
        with at_most(SECONDS):
            maps, taken = timed(method, network, images, targets, references)
            found.update(taken)
    except Exception as error:  # whatever it raises is what is to be known
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return {**found, "stops": words[:200]}
    found["maps"] = maps
    if not maps.isfinite().all() or not maps.flatten(1).any(1).all():
        return {**found, "wrong": ["not finite or zero everywhere"]}
    if method.sums:
        off = found["sum_off"] = missing(method, network, images, targets, references, maps)
        if off > LEAST:
            found["wrong"].append(f"its sum is off by {off:.0%}")
    if method.ours is not None:
        other = against(method, network, images, targets, references, maps)
        found["apart"] = other
        if other is not None and other > LEAST:
            found["wrong"].append(f"not {type(method.ours).__name__} ({other:.0%} apart)")
    return found


def timed(
    method: Any, network: Any, images: Any, targets: Any, references: Any
) -> tuple[Any, dict[str, float]]:
    """The heatmaps, and seconds of a processor and megabytes of torch's tensors for one."""
    from xai_exp.studies.adoption import PeakMemory

    theirs = bound(method.theirs, network, references)
    start, found = time.process_time(), dict[str, float]()
    memory = None if method.elsewhere else PeakMemory()
    with memory or contextlib.nullcontext():
        maps = theirs(network, images, targets).double()
    seconds = time.process_time() - start
    if seconds < BRIEF:  # what is slow is slow the first time, too
        start = time.process_time()
        theirs(network, images, targets)
        seconds = time.process_time() - start
    if memory is not None:
        found["megabytes"] = round(memory.peak / len(images) / 1e6, 3)
    return maps, {**found, "seconds": round(seconds / len(images), 5)}


def missing(
    method: Any, network: Any, images: Any, targets: Any, references: Any, maps: Any
) -> float:
    """By how much sums miss what is due, as a share of the largest output."""
    import torch

    with torch.no_grad():
        before = torch.zeros_like(images) if method.sums == "black" else references
        whole = network(images)
        due = whole.gather(1, targets[:, None])[:, 0] - network(before)[:, targets].mean(0)
    return float((maps.sum((1, 2)) - due).abs().max() / whole.abs().max())


def bound(explainer: Any, network: Any, references: Any) -> Any:
    """An explainer with its references, if it takes any."""
    from xai_exp.types import IsFitted

    return explainer.fit(network, references) if isinstance(explainer, IsFitted) else explainer


def against(
    method: Any, network: Any, images: Any, targets: Any, references: Any, maps: Any
) -> Any:
    """The difference to ours as a share of the largest value; None where ours refuses."""
    from xai_exp.config import InputError

    try:
        with at_most(SECONDS):
            mine = bound(method.ours, network, references)(network, images, targets).double()
    except (InputError, SlowError):
        return None
    if method.stretched:
        low, high = mine.amin((1, 2), keepdim=True), mine.amax((1, 2), keepdim=True)
        mine = (mine - low) / (high - low).clamp_min(1e-12)
    return apart(maps, mine)


def apart(one: Any, other: Any) -> float:
    """The largest difference as a share of the largest value."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))


def truth(methods: list[Any], models: Path) -> dict[str, float]:
    """The skill of each method against exact Shapley values of parts, on a trained network."""
    import networks

    from xai_exp.metrics.truth import PartSkill

    found: dict[str, float] = {}
    case, references = networks.trained(models, SCENES)
    skill = PartSkill()
    for method in methods:
        try:
            with at_most(SECONDS * 3):
                maps = bound(method.theirs, case.model, references)(
                    case.model, case.images, case.targets
                )
        except Exception as error:
            print(f"{method.name}: {error}", file=sys.stderr)
            continue
        done = replace(case, heatmaps=maps.float())
        scores, weights = skill(done).double(), skill.weights(done).double()
        known = ~scores.isnan()
        mean = float((scores[known] * weights[known]).sum() / weights[known].sum())
        if math.isfinite(mean):
            found[method.name] = round(mean, 4)
    return found


if __name__ == "__main__":
    main()
