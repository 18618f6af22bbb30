"""A run's description on its page in MLflow: what it says, its picture, and where to go on."""

from collections.abc import Mapping
from urllib.parse import quote

from xai_exp.tracking.interface import Record

TAG = "mlflow.note.content"
_FIRST = ("gallery", "learning")  # the picture that is shown, if there are several
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
