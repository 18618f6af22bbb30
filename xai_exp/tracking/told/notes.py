"""A run's description on its page in MLflow: what it says, its picture, and where to go on."""

import re
from collections.abc import Mapping
from urllib.parse import quote

from xai_exp.tracking.interface import Record

TAG = "mlflow.note.content"
_FIRST = ("gallery", "learning")  # the picture that is shown, if there are several
_LINK = re.compile(r"\[([^\]]*)\]\(#/experiments/\w+/runs/(\w+)\)")
_LONGEST = 5000  # characters of a tag


def content(record: Record, run: str, experiment: str, links: Mapping[str, str]) -> str:
    """Markdown: the record's note, its picture, links to the runs it hangs together with.

    Args:
        record: what is kept.
        run: its id.
        experiment: the experiment's id.
        links: ids of other runs by what they are called.
    """
    order = sorted(record.figures, key=lambda name: name not in _FIRST)
    pictures = [f"![{name}](get-artifact?path={name}.png&run_uuid={run})" for name in order[:1]]
    base = f"#/experiments/{experiment}/runs"
    known = [f"[{name}]({base}/{one})" for name, one in links.items()]
    model = str(record.tags.get("model_key", record.key))
    every = quote(f"tags.model_key = '{model}'")
    known.append(f"[everything of this network]({base}?searchFilter={every})")
    tail = ["See " + " · ".join(known)]
    text = "\n\n".join([part for part in (record.note, *pictures) if part] + tail)
    return text if len(text) <= _LONGEST else "\n\n".join([*pictures, *tail])[:_LONGEST]


def others(text: str) -> list[str]:
    """The runs that a description links to.

    >>> others("[a](#/experiments/1/runs/0a) [every](#/experiments/1/runs?searchFilter=b)")
    ['0a']
    """
    return [run for _, run in _LINK.findall(text)]


def moved(text: str, runs: Mapping[str, str], experiment: str) -> str:
    """A description as another store's run has it.

    >>> moved("![x](get-artifact?path=x.png&run_uuid=0a) [b](#/experiments/1/runs/0b)", {}, "2")
    '![x](get-artifact?path=x.png&run_uuid=0a) b'

    Args:
        text: the description.
        runs: ids there by those here; a link to a run that is not among them is only its name.
        experiment: the experiment's id there.
    """

    def link(found: re.Match[str]) -> str:
        name, run = found[1], found[2]
        return f"[{name}](#/experiments/{experiment}/runs/{runs[run]})" if run in runs else name

    text = _LINK.sub(link, text)
    text = re.sub(r"\(#/experiments/\w+/runs\?", f"(#/experiments/{experiment}/runs?", text)
    return re.sub(r"(?<=&run_uuid=)\w+", lambda found: runs.get(found[0], found[0]), text)
