"""Measure programs of torch: heatmaps of a network read from a file against those of the network.

`python scripts/formats_programs.py` (ten minutes) keeps the numbers beside those of formats_page.py
and writes docs/formats.md.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import formats_page as page
import torch
import torchvision
from torch import Tensor, nn

import xai_exp as xe
from xai_exp.config import InputError
from xai_exp.formats.onnx.importing import difference
from xai_exp.models.exchanged.torch_program import Program

NETWORKS = (
    "resnet18", "squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "convnext_tiny",
    "swin_t",
)  # fmt: skip
METHODS = (
    "gradient", "integrated_gradients", "grad_cam", "full_grad", "guided_backprop", "deeplift",
    "lrp", "lrp_gamma", "attn_lrp", "excitation_backprop",
)  # fmt: skip
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def export(network: nn.Module, path: str, *, count: int, free: bool, core: bool) -> None:
    """An exported program, for a number of pictures or for any, taken apart or not."""
    shapes = ({0: torch.export.Dim("pictures")},) if free else None
    made = torch.export.export(network, (IMAGES[:count],), dynamic_shapes=shapes)
    torch.export.save(made.run_decompositions() if core else made, path)


def script(network: nn.Module, path: str, *, make: Callable[[nn.Module], Any]) -> None:
    """A script."""
    torch.jit.save(make(network), path)  # pyright: ignore[reportArgumentType]


WAYS: Mapping[str, Callable[[nn.Module, str], None]] = {
    "exported for one picture": partial(export, count=1, free=False, core=False),
    "exported for any number": partial(export, count=2, free=True, core=False),
    "and taken apart": partial(export, count=2, free=True, core=True),
    "traced": partial(script, make=partial(torch.jit.trace, example_inputs=IMAGES)),
    "scripted": partial(script, make=torch.jit.script),
}


def maps(network: nn.Module) -> dict[str, Tensor]:
    """The heatmaps of the methods that explain a network."""
    found = {}
    for name in METHODS:
        try:
            found[name] = xe.explain(network, IMAGES, name)[name]
        except InputError:
            continue
    return found


def rows() -> Iterator[str]:
    """A row for each network and way."""
    for name in NETWORKS:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = torchvision.models.get_model(name).eval()
        expected = maps(network)
        for way, write in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "net.pt")
                try:
                    write(network, path)
                    read = Program(path=path).build(3, (64, 64), 1000)
                except Exception as error:
                    yield f"| {name} | {way} | refused: {' '.join(str(error).split())[:120]} | | |"
                    continue
            yield f"| {name} | {way} | {row(network, read, expected)} |"


def row(network: nn.Module, read: nn.Module, expected: Mapping[str, Tensor]) -> str:
    """The errors of logits and heatmaps, and which methods are refused now."""
    with torch.no_grad():
        logits = difference(read(IMAGES), network(IMAGES))
    found = maps(read)
    apart = [difference(found[one], expected[one]) for one in found if one in expected]
    lost = [one for one in expected if one not in found]
    most = f"{max(apart):.0e}"
    return f"{logits:.0e} | {len(apart)} | {most} | {', '.join(lost)}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    made = []
    for one in rows():
        print(one, flush=True)
        made.append(one)
    page.kept(programs=made)
    page.written()
