"""What a reader brings along: pictures, a network of their own, answers of people."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

_MODULE = '''"""A network of one's own."""

from torch import nn


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 2),
    )
'''


def bring(command: str, folder: Path) -> None:
    """Make whatever the command names and the folder does not hold; answers are always new."""
    for word, (name, made) in MADE.items():
        if word in command and (made is _answers or not (folder / name).exists()):
            made(folder / name)


def _pictures(place: Path) -> None:
    """Two classes of squares and stripes, each picture with the mask of what is in it."""
    masks = place.parent / {"my_images": "my_masks", "slums": "masks"}.get(place.name, "no_masks")
    for label in ("one", "two"):
        (place / label).mkdir(parents=True)
        (masks / label).mkdir(parents=True, exist_ok=True)
    for number, (label, pixels, mask) in enumerate(_drawn()):
        Image.fromarray(pixels).save(place / label / f"{number % 60}.png")
        Image.fromarray(mask).save(masks / label / f"{number % 60}.png")


def _drawn() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Pixels and mask of sixty pictures of each class."""
    rng = np.random.default_rng(0)
    for label in ("one", "two"):
        for _ in range(60):
            pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            mask = np.zeros((32, 32), np.uint8)
            top, left = rng.integers(2, 20, 2)
            mask[top : top + 9, left : left + 9 : 1 if label == "one" else 2] = 255
            pixels[mask > 0] = 230
            yield label, pixels, mask


def _picture(place: Path) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(place)


def _network(place: Path) -> None:
    (place.parent / "package").mkdir(exist_ok=True)
    (place.parent / "package" / "module.py").write_text(_MODULE)
    space: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(_MODULE, space)
    torch.manual_seed(0)
    network = space["build"]()
    _taught(network)
    torch.save(network.state_dict(), place)


def _taught(network: torch.nn.Module) -> None:
    """A reader's own network has learnt something: these pictures."""
    drawn = list(_drawn())
    images = torch.from_numpy(np.stack([one for _, one, _ in drawn])).permute(0, 3, 1, 2) / 255
    labels = torch.tensor([label == "two" for label, _, _ in drawn]).long()
    steps = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(200):
        steps.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        steps.step()
    assert bool((network(images).argmax(1) == labels).all())


def _onnx(place: Path) -> None:
    space: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(_MODULE.replace("AdaptiveAvgPool2d(2)", "AvgPool2d(16)"), space)
    torch.manual_seed(0)
    example = (torch.zeros(1, 3, 32, 32),)
    torch.onnx.export(space["build"](), example, str(place), dynamo=False)


def _idx(place: Path) -> None:
    """MNIST's four files, of fewer digits."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    grown = np.kron(pixels.reshape(-1, 8, 8) * 15, np.ones((1, 3, 3)))
    images = np.pad(grown, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    place.mkdir()
    for name, part in (("train", slice(0, 1400)), ("t10k", slice(1400, None))):
        one, told = images[part], labels[part].astype(np.uint8)
        head = struct.pack(">IIII", 2051, len(one), 28, 28)
        (place / f"{name}-images-idx3-ubyte").write_bytes(head + one.tobytes())
        head = struct.pack(">II", 2049, len(told))
        (place / f"{name}-labels-idx1-ubyte").write_bytes(head + told.tobytes())


def _maps(place: Path) -> None:
    np.savez(place, heatmaps=np.random.default_rng(0).normal(size=(64, 8, 8)))


def _answers(place: Path) -> None:
    """Three people who answer the newest survey."""
    rng = np.random.default_rng(0)
    newest = max(place.parent.glob("reports/*.key.json"), key=lambda one: one.stat().st_mtime)
    key = json.loads(newest.read_text())
    place.mkdir(exist_ok=True)
    for rater in range(3):
        given = [
            {"item": name, "answer": str(rng.choice(item["choices"])), "seconds": 3.0}
            for name, item in key["items"].items()
        ]
        told = {"survey": key["survey"], "rater": f"r{rater}", "form": 0, "answers": given}
        (place / f"{rater}.json").write_text(json.dumps(told))


MADE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "my_images": ("my_images", _pictures),
    "=slums": ("slums", _pictures),
    "=pictures": ("pictures", _pictures),
    "picture.png": ("picture.png", _picture),
    "picture.tif": ("picture.tif", _picture),
    "net.pt": ("net.pt", _network),
    "path=net.onnx": ("net.onnx", _onnx),
    "folder_with_idx_files": ("folder_with_idx_files", _idx),
    "maps.npz": ("maps.npz", _maps),
    "answers/": ("answers", _answers),
}
