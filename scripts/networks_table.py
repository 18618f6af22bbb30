"""Write docs/networks.md: every classifier of torchvision by every method, explained or refused.

`make networks` measures what scripts/networks.json lacks and writes the page. Each network is
measured in a process of its own, with a limit of time, and its results are stored when it ends, so
that a run that was stopped goes on where it was; a network that takes too long, or more memory than
there is, has a line that says so. Named networks are measured anew: `networks_table.py resnet18`.

One image of noise, seeded weights of which batch norms have seen such noise, ten classes, the
smallest size that a network takes of 64, 96, 128 and its own. A cell is the gap of what the method
promises (| sum - promise | / promise), `+` where it promises no sum, or a letter for the line by
which it is refused; `!` where what was found is no number.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "networks.md"
STORED = ROOT / "scripts" / "networks.json"
SIZES = (64, 96, 128, 224, 300, 384)
SECONDS, MEMORY = 3600, 10 << 30
CLASSES = 10
LEFT_OUT = ("random", "tied", "image", "sobel", "laplacian", "constant")
LEFT_OUT += ("exact_mask", "inverted_mask", "equal_shares")
HEAD = """# Networks

What each method does on each of torchvision's classifiers, measured by `make networks` (torchvision
{version}): one image of noise, seeded weights, the smallest of 64, 96, 128, 224 pixels that fits.

- a percentage: the heatmap is there, and its sum is off by this much from what the method promises
  (relevance propagation with biases: what its rules lose to these by definition is in it; ways and
  draws have 16 points here, fewer than by default, and are off by more);
- **bold**: more than the bound that is stated for the promise;
- `+`: the heatmap is there, the method promises no sum;
- a letter: refused by the line of that letter below; `!`: not finite.

{done} of {all} networks are measured; those that could not be are at the end.
"""


def main(names: list[str]) -> int:
    """Measure what is missing, or the networks that are named, and write the page."""
    import torchvision

    every = torchvision.models.list_models(module=torchvision.models)
    if unknown := sorted(set(names) - set(every)):
        print(f"networks: got {', '.join(unknown)}; allowed: {', '.join(every)}", file=sys.stderr)
        return 1
    found = stored()
    for name in names or [one for one in every if one not in found]:
        start = time.perf_counter()
        found[name] = measured(name)
        STORED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        said = found[name].get("failed", f"{len(found[name].get('methods', {}))} methods")
        print(f"{name}: {said}, {time.perf_counter() - start:.0f} s", flush=True)
    PAGE.write_text(page(found, every, torchvision.__version__.split("+")[0]), "utf-8")
    return 0


def stored() -> dict[str, Any]:
    """What was measured before."""
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def measured(name: str) -> dict[str, Any]:
    """One network's results, by a process of its own; why there are none, if it was stopped."""
    command = [sys.executable, __file__, "--one", name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {SECONDS} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
    if "memory" in last.lower() or done.returncode in (-9, 137):
        return {"failed": f"took more than {MEMORY >> 30} GiB of memory"}
    return {"failed": last[:200]}


def one(name: str) -> dict[str, Any]:
    """All methods on one network."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ.setdefault("MPLBACKEND", "Agg")
    import torch

    torch.set_num_threads(1)
    network, size = built(name)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    references = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        targets = network(images).argmax(1)
    methods = {
        method: explained(explainer, network, images, targets, references)
        for method, explainer in explainers().items()
    }
    parameters = sum(value.numel() for value in network.parameters())
    return {"size": size, "parameters": parameters, "methods": methods}


def built(name: str) -> Any:  # noqa: ANN401
    """The network with seeded weights at the smallest size that it takes, in evaluation mode."""
    import torch

    from xai_exp.config import InputError
    from xai_exp.models.torchvision import Torchvision

    refused: Exception | None = None
    for size in SIZES:
        try:
            torch.manual_seed(0)
            network = Torchvision(name=name).build(3, (size, size), CLASSES)
            _see_noise(network, size)
            with torch.no_grad():
                network.eval()(torch.rand(1, 3, size, size))
        except (InputError, RuntimeError, ValueError, AssertionError) as error:
            if "memory" in str(error).lower():
                raise
            refused = error
            continue
        return network, size
    raise RuntimeError(f"none of {SIZES} pixels fit: {refused}")


def _see_noise(network: Any, size: int) -> None:  # noqa: ANN401
    """Give batch norms the statistics of noise: untouched ones let values grow or vanish."""
    import torch

    network.train()
    with torch.no_grad():
        for number in range(3):
            source = torch.Generator().manual_seed(number)
            network(torch.rand(4, 3, size, size, generator=source))


def explainers() -> dict[str, Any]:
    """Every method of conf/explainer by its name, perturbation ones with few samples."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    left = [f"~{group}" for group in ("dataset", "model", "trainer", "metric", "tracking")]
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose("config", [*left, "explainer=all"]).explainer
    few = {"samples": 16, "steps": 16, "masks": 8, "permutations": 1, "evaluations": 16}
    few |= {"references": 2, "segments": 16, "iterations": 2, "maps": 8, "anchors": 0}
    found = {}
    for name, fields in config.items():
        if name in LEFT_OUT:
            continue
        for field, most in few.items():
            if isinstance(fields.get(field), int):
                fields[field] = min(fields[field], most)
        if name == "occlusion":
            fields["size"] = fields["stride"] = 32
        found[str(name)] = instantiate(fields, _convert_="all")
    return found


def explained(
    explainer: Any,  # noqa: ANN401
    network: Any,  # noqa: ANN401
    images: Any,  # noqa: ANN401
    targets: Any,  # noqa: ANN401
    references: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """One method on one network: its guards, or the line by which it is refused."""
    from xai_exp.config import InputError
    from xai_exp.explainers.promises import BOUNDS, guards

    try:
        bound = explainer.fit(network, references) if hasattr(explainer, "fit") else explainer
        heatmaps = bound(network, images[:1], targets[:1]).detach()
        kept = guards(bound, network, images[:1], targets[:1], heatmaps)
    except InputError as error:
        return {"refused": " ".join(str(error).split())}
    except Exception as error:
        if "memory" in str(error).lower():
            return {"refused": "out of memory"}
        return {"crashed": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    told = {name: float(values[0]) for name, values in kept.items() if name in BOUNDS}
    finite = bool(heatmaps.isfinite().all())
    return {"finite": finite, "guards": told, **_layer(explainer, network, images)}


def _layer(explainer: Any, network: Any, images: Any) -> dict[str, str]:  # noqa: ANN401
    """The layer that an activation map took."""
    from xai_exp.explainers.activation.feature_map import layer_of

    if not hasattr(explainer, "layer"):
        return {}
    return {"layer": layer_of(network, images, explainer.layer)}


def page(found: dict[str, Any], every: list[str], version: str) -> str:
    """The page: a table for each family of networks, the lines of refusals, what failed."""
    good = {name: one for name, one in found.items() if "methods" in one}
    letters = _letters(good)
    lines = [HEAD.format(version=version, done=len(good), all=len(every))]
    methods = list(dict.fromkeys(m for one in good.values() for m in one["methods"]))
    names = sorted(good)
    for start in range(0, len(names), 8):
        some = names[start : start + 8]
        lines += ["", f"| method | {' | '.join(some)} |", "| --- |" + " ---: |" * len(some)]
        sizes = (f"{good[n]['size']}px, {good[n]['parameters'] / 1e6:.1f}M" for n in some)
        lines.append(f"| *size* | {' | '.join(sizes)} |")
        lines += [
            f"| {m} | {' | '.join(cell(good[n]['methods'].get(m), letters) for n in some)} |"
            for m in methods
        ]
        taken = (good[n]["methods"].get("grad_cam", {}).get("layer", "") for n in some)
        lines.append(f"| *maps of* | {' | '.join(taken)} |")
    lines += ["", "## Refused", ""]
    lines += [f"- **{letter}**: {line}" for line, letter in letters.items()]
    missing = {name: found.get(name, {}).get("failed", "not measured yet") for name in every}
    lines += ["", "## Not measured", ""]
    lines += [f"- {name}: {why}" for name, why in missing.items() if name not in good]
    return "\n".join(lines).rstrip() + "\n"


def cell(result: dict[str, Any] | None, letters: dict[str, str]) -> str:
    """What one method did on one network."""
    from xai_exp.explainers.promises import broken

    if result is None:
        return ""
    if "finite" not in result:
        return letters[_line(result)]
    if not result["finite"]:
        return "!"
    import numpy as np

    told = result["guards"]
    marked = bool(broken({name: np.array([value]) for name, value in told.items()}))
    sums = ("completeness_gap", "sampling_gap", "conservation_error")
    shown = next((told[name] for name in sums if name in told), None)
    text = "+" if shown is None else percent(shown)
    return f"**{text}**" if marked else text


def percent(share: float) -> str:
    """A share as a short percentage.

    >>> percent(0.0000001), percent(0.023), percent(1045)
    ('0 %', '2.3 %', '1e+05 %')
    """
    return "0 %" if share < 5e-5 else f"{100 * share:.2g} %"


def _line(result: dict[str, Any]) -> str:
    return result.get("refused") or f"crashed: {result['crashed']}"


def _letters(good: dict[str, Any]) -> dict[str, str]:
    """A letter, or several, for each line of refusal, the most frequent first."""
    counted = Counter(
        _line(result)
        for network in good.values()
        for result in network["methods"].values()
        if "finite" not in result
    )
    return {line: _letter(number) for number, (line, _) in enumerate(counted.most_common())}


def _letter(number: int) -> str:
    """As columns of a spreadsheet are called.

    >>> _letter(0), _letter(25), _letter(26)
    ('a', 'z', 'aa')
    """
    more, rest = divmod(number, 26)
    return (_letter(more - 1) if more else "") + chr(ord("a") + rest)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2])))
    else:
        sys.exit(main(sys.argv[1:]))
