"""Our files in others' hands: MMdnn's own emitter, DIANNA's RISE, an OpenVX implementation.

    formats_peers.py mmdnn PYTHON     PYTHON has MMdnn: it writes code from our files, which is run
    formats_peers.py dianna PYTHON    PYTHON has DIANNA: it explains our ONNX file by our masks
    formats_peers.py openvx LIBRARY   an implementation with the NNEF import extension

`make peers` makes the environments. What is measured goes into formats.json, of which
scripts/formats_page.py makes the page.
"""

import copy
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import formats_page as page
import numpy as np
import torch
from torch import Tensor, nn

import xai_exp as xe
from xai_exp.explainers.perturbation import RISE
from xai_exp.formats import exporting, openvx
from xai_exp.formats.card import Card
from xai_exp.formats.mmdnn import writing as mmdnn
from xai_exp.formats.nnef import writing as nnef
from xai_exp.formats.onnx.importing import difference
from xai_exp.removal import Constant

EMITTING = """
import importlib.metadata as m, sys
from mmdnn.conversion.pytorch.pytorch_emitter import PytorchEmitter
graph, weights, code, numbers = sys.argv[1:]
PytorchEmitter((graph, weights)).run(code, numbers)
print()
print(*(f"{name} {m.version(name)}" for name in ("mmdnn", "protobuf", "numpy")), sep=", ")
"""
EXPLAINING = """
import importlib.metadata as m, sys
import numpy as np
from dianna.methods import rise_image
given = np.load(sys.argv[1])
rise_image.generate_interpolated_float_masks_for_image = lambda *_: given["masks"][..., None]
method = rise_image.RISEImage(
    n_masks=len(given["masks"]), p_keep=float(given["keep"]), axis_labels={0: "channels"}
)
np.save(sys.argv[3], method.explain(sys.argv[2], given["picture"], list(given["labels"])))
print()
print(*(f"{name} {m.version(name)}" for name in ("dianna", "onnxruntime", "numpy")), sep=", ")
"""
KEEP, MASKS = 0.5, 256


def main() -> None:
    """Measure one of them, and write the page."""
    kind, place = sys.argv[1:]
    measure: Callable[[str, Path], dict[str, Any]] = {
        "mmdnn": emitted, "dianna": explained, "openvx": run,
    }[kind]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        page.kept(**{kind: measure(place, Path(folder))})
    page.written()


def asked(python: str, code: str, *arguments: str | Path) -> str:
    """What another environment does; its last line, which tells its versions."""
    command = [python, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{python} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout.strip().splitlines()[-1]


def models() -> dict[str, tuple[nn.Module, Any]]:
    """Networks with their ONNX models; NNEF and MMdnn lack the vit's operators."""
    found = {}
    for name in ("cnn", "lenet5", "vgg", "resnet18"):
        network = page.network_of(page.MODELS[name])
        found[name] = (
            network,
            exporting.exported(network, images(), Card(classes=page.CLASSES)).model,
        )
    return found


def images() -> Tensor:
    """Three pictures."""
    return torch.rand(3, *page.SHAPE[1:], generator=torch.Generator().manual_seed(1))


def emitted(python: str, folder: Path) -> dict[str, Any]:
    """By how much the logits of MMdnn's code differ from ours."""
    errors, versions = {}, ""
    for name, (network, model) in models().items():
        graph, code, numbers = (folder / f"{name}{end}" for end in (".pb", ".py", ".code.npy"))
        mmdnn.write(model, graph, page.SHAPE)
        versions = asked(python, EMITTING, graph, graph.with_suffix(".npy"), code, numbers)
        spec = importlib.util.spec_from_file_location(name, code)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        theirs = module.KitModel(str(numbers)).eval()
        with torch.no_grad():
            errors[name] = difference(theirs(images()), network(images()))
    return {"versions": versions, "errors": errors}


class Watched(nn.Module):
    """A network that remembers what it was asked with."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, list[Tensor]()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Watched":
        """A copy that remembers in the same place."""
        same = Watched(copy.deepcopy(self.network, memo))
        same.seen = self.seen
        return same

    def forward(self, images: Tensor) -> Tensor:
        """The network's answer."""
        self.seen.append(images.detach().clone())
        return self.network(images)


def explained(python: str, folder: Path) -> dict[str, Any]:
    """By how much DIANNA's map differs from ours, under the masks that ours has drawn.

    Masks are found where they act: what the network is asked with, over the picture.
    """
    errors, versions = {}, ""
    picture = 0.2 + 0.8 * images()[:1]
    for name, architecture in page.MODELS.items():
        network = page.network_of(architecture)
        exporting.export(network, picture.repeat(2, 1, 1, 1), folder / "net.onnx")
        apart = []
        for target in range(2):
            watched = Watched(network)
            rise = RISE(imputer=Constant(value=0), masks=MASKS, cells=8, keep=KEEP, centred=False)
            ours = xe.explain(watched, picture, {"rise": rise}, targets=target, value="logit")
            masks = (torch.cat(watched.seen)[-MASKS:] / picture)[:, 0].numpy()
            np.savez(
                folder / "given.npz", masks=masks, keep=KEEP, picture=picture[0].numpy(),
                labels=[target],
            )  # fmt: skip
            versions = asked(
                python, EXPLAINING, folder / "given.npz", folder / "net.onnx", folder / "m.npy"
            )
            theirs = torch.from_numpy(np.load(folder / "m.npy"))[0]
            apart.append(difference(ours["rise"][0], theirs))
        errors[name] = max(apart)
    return {"versions": versions, "errors": errors}


def run(library: str, folder: Path) -> dict[str, Any]:
    """By how much the logits and a heatmap of an OpenVX implementation differ from ours."""
    found, errors, maps, name_of = openvx.found(library), {}, {}, ""
    for name, (network, model) in models().items():
        nnef.write(model, folder / name, page.SHAPE)
        with openvx.Runner(found, folder / name, page.SHAPE, len(page.CLASSES)) as runner:
            name_of = runner.implementation
            theirs = openvx.OpenVX(runner)
            errors[name] = difference(theirs(images()), network(images()).detach())
            if name in ("cnn", "lenet5"):
                explain = partial(
                    xe.explain, images=images()[:1], explainers="occlusion", targets=1
                )
                one, other = (explain(net)["occlusion"] for net in (theirs, network))
                maps[name] = difference(one, other)
    return {"versions": name_of, "errors": errors, "maps": maps}


if __name__ == "__main__":
    main()
