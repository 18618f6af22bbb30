"""Write docs/formats.md: our networks out and in again, real files, ONNX's operator suite.

`make formats` fetches the real files' packages and runs this; `formats_page.py FOLDER` reads wheels
and ONNX files from there, and says what it lacks.
"""

import io
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import formats_files as files
import onnx
import onnxruntime
import torch
from onnx.backend.test.loader import load_model_tests
from torch import nn

import xai_exp as xe
from xai_exp.config import InputError
from xai_exp.formats import exporting, opening
from xai_exp.formats.card import Card
from xai_exp.formats.mmdnn import writing as mmdnn
from xai_exp.formats.nnef import writing as nnef
from xai_exp.formats.onnx import importing
from xai_exp.formats.onnx.suite import judged
from xai_exp.models.cnn import CNN
from xai_exp.models.lenet5 import LeNet5
from xai_exp.models.resnet import ResNet18
from xai_exp.models.vgg import VGG
from xai_exp.models.vit import ViT

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "scripts" / "formats.json"
PAGE, WORDS = ROOT / "docs" / "formats.md", ROOT / "docs" / "formats-words.md"
MODELS = {
    "cnn": CNN(norm="batch"), "lenet5": LeNet5(), "vgg": VGG(), "resnet18": ResNet18(),
    "vit": ViT(),
}  # fmt: skip
SHAPE, CLASSES = (1, 3, 32, 32), ("a", "b", "c", "d")


def main() -> None:
    """Measure, and write the page."""
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    suite, refused = operators()
    absent = ["not fetched: run `make formats`"]
    found = list(files.real(folder)) if folder else absent
    weights = list(trips(files.weights(folder))) if folder else absent
    versions = (
        f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"torch {torch.__version__.partition('+')[0]}"
    )
    kept(
        trips=list(trips(ours())), weights=weights, real=found, suite=suite, refused=refused,
        versions=versions,
    )  # fmt: skip
    written()


def kept(**found: Any) -> None:  # noqa: ANN401
    """Put what was measured beside what was measured before."""
    held = json.loads(KEPT.read_text("utf-8")) if KEPT.is_file() else {}
    KEPT.write_text(json.dumps(held | found, indent=1, ensure_ascii=False) + "\n", "utf-8")


def written() -> None:
    """Write the page from what was measured."""
    held = json.loads(KEPT.read_text("utf-8"))
    text = WORDS.read_text("utf-8").format(
        trips="\n".join(held["trips"]),
        real="\n".join(held["real"]),
        weights="\n".join(held.get("weights", ["not measured yet: `make formats`"])),
        programs="\n".join(held.get("programs", ["not measured yet"])),
        suite=held["suite"],
        refused=held["refused"],
        versions=held["versions"],
        peers="\n".join(peer_rows(held)),
        openvx=openvx_line(held.get("openvx")),
    )
    head = "<!-- made by scripts/formats_page.py from formats-words.md -->"
    PAGE.write_text(f"{head}\n{text}", "utf-8")
    print(PAGE.relative_to(ROOT))


def peer_rows(held: dict[str, Any]) -> Iterator[str]:
    """A row for each network: the errors of MMdnn's code and of DIANNA's map."""
    both = [held.get(kind, {}).get("errors", {}) for kind in ("mmdnn", "dianna")]
    for name in MODELS:
        cells = [f"{one[name]:.0e}" if name in one else "" for one in both]
        yield f"| {name} | {' | '.join(cells)} |"
    versions = [held.get(kind, {}).get("versions", "") for kind in ("mmdnn", "dianna")]
    yield f"| with | {' | '.join(versions)} |"


def openvx_line(found: dict[str, Any] | None) -> str:
    """What a real implementation answered."""
    if not found:
        return "It was never tried against a real one."
    logits, maps = (max(found[kind].values()) for kind in ("errors", "maps"))
    return (
        f"Tried against {found['versions']}: of {', '.join(found['errors'])} the logits differ by "
        f"at most {logits:.1e} of the largest, occlusion's heatmaps by {maps:.1e}."
    )


def network_of(architecture: Any) -> nn.Module:  # noqa: ANN401
    """Seeded weights, and statistics of batch norm that are not the start's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = architecture.build(3, SHAPE[2:], len(CLASSES)).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                assert module.running_var is not None
                nn.init.normal_(module.running_mean, 0, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def ours() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Networks of ours, with pictures."""
    images = torch.rand(3, *SHAPE[1:], generator=torch.Generator().manual_seed(1))
    return {name: (network_of(architecture), images) for name, architecture in MODELS.items()}


def trips(networks: Mapping[str, tuple[nn.Module, torch.Tensor]]) -> Iterator[str]:
    """A row for each network and format."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (network, images) in networks.items():
            shape = (1, *images.shape[1:])
            made = partial(exporting.exported, network, images, Card(classes=CLASSES))
            model = made().model
            ways: dict[str, tuple[Path, Callable[[Path], Any]]] = {
                "ONNX": (
                    Path(folder, "net.onnx"),
                    lambda path, made=made: exporting.write(made(), path),
                ),
                "NNEF": (Path(folder, "nnef"), partial(nnef.write, model, shape=shape)),
                "MMdnn": (Path(folder, "net.pb"), partial(mmdnn.write, model, shape=shape)),
            }
            for kind, (path, write) in ways.items():
                yield f"| {name} | {kind} | {trip(network, images, name, path, write)} |"
                print(name, kind, flush=True)


def trip(
    network: nn.Module, images: torch.Tensor, name: str, path: Path, write: Callable[[Path], Any]
) -> str:
    """One way out and in again, in words of a row."""
    start = time.process_time()
    try:
        write(path)
        between = time.process_time()
        back = opening.opened(path)
    except InputError as error:
        return f"refused: {str(error).partition(';')[0]} | | | | "
    end = time.process_time()
    with torch.no_grad():
        logits = importing.difference(back.network(images), network(images))
    rule = "attn_lrp" if name == "vit" else "lrp"
    one, other = (xe.explain(n, images, rule, targets=1)[rule] for n in (network, back.network))
    relevance = float((one - other).abs().max() / one.abs().max())
    size = sum(one.stat().st_size for one in opening.files(path)) / 1e6
    notes = "; ".join(back.notes) or "nothing"
    seconds = f"{between - start:.2f} + {end - between:.2f}"
    return f"{logits:.0e} | {relevance:.0e} | {size:.2f} | {seconds} | {notes}"


def operators() -> tuple[str, str]:
    """How many cases of ONNX's suite are right, refused and wrong, and a table of the refused."""
    verdicts, rows = Counter[str](), Counter[tuple[str, str]]()
    for case in load_model_tests(kind="node"):
        result = judged(case)
        verdicts[result.verdict] += 1
        if result.verdict == "wrong":
            print("WRONG", case.name, result.why)
        if result.verdict == "refused":
            rows[reason(result.why)] += 1
    total = sum(verdicts.values())
    print(dict(verdicts))
    said = (
        f"Of its {total:,} cases {verdicts['right']} are right, {verdicts['refused']} are refused "
        f"by the operator's name, **{verdicts['wrong']} are wrong**."
    )
    table = io.StringIO()
    for (operator, why), many in sorted(rows.items()):
        table.write(f"| {operator} | {many} | {why} |\n")
    return said, table.getvalue().rstrip()


def reason(line: str) -> tuple[str, str]:
    """The operator and the reason in a line that refuses."""
    head, _, rest = line.removeprefix("onnx: got ").partition(" (version")
    if rest:
        why = rest.partition("): ")[2].rpartition("; allowed")[0]
        return head, " ".join(why.partition("(")[0].split()).replace("|", "/")
    said = line.partition("; allowed")[0].removeprefix("onnx: got ")
    return "values", said[:60].replace("|", "/")


if __name__ == "__main__":
    main()
