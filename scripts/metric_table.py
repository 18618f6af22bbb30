"""Write docs/metrics.md, the reference of every metric, from the docstrings: `make docs`.

`--check` only says whether the page is as it would be written.
"""

import re
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "metrics.md"
HEAD = """# Metrics

What `metric=NAME` can be, made from the docstrings by `make docs`: change those, not this page.
Several are `metric=[NAME,NAME]`, presets are `quick`, `all` and the families below; fields are
changed by `metric.NAME.FIELD=VALUE`. A metric gives one score an image; a score that is undefined
is missing, with its reason. A heatmap that is not finite has none from any metric.

"""
CHEAP = ("quick", "all")


def main() -> int:
    """Write the page, or compare it."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text() != text)
    PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)}: {text.count('## ')} headings")
    return 0


def page() -> str:
    """The whole page."""
    files = sorted((ROOT / "conf" / "metric").glob("*.yaml"))
    presets = {file.stem: members(file) for file in files if members(file)}
    families = {
        name: family for family in presets if family not in CHEAP for name in presets[family]
    }
    singles = [file for file in files if file.stem not in presets]
    configs = composed([file.stem for file in singles])
    metrics = [entry(file, configs[file.stem], families) for file in singles]
    metrics.sort(key=lambda metric: (metric["family"], metric["name"]))
    row = "| [{name}](#{name}) | {family} | {better} | {needs} | {gist} |"
    rows = ["| metric | family | better | needs | what it is |", "|---|---|---|---|---|"]
    rows += [row.format_map(metric) for metric in metrics]
    first: dict[str, str] = {}
    for metric in metrics:
        shown_at = first.setdefault(metric["target"], metric["name"])
        if shown_at != metric["name"]:
            metric["text"] = f"As [{shown_at}](#{shown_at}), with the fields above."
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(section(metric) for metric in metrics)


def members(path: Path) -> list[str]:
    """What a preset's defaults list names; nothing for a metric."""
    config = OmegaConf.to_container(OmegaConf.load(path))
    listed = config.get("defaults", []) if isinstance(config, dict) else []
    return [name for name in listed if isinstance(name, str) and name != "_self_"]


def composed(names: list[str]) -> dict[str, dict[str, Any]]:
    """The metrics' configurations with every reference filled in."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose("config", overrides=[f"metric=[{','.join(names)}]"])
    return OmegaConf.to_container(config, resolve=True)["metric"]  # pyright: ignore


def entry(path: Path, config: dict[str, Any], families: dict[str, str]) -> dict[str, Any]:
    """What the page says of one metric."""
    metric = instantiate(config, _convert_="all")
    fields = [f"{name}={shown(value)}" for name, value in config.items() if name != "_target_"]
    return {
        "name": path.stem,
        "family": families.get(path.stem, "complexity"),
        "better": "higher" if metric.higher_is_better else "lower",
        "needs": ", ".join(sorted(metric.needs)) or "-",
        "gist": gist(path),
        "undefined": metric.undefined,
        "fields": ", ".join(fields) or "no fields",
        "target": config["_target_"],
        "text": docstring(type(metric)),
    }


def shown(value: Any) -> str:  # noqa: ANN401
    """A field's value; what pixels are replaced by is mostly a choice of its own."""
    if isinstance(value, dict):
        own = value["_target_"].endswith("NoisyLinear")  # as the metric's definition has it
        return "road" if own else "${imputer}"
    return str(value).replace("None", "null")


def gist(path: Path) -> str:
    """The comment that the YAML opens with."""
    lines = path.read_text().splitlines()
    opening = []
    for line in lines:
        if not line.startswith("# "):
            break
        opening.append(line[2:].strip())
    return " ".join(opening).replace("|", r"\|")


def docstring(kind: type) -> str:
    """A class's docstring without indent and doctests, as it stands in the source."""
    lines = (kind.__doc__ or "").expandtabs().strip("\n").splitlines()
    margin = min((len(li) - len(li.lstrip()) for li in lines[1:] if li.strip()), default=0)
    text = "\n".join([lines[0].strip(), *(line[margin:] for line in lines[1:])]).strip()
    return re.split(r"\n\n>>> ", text)[0]


def section(metric: dict[str, Any]) -> str:
    """The part of the page on one metric."""
    return (
        "## {name}\n\n"
        "*{family}*, {better} is better, needs: {needs}. Undefined where {undefined}.\n\n"
        "`{target}`: {fields}\n\n"
        "{text}\n"
    ).format_map(metric)


if __name__ == "__main__":
    sys.exit(main())
