"""A report on any finished runs: `python -m xai_exp.report --filter "tags.study = 'mine'"`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from xai_exp.config import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a page about the explanations that a filter of MLflow finds."""
    words = argparse.ArgumentParser(prog="python -m xai_exp.report", description=__doc__)
    words.add_argument("--filter", default="", help="as MLflow has it; all explanations if empty")
    words.add_argument("--name", default="report", help="of the page and its tables")
    words.add_argument("--title", default="What these explanations are worth", help="its heading")
    words.add_argument("--root", default="mlruns", help="where tracking keeps its files")
    words.add_argument("--experiment", default="xai_exp", help="the experiment in MLflow")
    words.add_argument("--out", default="reports", type=Path, help="the folder to write to")
    words.add_argument("--least-accuracy", default=0.0, type=float, help="of models, in 0..1")
    words.add_argument("--index", action="store_true", help="only write the list of all pages anew")
    given = words.parse_args(arguments)
    if given.index:
        _index(given.out)
        return

    from xai_exp.studies.publish import Question, publish
    from xai_exp.tracking import MLflow

    try:
        tracker = MLflow(root=given.root, experiment=given.experiment).open()
        again = ["python -m xai_exp.report", f'--filter "{given.filter}"' if given.filter else ""]
        path, _ = publish(
            tracker.kept(condition=given.filter),
            tracker,
            Question(
                title=given.title,
                name=given.name,
                commands=[" ".join(word for word in again if word)],
                folder=given.out,
                least_accuracy=given.least_accuracy,
            ),
        )
    except InputError as error:
        sys.exit(f"error: {error}")
    Console().print(f"report: {path}", highlight=False, soft_wrap=True)


def _index(folder: Path) -> None:
    from xai_exp.report.pages import index

    path = index.write(folder)
    if path is None:
        sys.exit(f"error: got no pages in {folder}; allowed: a folder with reports (make study)")
    Console().print(f"all reports: {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
