"""Other tools side by side: what `make tools` measured, as a page's sections and as tables.

The measurements are in scripts/tools.json, each tool's made in an environment of its own; an
installed package has none.
"""

import html
import json
import re
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_exp.studies.callbacks import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xai_exp.report.pages.page import Section

_ROOT = Path(__file__).resolve().parents[2]
KEPT = _ROOT / "scripts" / "tools.json"
PYTHONS = _ROOT / "scripts" / "tools_pythons.json"
_GOLDEN = _ROOT / "tests" / "golden" / "measured.json"
NETWORKS = ("cnn", "functional", "resnet18", "mobilenet", "vit")
TOOL_HEADS = ("tool", "version", "released", "installs", "methods", "lines", "wrong", "skill")
METHOD_HEADS = ("tool", "method", *NETWORKS)
COST_HEADS = ("tool", "method", "ms", "MB", "apart", "skill")
TITLES = {
    "xai_exp": "xai_exp, for comparison", "captum": "Captum", "zennit": "Zennit", "shap": "SHAP",
    "grad_cam": "pytorch-grad-cam", "lime": "LIME", "dianna": "DIANNA", "xplique": "Xplique",
    "quantus": "Quantus", "eli5": "Eli5", "yellowbrick": "Yellowbrick", "skater": "Skater",
    "lucid": "Lucid", "deepexplain": "DeepExplain", "innvestigate": "iNNvestigate",
}  # fmt: skip
NO_HEATMAP = {
    "quantus": "scores heatmaps, makes none",
    "eli5": "its image explanations are Keras models'",
    "yellowbrick": "draws diagnostics, no heatmaps",
    "innvestigate": "for Keras networks; its heatmaps are kept in tests/golden",
    "deepexplain": "for TensorFlow 1; its heatmaps are kept in tests/golden",
    "skater": "its image explanations are Keras models'",
    "lucid": "for TensorFlow 1; shows features, not pixels' shares",
}


class Tools(Report):
    """Bridges on the study's network, and the tables of what `make tools` measured."""

    def answer(self) -> str:
        """How many tools install, stop, or are silently wrong."""
        found = kept()
        return answer(found).replace("**", "") if found else "make tools measures the tools first."

    def extras(self) -> "Sequence[Section]":
        """Three tables and the advice."""
        from xai_exp.report import tables
        from xai_exp.report.pages.page import Section

        found = kept()
        if not found:
            return ()
        made = (
            ("The tools", TOOL_HEADS, tool_rows(found)),
            ("Methods on networks", METHOD_HEADS, method_rows(found)),
            ("Time, memory, equality, truth", COST_HEADS, cost_rows(found)),
        )
        lines = [*advice(found).splitlines(), *words(found)]
        items = "".join(f"<li>{html.escape(one[2:]).replace('**', '')}</li>" for one in lines)
        return [
            Section("What we advise, and what is wrong", f"<ul>{items}</ul>"),
            *(
                Section(
                    title,
                    tables.table(heads, [[_cell(one) for one in row] for row in rows], name=title),
                )
                for title, heads, rows in made
            ),
        ]


def _cell(value: str) -> str:
    from xai_exp.report import tables

    return tables.cell(value.replace("**", ""), kind="text")


def kept() -> dict[str, Any]:
    """What was measured, by tool, in the order of the titles."""
    found = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    return {name: found[name] for name in TITLES if name in found}


def pythons() -> dict[str, dict[str, str]]:
    """By tool and Python: empty where it installs and is imported, else what stood in the way."""
    return json.loads(PYTHONS.read_text("utf-8")) if PYTHONS.exists() else {}


def outcome(trial: Mapping[str, Any]) -> str:
    """One trial in a word."""
    if trial["stops"]:
        return "stops"
    if trial["wrong"]:
        return "**WRONG**"
    checked = trial.get("apart") is not None or "sum_off" in trial
    return "works" if checked or trial["network"] == "functional" else "answers"


def wrong(tool: Mapping[str, Any]) -> tuple[int, int]:
    """How many trials are silently wrong, of how many that answer."""
    told = [outcome(one) for one in tool.get("trials", ())]
    return told.count("**WRONG**"), len(told) - told.count("stops")


def best(tool: Mapping[str, Any]) -> tuple[str, float] | None:
    """The method nearest to the truth, and its skill."""
    truth = tool.get("truth") or {}
    return max(truth.items(), key=lambda one: one[1]) if truth else None


def tool_rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row a tool."""
    golden = {} if not _GOLDEN.exists() else json.loads(_GOLDEN.read_text("utf-8"))
    for name, one in found.items():
        script, skill = one.get("script") or {}, best(one)
        lines = str(script["lines"]) if script.get("lines") else NO_HEATMAP.get(name, "")
        if script.get("lines") and script["problem"] and name not in NO_HEATMAP:
            lines += f" ({script['problem']})"
        if one["installs"] and one.get("problem"):
            lines = f"not measured: {one['problem']}"
        if name in ("innvestigate", "deepexplain"):
            equal = sum(
                any(name[:8] in label.lower() for label in mine["errors"])
                for mine in golden.values()
            )
            lines += f" ({equal} methods are held to them)"
        wrongs, answers = wrong(one)
        yield [
            TITLES[name],
            one["pinned"].partition("==")[2] if one["pinned"] else "this one",
            one["released"] or "", installs(name, one), str(one.get("offered") or ""), lines,
            f"{wrongs} of {answers}" if answers else "",
            f"{skill[1]:.2f} ({skill[0]})" if skill else "",
        ]  # fmt: skip


def installs(name: str, one: Mapping[str, Any]) -> str:
    """On which of the Pythons that were tried, and on which not.

    >>> installs("of no name", {"installs": False, "problem": "no wheel"})
    'not 3.11'
    """
    on = _tried(name, one)
    good, bad = (
        [version for version in on if bool(on[version]) is fails] for fails in (False, True)
    )
    return "; ".join(
        [*([", ".join(good)] if good else []), *([f"not {', '.join(bad)}"] if bad else [])]
    )


def hindrances(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each tool that does not install on every Python: what stood in the way, where."""
    for name, one in found.items():
        failed: dict[str, list[str]] = {}
        for version, problem in _tried(name, one).items():
            if problem:
                failed.setdefault(_plain(problem), []).append(version)
        if failed:
            told = "; ".join(f"{', '.join(on)}: {why}" for why, on in failed.items())
            yield f"- {TITLES[name]} on {told}"


def _tried(name: str, one: Mapping[str, Any]) -> dict[str, str]:
    """By Python, in order: empty or what stood in the way."""
    on = {"3.11": "" if one["installs"] else one["problem"], **pythons().get(name, {})}
    return dict(sorted(on.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


def _plain(problem: str) -> str:
    """What stood in the way, in words that both installers share."""
    said = problem.replace("|", "/").removeprefix("not installed: ").rstrip(".")
    if "not found in the package registry" in said or re.search(r" found for \w+$", said):
        return "there is none of this name"
    nothing = ("unsatisfiable", "No matching distribution")
    return (
        "no version of it, or of what it needs, fits this Python"
        if any(one in said for one in nothing)
        else said
    )


def method_rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row a method, a column a network."""
    for name, one in found.items():
        told: dict[str, dict[str, str]] = {}
        for trial in one.get("trials", ()):
            told.setdefault(trial["method"], {})[trial["network"]] = outcome(trial)
        for method, on in told.items():
            yield [TITLES[name], method, *(on.get(network, "") for network in NETWORKS)]


def words(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each method that stops or is wrong somewhere."""
    for name, one in found.items():
        told: dict[tuple[str, str], list[str]] = {}
        for trial in one.get("trials", ()):
            said = "; ".join(trial["wrong"]) or trial["stops"]
            if said:
                told.setdefault((trial["method"], said), []).append(trial["network"])
        for (method, said), networks in told.items():
            plain = said.replace("|", "/").replace("<", "(").replace(">", ")")
            yield f"- {TITLES[name]} {method} on {', '.join(networks)}: {plain}"


def cost_rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row a method: what it takes on the cnn."""
    for name, one in found.items():
        for trial in one.get("trials", ()):
            if trial["network"] != "cnn" or trial["stops"]:
                continue
            skill = (one.get("truth") or {}).get(trial["method"])
            other = trial.get("apart")
            yield [
                TITLES[name], trial["method"], f"{1000 * trial['seconds']:.0f}",
                f"{trial['megabytes']:.1f}" if "megabytes" in trial else "",
                "" if other is None else f"{other:.0e}",
                "" if skill is None else f"{skill:.2f}",
            ]  # fmt: skip


def answer(found: Mapping[str, Any]) -> str:
    """What was found, counted."""
    others = {name: one for name, one in found.items() if name != "xai_exp"}
    fails = [TITLES[name] for name, one in others.items() if not one["installs"]]
    counts = [wrong(one) for one in others.values()]
    wrongs, answers = (sum(part) for part in zip(*counts, strict=True))
    trials = [trial for one in others.values() for trial in one.get("trials", ())]
    stops = sum(outcome(one) == "stops" for one in trials)
    skills = sorted(
        (skill[1], TITLES[name], skill[0])
        for name, one in others.items()
        if (skill := best(one)) is not None
    )
    text = (
        f"Of {len(others)} tools {len(others) - len(fails)} install on Python 3.11"
        + (f" ({', '.join(fails)} do not)" if fails else "")
        + f". Of {len(trials)} trials of a method on a network {stops} stop with an error and "
        f"**{wrongs} of the {answers} that answer are silently wrong**."
    )
    if skills:
        value, title, method = skills[-1]
        text += f" Nearest to the exact truth is {title}'s {method} (skill {value:.2f})"
        mine = best(found.get("xai_exp", {}))
        text += f"; ours is {mine[0]} ({mine[1]:.2f})." if mine else "."
    return text


def advice(found: Mapping[str, Any]) -> str:
    """A line a tool: where it can be believed, and where it was seen to be wrong."""
    lines = []
    for name, one in found.items():
        if not one.get("trials") or name == "xai_exp":
            continue
        on: dict[str, list[str]] = {}
        for trial in one["trials"]:
            on.setdefault(trial["network"], []).append(outcome(trial))
        bad = [network for network, told in on.items() if "**WRONG**" in told]
        good = [
            method
            for method in dict.fromkeys(trial["method"] for trial in one["trials"])
            if all(
                outcome(trial) in ("works", "answers")
                for trial in one["trials"]
                if trial["method"] == method
            )
        ]
        times = [trial["seconds"] for trial in one["trials"] if not trial["stops"]]
        taken = f"; {statistics.median(times):.2g} s a heatmap" if times else ""
        plain = [
            trial["method"]
            for trial in one["trials"]
            if trial["network"] == "cnn"
            and outcome(trial) in ("works", "answers")
            and trial["method"] not in good
        ]
        said = f"never seen wrong or stopped: {', '.join(good)}" if good else "no method is safe"
        said += f"; right on a plain cnn of modules: {', '.join(plain)}" if plain else ""
        seen = f"; check what it says of {', '.join(bad)}" if bad else ""
        near = best(one)
        truth = f"; nearest to the truth {near[0]}, skill {near[1]:.2f}" if near else ""
        lines.append(f"- **{TITLES[name]}**: {said}{seen}{truth}{taken}.")
    return "\n".join(lines)
