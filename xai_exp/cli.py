"""The commands beside the experiment: `python -m xai_exp COMMAND ...`, or `xai-exp COMMAND ...`.

`run`, or no command at all, is the experiment.
`python -m xai_exp.COMMAND` is the same. Nothing heavy is imported before a command is known.
"""

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xai_exp.config import InputError, refuse_empty, refuse_unsafe_name
from xai_exp.errors import Arguments

_STABILITY = ("study", "least_accuracy", "root", "uri", "experiment")
_ALLOWED = "study=NAME and any of least_accuracy=0.95 root=mlruns uri=URL experiment=xai_exp"


def _words(command: Callable[..., None]) -> Arguments:
    """The words of a command, none of them yet; its --help says what its docstring says it does."""
    told = (command.__doc__ or "").partition("Raises:")[0]
    return Arguments(prog=f"python -m xai_exp {command.__name__}", description=told)


def report(arguments: Sequence[str]) -> None:
    """Write a page about the explanations that a filter of MLflow finds."""
    from rich.console import Console

    words = _words(report)
    words.add_argument("--filter", default="", help="as MLflow has it; all explanations if empty")
    words.add_argument("--name", default="report", help="of the page and its tables")
    words.add_argument("--title", default="What these explanations are worth", help="its heading")
    words.add_argument("--root", default="mlruns", help="where tracking keeps its files")
    words.add_argument("--experiment", default="xai_exp", help="the experiment in MLflow")
    words.add_argument("--uri", help="of the MLflow server that has them, if one has")
    words.add_argument("--out", default="reports", help="the folder to write to")
    words.add_argument("--least-accuracy", default=0.0, type=float, help="of models, in 0..1")
    words.add_argument("--index", action="store_true", help="only write the list of all pages anew")
    given = words.parse_args(arguments)
    refuse_unsafe_name("--name", given.name)
    refuse_empty("--out", given.out)
    if not 0 <= given.least_accuracy <= 1:
        raise InputError(f"--least-accuracy: got {given.least_accuracy}; allowed: a number in 0..1")
    if given.index:
        _index(Path(given.out))
        return
    if given.uri is None:
        _refuse_no_runs("--root", given.root)
    from xai_exp.studies.publish import Question, publish
    from xai_exp.tracking import MLflow
    from xai_exp.tracking.away import answering
    from xai_exp.tracking.connection import public

    settings = MLflow(root=given.root, experiment=given.experiment, uri=given.uri)
    tracker = settings.store(make=False)
    again = ["python -m xai_exp report", f'--filter "{given.filter}"' if given.filter else ""]
    again += [f"--uri {public(given.uri)}"] if given.uri else []
    asked = Question(
        title=given.title,
        name=given.name,
        commands=[" ".join(word for word in again if word)],
        folder=Path(given.out),
        least_accuracy=given.least_accuracy,
    )
    # Millions of objects live until the page is written: looking for dead ones takes a sixth more.
    gc.disable()
    try:
        with answering("--uri", given.uri or given.root):
            path, _ = publish(tracker.kept(condition=given.filter), tracker, asked)
    finally:
        gc.enable()
    Console().print(f"report: {path}", highlight=False, soft_wrap=True)


def _refuse_no_runs(what: str, root: str) -> None:
    """A command that reads makes no store of its own."""
    refuse_empty(what, root)
    if not (Path(root).expanduser() / "mlflow.db").is_file():
        raise InputError(
            f"{what}: got {root}, where there are no runs; allowed: a folder with some"
        )


def _index(folder: Path) -> None:
    from xai_exp.report.pages import index

    path = index.write(folder)
    if path is None:
        raise InputError(f"got no pages in {folder}; allowed: a folder with reports (make study)")
    sys.stdout.write(f"all reports: {path}\n")


def stability(arguments: Sequence[str]) -> None:
    """Report how stable the heatmaps of one study are, from what tracking holds.

    Raises:
        InputError: for a key that does not exist, or without a study.
    """
    words = _words(stability)
    words.add_argument("settings", nargs="*", default=[], help=_ALLOWED)
    parts = [word.partition("=") for word in words.parse_args(arguments).settings]
    given: dict[str, Any] = {key: value for key, _, value in parts}
    if "study" not in given or set(given) - set(_STABILITY):
        raise InputError(f"got {' '.join(arguments) or 'nothing'}; allowed: {_ALLOWED}")
    study, least = given.pop("study"), given.pop("least_accuracy", "0.95")
    try:
        number = float(least)
    except ValueError as error:
        raise InputError(f"least_accuracy: got {least}; allowed: a number in 0..1") from error
    if not 0 <= number <= 1:
        raise InputError(f"least_accuracy: got {least}; allowed: a number in 0..1")
    refuse_unsafe_name("study", study)
    if "uri" not in given:
        _refuse_no_runs("root", given.get("root", "mlruns"))
    from xai_exp.studies.stability_report import report as of_study
    from xai_exp.tracking import MLflow
    from xai_exp.tracking.away import answering

    settings = MLflow(**given)
    with answering("uri", settings.uri or settings.root):
        of_study(settings.store(make=False), study, number)


def ui(arguments: Sequence[str]) -> None:
    """Serve the MLflow pages on this machine."""
    from xai_exp.ui import main

    main(arguments)


def check(arguments: Sequence[str]) -> None:
    """Read a whole dataset and list what a run would do to it and what it would refuse."""
    words = _words(check)
    words.add_argument("settings", nargs="*", default=[], help="dataset=NAME dataset.KEY=VALUE")
    given = words.parse_args(arguments)
    from xai_exp.check import check as examined

    sys.exit(examined(given.settings))


def explain(arguments: Sequence[str]) -> None:
    """Write one PNG a method, all side by side, and the numbers (npz), of one picture.

    Of a GeoTIFF there is a GeoTIFF a method, too. The network is one with weights of its own, or,
    with dataset=..., the one that a run with the same settings has trained.

    Raises:
        InputError: for a picture, a network or an explainer that can't be used.
    """
    words = _words(explain)
    words.add_argument("picture", type=Path, help="a file; dataset.range, .alpha, .bands as ever")
    words.add_argument("--model", default="file", help="file, torchvision, or one trained here")
    words.add_argument("--explainer", default="lrp", help="names, with commas between")
    words.add_argument("--out", default="heatmaps", type=Path, help="the folder to write to")
    words.add_argument(
        "settings", nargs="*", default=[], help="KEY=VALUE, such as model.path=net.pt target=3"
    )
    given = words.parse_intermixed_args(arguments)
    from xai_exp.notebook.picture import explain as explained

    explained(given)


def export(arguments: Sequence[str]) -> None:
    """Write the network of a finished run as a file, or with out=FOLDER a dataset.

    A network becomes ONNX (of opset 17, for any number of pictures in 0..1), NNEF or MMdnn, by the
    name of the file, which says the names of its classes and the size of its pictures; what is
    done to pictures before the network is inside of it, and its answers are compared with torch's.
    A dataset becomes folders of pictures, masks and exact parameters, with limit=N of each split.

    Raises:
        InputError: when no such run is finished, or the network or the dataset can't be written.
    """
    words = _words(export)
    words.add_argument("--out", type=Path, help="NAME.onnx, NAME.pb, or a folder; KEY.onnx")
    words.add_argument(
        "settings", nargs="*", default=[], help="those of the finished run: dataset=... model=..."
    )
    given = words.parse_intermixed_args(arguments)
    if given.out is None and any(word.startswith("out=") for word in given.settings):
        from xai_exp.export import export as written

        written(given.settings)
        return
    from xai_exp.notebook.exporting import export as exported

    exported(given.settings, given.out)


def doctor(arguments: Sequence[str]) -> None:
    """Say what is wrong in a store of results; with --mend, put it aside to be made again."""
    words = _words(doctor)
    words.add_argument("--root", default="mlruns", help="where tracking keeps its files")
    words.add_argument("--models", type=Path, help="where networks are kept; ROOT/models")
    words.add_argument("--experiment", default="xai_exp", help="the experiment in MLflow")
    words.add_argument("--mend", action="store_true", help="mend what is found")
    given = words.parse_args(arguments)
    refuse_empty("--root", given.root)
    if not Path(given.root).is_dir():
        raise InputError(f"--root: got {given.root}, which is no folder; allowed: one with runs")
    from xai_exp.doctor import Store

    root = Path(given.root)
    models = given.models or root / "models"
    if not models.is_dir() and given.models:
        raise InputError(f"--models: got {models}, which is no folder; allowed: one with networks")
    store = Store(root=root, models=models, experiment=given.experiment)
    found = 0
    for fault in store.faults():
        found += 1
        if given.mend:
            fault.mend()
        sys.stdout.write(f"{'mended' if given.mend else 'wrong'}: {fault.words}\n")
    sys.stdout.write(f"{found} faults in {given.root}\n" if found else "everything is whole\n")
    if found and not given.mend:
        sys.exit(1)


def sync(arguments: Sequence[str]) -> None:
    """Send what was kept on this machine for a tracking server that had gone away."""
    words = _words(sync)
    words.add_argument("--root", default="mlruns", help="where tracking keeps its files")
    words.add_argument("--experiment", default="xai_exp", help="the experiment in MLflow")
    words.add_argument("--uri", help="of the server, if it is another one now")
    given = words.parse_args(arguments)
    _refuse_no_runs("--root", given.root)
    from xai_exp.sync import sync as sent

    new = known = 0
    for one in sent(Path(given.root), given.experiment, given.uri):
        new, known = new + one.new, known + (not one.new)
        sys.stdout.write(f"{'sent' if one.new else 'was there'}: {one.name}\n")
    sys.stdout.write(f"{new} runs sent, {known} were there\n")


def survey(arguments: Sequence[str]) -> None:
    """Say what people have answered to a survey: its page of results and a table."""
    words = _words(survey)
    words.add_argument("answers", nargs="*", type=Path, help="files that the survey's page saved")
    words.add_argument(
        "--key", default="reports/survey.key.json", type=Path, help="beside its page"
    )
    words.add_argument("--out", type=Path, help="the folder to write to; that of the key")
    given = words.parse_args(arguments)
    from xai_exp.survey import answers, key, results

    known = key.read(given.key)
    page, table, said = results.written(known, answers.read(given.answers, known))
    from xai_exp.files import whole, write_whole
    from xai_exp.report.pages import index

    folder = given.out or given.key.parent
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{given.key.name.removesuffix('.key.json')}-results.html"
    with index.lock(folder), whole(path.with_suffix(".csv")) as part:
        table.to_csv(part, index=False)
        write_whole(path, page)
    index.write(folder)
    sys.stdout.write(f"{said}\nreport: {path}\n")


def view(arguments: Sequence[str]) -> None:
    """Look at stored heatmaps: one page, served on this machine only, or written as a file."""
    words = _words(view)
    words.add_argument("what", nargs="?", default="", help="a study or a run's id; all if none")
    words.add_argument("--root", default="mlruns", help="where tracking keeps its files")
    words.add_argument("--experiment", default="xai_exp", help="the experiment in MLflow")
    words.add_argument("--images", default=64, type=int, help="of each setting, the first ones")
    words.add_argument("--out", type=Path, help="write the page to this file, to be sent to others")
    words.add_argument("--port", type=int, help="on 127.0.0.1; any free one if none")
    given = words.parse_args(arguments)
    _refuse_no_runs("--root", given.root)
    from xai_exp.tracking import MLflow
    from xai_exp.view import page, stored

    tracker = MLflow(root=given.root, experiment=given.experiment).open(make=False)
    found = stored.settings(stored.chosen(tracker, given.what))
    text = page.made(found, f"Heatmaps of {given.what or given.root}", given.images)
    if given.out:
        from xai_exp.files import write_whole

        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(given.out, text)
        sys.stdout.write(f"page: {given.out} ({len(text) / 1e6:.1f} MB)\n")
        return
    _serve(text, given.port)


def _serve(text: str, port: int | None) -> None:
    from xai_exp.view.serving import server

    with server(text, port) as shown:
        sys.stdout.write(f"http://127.0.0.1:{shown.server_port}/\nCtrl-C stops it\n")
        sys.stdout.flush()
        try:
            shown.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("\nstopped\n")


COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "check": check,
    "explain": explain,
    "export": export,
    "doctor": doctor,
    "report": report,
    "stability": stability,
    "survey": survey,
    "sync": sync,
    "ui": ui,
    "view": view,
}


def version() -> str:
    """The version of this package and of what its numbers hang on most."""
    from importlib.metadata import version as installed

    others = (f"{name} {installed(name)}" for name in ("torch", "hydra-core", "mlflow"))
    ours = sys.modules["xai_exp"].__version__  # by import it would stand above this floor
    return f"xai_exp {ours} (Python {sys.version.split()[0]}, {', '.join(others)})"


def main(arguments: Sequence[str]) -> bool:
    """Run the command that the first word names; False if it names none, or `run`."""
    if list(arguments) == ["--version"]:
        sys.stdout.write(f"{version()}\n")
        return True
    if not arguments or arguments[0] not in COMMANDS:
        return False
    try:
        COMMANDS[arguments[0]](arguments[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
    return True
