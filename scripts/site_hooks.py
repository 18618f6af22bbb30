"""What the site of docs/ needs beyond its pages: README in front, notebooks, the reference.

mkdocs calls `on_config`, `on_files` and `on_page_markdown` (mkdocs.yml: hooks). Nothing is written
into docs/.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FROM_ROOT = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
GROUPS = {
    "explainers": ("explainer", "Explainers: classes", "`explainer.NAME.FIELD=VALUE`"),
    "metrics": ("metric", "Metrics: classes", "`metric.NAME.FIELD=VALUE`"),
    "datasets": ("dataset", "Datasets: classes", "`dataset.FIELD=VALUE`"),
    "models": ("model", "Networks: classes", "`model.FIELD=VALUE`"),
    "imputers": ("imputer", "Ways to remove pixels: classes", "`imputer.FIELD=VALUE`"),
}
_DEFAULTS = {
    "explainer": " Defaults, cost and paper: [explainers](../explainers.md).",
    "metric": " Defaults, direction and family: [metrics](../metrics.md).",
}
TYPES = ("data", "explaining", "measuring")
_TARGET = re.compile(r"^\s+_target_: (xai_exp[\w.]+)$", re.M)
_TOP_TARGET = re.compile(r"^_target_: (xai_exp[\w.]+)$", re.M)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_TITLED = re.compile(r"^```(\w+) ([\w./-]+)$", re.M)
_EXAMPLE = re.compile(r"(?<![^\n])(>>> .*(?:\n.+)*)")
_ERROR = re.compile(r"\A```error(.*)\Z", re.S)
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def on_config(config: Any) -> Any:  # noqa: ANN401
    """Show the examples of docstrings as code."""
    extension: Any = import_module("markdown").Extension
    preprocessor: Any = import_module("markdown.preprocessors").Preprocessor

    class Lines(preprocessor):
        def run(self, lines: list[str]) -> list[str]:
            return fenced("\n".join(lines)).split("\n")

    class Examples(extension):
        def extendMarkdown(self, md: Any) -> None:  # noqa: ANN401, N802
            md.preprocessors.register(Lines(md), "examples", 100)

    config.markdown_extensions.append(Examples())
    return config


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401
    """Add the pages that are made."""
    file: Any = import_module("mkdocs.structure.files").File
    for place, text in made():
        files.append(file.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:  # noqa: ANN401
    """A page's text as mkdocs reads it."""
    return readable(markdown, page.file.src_uri)


def made() -> Iterator[tuple[str, str]]:
    """Path and text of each page that docs/ does not have."""
    for place, name in FROM_ROOT.items():
        text = (ROOT / name).read_text("utf-8")
        yield (
            place,
            re.sub(r"\]\(docs/", "](", text).replace("](CONTRIBUTING.md)", "](contributing.md)"),
        )
    for path in sorted((DOCS / "tutorials").glob("*.ipynb")):
        yield f"tutorials/{path.stem}.md", notebook(json.loads(path.read_text("utf-8")), path.name)
    yield "reference/functions.md", _functions()
    for name, (group, title, how) in GROUPS.items():
        yield f"reference/{name}.md", _classes(group, title, how)
    yield "reference/types.md", _types()


def fenced(text: str) -> str:
    """A text whose examples (`>>> ...` up to an empty line) are blocks of code."""
    return _EXAMPLE.sub(r"```pycon\n\1\n```", text)


def readable(text: str, place: str) -> str:
    """A page with names of files as titles of code, and without links to files beside docs/.

    A link to a page that is nowhere stays, so that a strict build finds it.
    """
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts.append(_linked(text[end : fence.start()], place))
        shown = _TITLED.sub(r'```\1 title="\2"', fence[0])
        parts.append(_ERROR.sub(r'<div class="error" markdown>\n\n```text\1\n\n</div>', shown))
        end = fence.end()
    return "".join([*parts, _linked(text[end:], place)])


def _linked(text: str, place: str) -> str:
    def link(found: re.Match[str]) -> str:
        picture, words, where, anchor = found.groups(default="")
        at = posixpath.normpath(posixpath.join(posixpath.dirname(place), where))
        if where.endswith(".ipynb"):
            return f"[{words}]({where.removesuffix('.ipynb')}.md{anchor})"
        if (DOCS / at).is_file() or at in FROM_ROOT:
            return found[0]
        outside = (DOCS / at).is_dir() or (ROOT / at.removeprefix("../")).exists()
        return words if outside and not picture else found[0]

    return _LINK.sub(link, text)


def notebook(told: dict[str, Any], name: str) -> str:
    """A notebook as a page, with what its cells gave."""
    pieces = []
    for cell in told["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            pieces.append(text)
            continue
        pieces.append(f"```python\n{text}\n```")
        pieces += [shown for one in cell["outputs"] if (shown := _output(one))]
    pieces.append(f'<a href="{name}" download>This page as a notebook</a>')
    return "\n\n".join(pieces) + "\n"


def _output(told: dict[str, Any]) -> str:
    data = told.get("data", {})
    plain = "".join(told.get("text", data.get("text/plain", ""))).rstrip()
    if "text/html" in data:
        kept = "".join(data["text/html"])
        kept = re.sub(r"<style.*?</style>|\n\s*", "", kept, flags=re.S)
        kept = kept.replace(' border="1" class="dataframe"', "")
        return f'<div class="output">{kept}</div>'
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<div class="output"><img src="data:image/png;base64,{picture}" alt="figure"></div>'
    return f'<div class="output" markdown>\n\n```text\n{plain}\n```\n\n</div>' if plain else ""


def _functions() -> str:
    named = re.search(r"__all__ = \[(.*?)\]", (ROOT / "xai_exp/api.py").read_text("utf-8"), re.S)
    names = re.findall(r'"(\w+)"', named[1]) if named else []
    order = sorted(names, key=lambda name: (name[0].isupper(), names.index(name)))
    lines = [
        "# The Python API",
        "",
        "`import xai_exp as xe`; each name is `xe.NAME`. [How to use it](../python.md).",
        "",
    ]
    return "\n".join([*lines, *(f"::: xai_exp.api.{name}\n" for name in order)])


def targets(group: str) -> list[str]:
    """The classes that a group of conf/ names, in the order of their modules."""
    found: set[str] = set()
    for path in (ROOT / "conf" / group).rglob("*.yaml"):
        text = path.read_text("utf-8")
        found.update(_TOP_TARGET.findall(text) or _TARGET.findall(text)[:1])
    return sorted(found)


def _classes(group: str, title: str, how: str) -> str:
    head = (
        f"# {title}\n\nEvery class that `{group}=NAME` can make; its arguments are the fields, "
        f"changed by {how}.{_DEFAULTS.get(group, '')}\n\n"
    )
    options = "    options: {show_root_full_path: true}\n"
    return head + "\n".join(f"::: {name}\n{options}" for name in targets(group))


def _types() -> str:
    head = "# Core types\n\nWhat an explainer, a metric and a dataset are to the rest. Shapes:\n\n"
    text = (ROOT / "xai_exp/types/shapes.py").read_text("utf-8")
    shapes = re.findall(r'^(\w+) = (\w+)\[Tensor, "\s*([^"]+)"\]$', text, re.M)
    rows = "".join(f"| `{name}` | {kind} | {axes} |\n" for name, kind, axes in shapes)
    table = f"| name | numbers | axes |\n| --- | --- | --- |\n{rows}\n"
    options = (
        "    options: {show_root_heading: false, show_root_toc_entry: false, heading_level: 2}\n"
    )
    return head + table + "\n".join(f"::: xai_exp.types.{name}\n{options}" for name in TYPES)
