"""Write docs/networks.md: every classifier of torchvision by every method, explained or refused.

`make networks` measures what scripts/networks.json lacks and writes the page. Each network is
measured in a process of its own, whose results are stored method by method, so that a run that was
stopped goes on where it was; a method whose settings or `version` changed is measured anew. The
smallest network of each kind comes first, then the second of each, and so on: networks are of one
kind if they are made of the same classes of modules, so that one which was not measured has another
that stands for it. `networks_table.py resnet18 ...` measures these only, `--page` nothing.

One image of noise, seeded weights of which batch norms have seen such noise, ten classes, the
smallest size that a network takes of 64, 96, 128 and its own. A cell is the gap of what the method
promises (| sum - promise | / promise; beside it that in float64, where it is over its bound), `+`
where it promises no sum, or a letter for the line by which it is refused; `!` where what was found
is no number.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any

from networks_measure import FEW, MEMORY, is_off, method_keys

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "networks.md"
STORED = ROOT / "scripts" / "networks.json"
MEASURE = ROOT / "scripts" / "networks_measure.py"
HEAD = """# Networks

What each method does on each of torchvision's classifiers, measured by `make networks` (torchvision
{version}): one image of noise, seeded weights, the smallest of 64, 96, 128, 224 pixels that fits.
Methods that ask the network many times do so less often than by default: at most {few}.
A network of each family of timm is [beside](timm.md).

- a percentage: the heatmap is there, and its sum is off by this much from what the method promises
  (relevance propagation with biases: what its rules lose to these by definition is in it; ways and
  draws with so few points are off by more than by default);
- **bold**: more than the bound that is stated for the promise;
- (in brackets): the same with network and image in float64, where it is more than the bound in
  float32 and was measured since it is. Where that is nothing, rounding took the sum: these
  networks learnt nothing, and some hardly answer to their image. Logits of 3e-5 to .2 differ by
  6e-11 to 3e-13 from those of the baseline (mobilenet, efficientnet_b0, googlenet), which float32
  can not hold. What a method lacks itself is off in both;
- `+`: the heatmap is there, the method promises no sum;
- a letter: refused by the line of that letter below;
- `!`: not finite, for which a run refuses the method;
- `°`: measured before the method's class, version or settings last changed;
- blank: not measured.

Evenness (alone and in a batch, float32 and float64) costs several explanations more and is not
measured here. {done} of {all} networks are measured; each of the others is at the end with the one
that stands for it: made of the same classes of modules.
"""


def main(names: list[str]) -> int:
    """Measure what is missing, or of the networks that are named, and write the page."""
    import torchvision

    every = torchvision.models.list_models(module=torchvision.models)
    wanted = [] if names == ["--page"] else names or in_order(every)
    if unknown := sorted(set(wanted) - set(every)):
        print(f"networks: got {', '.join(unknown)}; allowed: {', '.join(every)}", file=sys.stderr)
        return 1
    found = stored()
    keys = method_keys()
    for name in wanted:
        known = found.get(name, {}).get("methods", {})
        missing = [one for one in keys if stale(one, known.get(one, {}), keys[one])]
        if not missing or (not names and "failed" in found.get(name, {})):
            continue
        start = time.perf_counter()
        kept = {one: result for one, result in known.items() if one in keys}
        found[name] = {"methods": kept}
        for told in measured(name, missing):
            kept |= told.pop("methods", {})
            found[name] |= told
            STORED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        said = found[name].get("failed", f"{len(missing)} methods")
        print(f"{name}: {said}, {time.perf_counter() - start:.0f} s", flush=True)
    version = torchvision.__version__.split("+")[0]
    PAGE.write_text(page(found, kinds(every), version, keys), "utf-8")
    return 0


def stale(method: str, result: dict[str, Any], key: str) -> bool:
    """Whether a method has not been measured as it is now, in float64 where its sum is off."""
    return result.get("key") != key or (is_off(method, result) and "exact" not in result)


def stored() -> dict[str, Any]:
    """What was measured before."""
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def kinds(every: list[str]) -> dict[str, list[str]]:
    """Networks that are made of the same classes of modules, the smallest first, by its name."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torchvision.models import get_model

    class Weightless(TorchFunctionMode):
        """Weights take no memory and no time."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):  # noqa: ANN204, ANN401
            given = kwargs or {}
            return func(*args, **(given | {"device": "meta"} if func is torch.empty else given))

    sizes: dict[str, int] = {}
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in every:
        more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        with Weightless():
            network = get_model(name, weights=None, **more)
        sizes[name] = sum(value.numel() for value in network.parameters())
        made_of = {f"{type(one).__module__}.{type(one).__name__}" for one in network.modules()}
        alike.setdefault(tuple(sorted(made_of)), []).append(name)
    groups = [sorted(group, key=sizes.__getitem__) for group in alike.values()]
    return {group[0]: group for group in sorted(groups, key=lambda group: sizes[group[0]])}


def in_order(every: list[str]) -> list[str]:
    """One network of each kind, the smallest, then the second of each, and so on."""
    turns = zip_longest(*kinds(every).values())
    return [name for turn in turns for name in turn if name is not None]


def measured(name: str, methods: list[str]) -> Iterator[dict[str, Any]]:
    """One network's results as they come, by a process of its own; why there are no more, if so."""
    command = [sys.executable, str(MEASURE), name, ",".join(methods)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            yield json.loads(line)
        said = process.stderr.read().strip().splitlines()
    if process.returncode == 0:
        return
    last = (said or [f"ended with code {process.returncode}"])[-1]
    if "memory" in last.lower() or process.returncode in (-9, 137):
        last = f"took more than {MEMORY >> 30} GiB of memory"
    yield {"failed": last[:200]}


def page(
    found: dict[str, Any],
    alike: dict[str, list[str]],
    version: str,
    keys: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The page: tables of eight networks, the lines of refusals, what was not measured.

    Results of other than the methods' `keys` are marked as of before.
    """

    def shown(name: str, method: str) -> str:
        result = good[name]["methods"].get(method)
        before = result is not None and method in keys and result.get("key") != keys[method]
        return cell(result, letters) + ("°" if before else "")

    good = {name: one for name, one in found.items() if one.get("methods")}
    every = sorted(name for group in alike.values() for name in group)
    few = ", ".join(f"{most} {name}" for name, most in FEW.items() if most)
    letters = letters_of(good)
    lines = [HEAD.format(version=version, few=few, done=len(good), all=len(every))]
    methods = list(dict.fromkeys(m for one in good.values() for m in one["methods"]))
    names = sorted(good)
    for start in range(0, len(names), 8):
        some = names[start : start + 8]
        lines += ["", f"| method | {' | '.join(some)} |", "| --- |" + " ---: |" * len(some)]
        sizes = (f"{good[n]['size']}px, {good[n]['parameters'] / 1e6:.1f}M" for n in some)
        lines.append(f"| *size* | {' | '.join(sizes)} |")
        lines += [f"| {m} | {' | '.join(shown(name, m) for name in some)} |" for m in methods]
        taken = (good[n]["methods"].get("grad_cam", {}).get("layer", "") for n in some)
        lines.append(f"| *maps of* | {' | '.join(taken)} |")
    lines += ["", "## Refused", ""]
    lines += [f"- **{letter}**: {line}" for line, letter in letters.items()]
    lines += ["", "## Not measured", ""]
    lines += _missing(found, good, alike)
    return "\n".join(lines).rstrip() + "\n"


def _missing(found: dict[str, Any], good: dict[str, Any], alike: dict[str, list[str]]) -> list[str]:
    """A line for each network that was not measured: why, and which one stands for it."""
    lines = []
    for group in alike.values():
        stands = next((name for name in group if name in good), None)
        for name in group:
            if name not in good:
                why = found.get(name, {}).get("failed", "not measured")
                lines.append(f"- {name}: {why}" + (f"; see {stands}" if stands else ""))
    return sorted(lines)


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
    text = f"**{text}**" if marked else text
    exact = result.get("exact")
    return text if exact is None else f"{text} ({percent(exact)})"


def percent(share: float) -> str:
    """A share as a short percentage.

    >>> percent(0.0000001), percent(0.023), percent(1045)
    ('0 %', '2.3 %', '1e+05 %')
    """
    return "0 %" if share < 5e-5 else f"{100 * share:.2g} %"


def _line(result: dict[str, Any]) -> str:
    return result.get("refused") or f"crashed: {result['crashed']}"


def letters_of(good: dict[str, Any]) -> dict[str, str]:
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
    sys.exit(main(sys.argv[1:]))
