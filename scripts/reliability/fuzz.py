"""Command lines that the schema suggests, and files that are damaged: `make fuzz`.

Hypothesis draws overrides from the composed configuration's own keys and groups; each command ends
well, or with one line and exit code 1: never with a traceback, and never by hanging. Damaged files
(pictures, IDX, weights, archives of heatmaps, tables, the database) end likewise.
"""

import argparse
import gzip
import json
import random
import shutil
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hydra import compose, initialize_config_dir
from hypothesis import strategies
from omegaconf import OmegaConf
from PIL import Image

from scripts.reliability.forks import Ended, ended, prepared

CONF = Path(__file__).resolve().parents[2] / "conf"
BASE = (
    *("dataset=digits", "explainer=gradient", "metric=sparseness", "images=4"),
    *("trainer.max_epochs=1", "model.width=2", "model.depth=1", "model.hidden=4"),
)
_UNCHECKED: Any = list(hypothesis.HealthCheck)
_LIMIT = 300.0  # seconds after which a command is taken to hang
_VALUES = (
    *("-1", "0", "1", "2", "3", "0.5", "1e-9", "1e9", "9" * 30, "nan", "inf", "-inf", "1e999"),
    *("null", "true", "false", "[]", "{}", "[1,2]", "[nan]", "{a:1}", "''", "x", "auto", "é", "★"),
    *(
        "../../x",
        "/dev/null",
        "/dev/full",
        "/proc/self/mem",
        "a b",
        "'a b'",
        "<b>",
        "'<b>'",
        "$(ls)",
    ),
    *("${seed}", "${nowhere}", "${oc.env:HOME}", "choice(1,2)", "range(3)", "[", "{", "\\", '"'),
)
_MANGLED = ("", "+", "++", "~")
_LOOSE = (
    "-m",
    "-c",
    "--cfg",
    "job",
    "--info",
    "-x",
    "--",
    "=",
    "a=",
    "=a",
    "@",
    "dataset@x=digits",
)
_LONG = frozenset(
    {
        *("trainer.max_epochs", "trainer.samples", "trainer.processes"),
        *("images", "metric.sparseness"),
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try command lines and damaged files; exit code 1 if one ended otherwise than it may."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--lines", type=int, default=1000, help="command lines")
    words.add_argument("--files", type=int, default=300, help="damaged files")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--out", type=Path, help="a JSON file for the numbers")
    given = words.parse_args(arguments)
    prepared()
    with tempfile.TemporaryDirectory() as folder:
        lines = fuzzed(Path(folder) / "lines", given.lines, given.seed)
        print(json.dumps(lines, ensure_ascii=False), flush=True)
        files = damaged(Path(folder) / "files", given.files, given.seed)
        print(json.dumps(files, ensure_ascii=False), flush=True)
    if given.out:
        told = {"seed": given.seed, "lines": lines, "files": files}
        given.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return int(bool(lines["wrong"] or files["wrong"]))


def verdict(done: Ended) -> str:
    """How a command ended: well, with one line, or as none may."""
    if done.code == -9:
        return "hangs"
    if "Traceback" in done.err or "Traceback" in done.out:
        return "traceback"
    if done.code == 0:
        return "ends well"
    lines = done.err.strip().splitlines()
    said = [line for line in lines if line.startswith("error: ")]
    if done.code == 1 and len(said) == 1 and lines[-1] == said[0]:
        return "one line" if "allowed" in said[0] or "as said above" in said[0] else "a bare line"
    return f"exit code {done.code}"


ALLOWED = ("ends well", "one line")


def fuzzed(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """So many generated command lines: how they ended, and those that ended wrongly."""
    folder.mkdir(parents=True)
    counted: Counter[str] = Counter()
    wrong: list[str] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=_UNCHECKED,
    )
    @hypothesis.given(command_lines())
    def attempt(words: list[str]) -> None:
        done = ended([*BASE, "tracking=off", *words], folder, limit=_LIMIT)
        found = verdict(done)
        counted[found] += 1
        if found not in ALLOWED:
            last = (done.err.strip().splitlines() or [""])[-1][:200]
            wrong.append(f"{' '.join(words)} -> {found}: {last}")

    attempt()
    return {"tried": sum(counted.values()), "ended": dict(counted.most_common()), "wrong": wrong}


def command_lines() -> strategies.SearchStrategy[list[str]]:
    """One to three words: keys of the schema or near them, choices of groups, loose words."""
    keys, groups = _schema()
    key = strategies.sampled_from([one for one in keys if one not in _LONG])
    near = strategies.builds(_mistyped, key, strategies.integers(0, 1 << 16))
    value = strategies.sampled_from(_VALUES) | strategies.text(max_size=8).filter(_sendable)
    override = strategies.builds(
        lambda sign, name, what: f"{sign}{name}={what}",
        strategies.sampled_from(_MANGLED),
        key | near,
        value,
    )
    choices = [(name, one) for name, several in groups.items() for one in several]
    choice = strategies.sampled_from(choices).map("=".join)
    several = strategies.lists(strategies.sampled_from(choices), min_size=2, max_size=3).map(
        lambda pairs: f"{pairs[0][0]}=[{','.join(one for _, one in pairs)}]"
    )
    odd = strategies.builds(
        lambda name, what: f"{name}={what}", strategies.sampled_from(sorted(groups)), value
    )
    word = override | override | choice | several | odd | strategies.sampled_from(_LOOSE)
    return strategies.lists(word, min_size=1, max_size=3)


def _sendable(text: str) -> bool:
    """Whether a shell could give this word to a command."""
    return "\0" not in text and text.isprintable()


def _schema() -> tuple[list[str], dict[str, list[str]]]:
    """The keys of the composed configuration, and the choices of each group that are quick."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", list(BASE)))
    wanted = {
        "dataset": ["digits", "image_folder", "logic", "mnist"],
        "model": ["cnn", "mlp", "lenet5", "resnet18", "vit", "file"],
        "metric": ["sparseness", "relevance_mass", "pixel_flipping", "complexity"],
        "explainer": ["gradient", "sobel", "lrp", "exact_mask", "attn_lrp", "grad_cam", "random"],
        "imputer": ["noise"],
        "tracking": ["off", "mlflow"],
        "trainer": ["default", "quick"],
    }
    there = {name: [one.stem for one in (CONF / name).glob("*.yaml")] for name in wanted}
    return list(_leaves(config)), {
        name: [one for one in several if one in there[name]] for name, several in wanted.items()
    }


def _leaves(node: Any, path: str = "") -> Sequence[str]:  # noqa: ANN401
    if not isinstance(node, Mapping):
        return [path]
    return [
        leaf for name, one in node.items() for leaf in _leaves(one, f"{path}.{name}".strip("."))
    ]


def _mistyped(key: str, drawn: int) -> str:
    """A key with one letter lost, doubled or swapped."""
    place = drawn % len(key)
    return (key[:place] + key[place + 1 :], key[: place + 1] + key[place:])[drawn // 256 % 2]


def damaged(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """So many damaged files, of each kind in turn: how what reads them ended."""
    kinds = tuple(_KINDS)
    counted: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    wrong = []
    stores: dict[str, Path] = {}
    for number in range(count):
        kind = kinds[number % len(kinds)]
        make, command, pattern = _KINDS[kind]
        if make.__name__ not in stores:
            stores[make.__name__] = folder / make.__name__
            stores[make.__name__].mkdir(parents=True)
            make(stores[make.__name__])
        place = folder / "now"
        shutil.copytree(stores[make.__name__], place)
        drawn = random.Random(f"{seed} {number}")
        victim = drawn.choice(sorted(place.rglob(pattern)))
        how, content = spoilt(victim.read_bytes(), drawn)
        victim.write_bytes(content)
        done = ended(command, place, limit=_LIMIT)
        found = verdict(done)
        counted[kind][found] += 1
        if found not in ALLOWED:
            last = (done.err.strip().splitlines() or [""])[-1][:200]
            wrong.append(f"{kind}: {victim.name} {how} -> {found}: {last}")
        shutil.rmtree(place)
    return {"tried": count, "ended": {k: dict(c) for k, c in counted.items()}, "wrong": wrong}


def spoilt(content: bytes, drawn: random.Random) -> tuple[str, bytes]:
    """A file's content, damaged in one of five ways."""
    how = drawn.choice(["cut", "emptied", "bits flipped", "zeros written", "bytes put in"])
    place, length = drawn.randrange(max(1, len(content))), drawn.randrange(1, 64)
    noise = drawn.randbytes(length)
    changed = {
        "cut": content[:place],
        "emptied": b"",
        "bits flipped": _flipped(content, drawn),
        "zeros written": content[:place] + bytes(length) + content[place + length :],
        "bytes put in": content[:place] + noise + content[place:],
    }
    return f"{how} (at {place})", changed[how]


def _flipped(content: bytes, drawn: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(drawn.randrange(1, 8)):
        changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
    return bytes(changed)


def _pictures(folder: Path) -> None:
    pixels = np.random.default_rng(0)
    for name, end in (("a", "png"), ("b", "jpg"), ("c", "bmp"), ("d", "tif"), ("e", "gif")):
        for number in range(6):
            path = folder / "pictures" / name / f"{number}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.integers(0, 256, (16, 16), np.uint8)).save(path)


def _idx(folder: Path) -> None:
    for part, count in (("train", 80), ("t10k", 20)):
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            head = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
            size = int(np.prod(shape))
            values = bytes(number % (10 if len(shape) == 1 else 251) for number in range(size))
            path = folder / "idx" / f"{part}-{kind}-ubyte"
            path.parent.mkdir(exist_ok=True)
            packed = part == "train"
            path = path.with_name(path.name + ".gz") if packed else path
            path.write_bytes(gzip.compress(head + values) if packed else head + values)


def _store(folder: Path) -> None:
    done = ended(BASE, folder)
    assert done.code == 0, done.err


_SMALL = (*BASE[1:4], "trainer.max_epochs=1", "model=mlp", "tracking=off")
_FOLDER = ("dataset=image_folder", "dataset.root=pictures", *_SMALL)
_MNIST = ("dataset=mnist", "dataset.root=idx", "dataset.download=false", *_SMALL)
_KINDS: Mapping[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "pictures": (_pictures, _FOLDER, "pictures/*/*"),
    "IDX files": (_idx, _MNIST, "idx/*"),
    "weights": (_store, BASE, "models/*/model.pt"),
    "results of training": (_store, BASE, "models/*/*.json"),
    "heatmaps.npz": (_store, BASE, "heatmaps.npz"),
    "scores.parquet": (_store, BASE, "scores.parquet"),
    "what a report reads": (_store, ("report", "--name", "page"), "artifacts/*/artifacts/*.*"),
    "the database": (_store, BASE, "mlflow.db"),
}


if __name__ == "__main__":
    sys.exit(main())
