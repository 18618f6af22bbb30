"""Write docs/explainers.md, the reference of every explainer: `make docs`.

What it says comes from the docstrings, from conf/explainer, from docs/aliases.md (what other
libraries call it) and from tests/golden/measured.json: what heatmaps sum to and how far they are
from the original libraries', measured by this script where the file lacks it (`--measure`: anew).
`--check` only says whether the page is as it would be written.
"""

import re
import sys
from pathlib import Path
from typing import Any

import explainer_measures as measures
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from metric_table import docstring, gist, members, shown
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explainers.md"
ALIASES = ROOT / "docs" / "aliases.md"
HEAD = """# Explainers

What `explainer=NAME` can be, made from the docstrings by `make docs`: change those, not this page.
Several are `explainer=[NAME,NAME]`, presets are {presets};
fields are changed by `explainer.NAME.FIELD=VALUE`. All explain the logit f(x) of the target.

- **cost**: forward + backward passes of an image through the network, as each method states it.
- **sums to**: what the pixels of a heatmap add up to, measured on a small trained network with
  large biases and max pooling (transformers' methods: on a small untrained transformer), and how
  far off the sum is as a share of the largest logit: at most {exact:g}, else it says *about*; what
  is off by more than {rough:g} is left out. *f(black)*,
  *f(references)* and *f(imputed)* are the logits of a black image, of the training images that the
  method is bound to (their mean) and of the image with all pixels imputed; *no biases* means that
  it holds on the same network without its biases. What a sampling method promises in the mean only
  is not seen here.
- **error**: the largest deviation from heatmaps that the original library itself made, over their
  largest value (tests/golden), with that library's settings in place of the defaults.
- **elsewhere**: what other libraries call it; [more on that](aliases.md).

"""
CITATION = re.compile(
    r"((?:de |van |van der )?[A-ZÉ][\w-]+(?:\s+et\s+al\.|\s+(?:and|&)\s+[A-ZÉ][\w-]+)?)"
    r",?\s+\(?((?:19|20)\d\d)\b"
)
NO_LIBRARY = ("here", "error", "differs")


def main() -> int:
    """Write the page, or compare it."""
    options = sys.argv[1:]
    if "--check" in options:
        return int(PAGE.read_text() != page(measures.stored()))
    found = measures.updated(composed(names()), anew="--measure" in options)
    text = page(found)
    PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)}: {text.count('## ')} headings")
    return 0


def page(measured: dict[str, Any]) -> str:
    """The whole page."""
    configs, other = composed(names()), aliases()
    entries = [entry(name, configs[name], measured, other) for name in names()]
    entries.sort(key=lambda one: (one["module"], one["name"]))
    families = dict.fromkeys(one["module"] for one in entries)
    tables = [table(module, [e for e in entries if e["module"] == module]) for module in families]
    first: dict[str, str] = {}
    for one in entries:
        shown_at = first.setdefault(one["target"], one["name"])
        if shown_at != one["name"]:
            one["text"] = f"As [{shown_at}](#{shown_at}), with the fields above."
    presets = ", ".join(f"`{name}`" for name in sorted(set(files()) - set(names())))
    head = HEAD.format(presets=presets, exact=measures.EXACT, rough=measures.ROUGH)
    return head + "\n".join(tables) + "\n" + "\n".join(section(one) for one in entries)


def files() -> dict[str, Path]:
    """The YAML of every choice."""
    return {path.stem: path for path in sorted((ROOT / "conf" / "explainer").glob("*.yaml"))}


def names() -> list[str]:
    """Every explainer; presets are not."""
    return [name for name, path in files().items() if not members(path)]


def composed(chosen: list[str]) -> dict[str, dict[str, Any]]:
    """The explainers' configurations with every reference filled in."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose("config", overrides=[f"explainer=[{','.join(chosen)}]"])
    return OmegaConf.to_container(config, resolve=True)["explainer"]  # pyright: ignore


def entry(
    name: str, config: dict[str, Any], measured: dict[str, Any], other: dict[str, str]
) -> dict[str, Any]:
    """What the page says of one explainer."""
    explainer: Any = instantiate(config, _convert_="all")
    kind = type(explainer)
    about = gist(files()[name])
    found = measured.get(name, {})
    fields = [f"{field}={shown(value)}" for field, value in config.items() if field != "_target_"]
    return {
        "name": name,
        "module": kind.__module__,
        "cost": f"{explainer.cost.forward:g} + {explainer.cost.backward:g}",
        "sum": found.get("sum", "not measured"),
        "paper": paper(about, docstring(kind), sys.modules[kind.__module__].__doc__ or ""),
        "other": other.get(name, ""),
        "error": errors(found.get("errors", {})),
        "gist": about,
        "fields": ", ".join(fields) or "no fields",
        "target": config["_target_"],
        "text": docstring(kind),
    }


def paper(*texts: str) -> str:
    """The first work that is cited.

    >>> paper("Guided backpropagation (Springenberg et al. 2015).")
    'Springenberg et al. 2015'
    """
    for text in texts:
        cited = CITATION.search(text)
        if cited:
            return " ".join(f"{cited[1]} {cited[2]}".split())
    return ""


def errors(found: dict[str, float]) -> str:
    """The largest error against each library."""
    worst: dict[str, float] = {}
    for heatmap, error in found.items():
        library = heatmap.split(":")[0].rstrip(" 12")
        worst[library] = max(worst.get(library, 0), error)
    return ", ".join(f"{library} {error:.0e}" for library, error in worst.items())


def aliases() -> dict[str, str]:
    """What other libraries call each explainer, from the tables of docs/aliases.md."""
    found: dict[str, str] = {}
    header: list[str] = []
    for line in ALIASES.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            header = []
        elif not header:
            header = cells
        elif not cells[0].startswith("---") and "here" in header:
            row = dict(zip(header, cells, strict=True))
            found |= dict.fromkeys(named(row["here"]), elsewhere(row))
    return found


def elsewhere(row: dict[str, str]) -> str:
    """What a row says of other libraries."""
    given = {library: cell for library, cell in row.items() if cell and library not in NO_LIBRARY}
    return "; ".join(
        cell if library == "elsewhere" else f"{library}: {cell}" for library, cell in given.items()
    )


def named(cell: str) -> list[str]:
    """The explainers that the first cell of a row names.

    >>> named("`deconvnet`, `explainer=deep_taylor`")
    ['deconvnet', 'deep_taylor']
    >>> named("`rule=z` *, `rule=z bias=ignore`")
    ['lrp_z']
    """
    found = []
    for name, star in re.findall(r"`([^`]+)`( \*)?", cell):
        plain = name.removeprefix("explainer=")
        if star and name.startswith("rule="):
            plain = "lrp_" + name.split()[0].removeprefix("rule=")
        if re.fullmatch(r"\w+", plain):
            found.append(plain)
    return found


def table(module: str, entries: list[dict[str, Any]]) -> str:
    """The table of one family, under the heading that its module has."""
    heading = (sys.modules[module].__doc__ or module).strip().splitlines()[0]
    row = "| [{name}](#{name}) | {cost} | {sum} | {paper} | {other} | {error} |"
    lines = [
        f"**{heading}**",
        "",
        "| method | cost | sums to | paper | elsewhere | error |",
        "| --- | --- | --- | --- | --- | --- |",
        *(row.format_map(one) for one in entries),
        "",
    ]
    return "\n".join(lines)


def section(one: dict[str, Any]) -> str:
    """The part of the page on one explainer."""
    return "## {name}\n\n{gist}\n\n`{target}`: {fields}\n\n{text}\n".format_map(one)


if __name__ == "__main__":
    sys.exit(main())
