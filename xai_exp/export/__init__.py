"""A dataset as files that others can use: `python -m xai_exp.export dataset=counting out=FOLDER`.

Pictures in folders by split and class, as torchvision's ImageFolder and `datasets` read them, masks
of every part, the exact parameters of every scene, a table of all images, a datasheet, Croissant
metadata and sums. The same configuration gives the same bytes.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from xai_exp.config import InputError, config_folder, refuse_empty

_OWN = ("out", "limit")


def export(arguments: Sequence[str]) -> Path:
    """Write the dataset that the arguments compose, and return its folder.

    Args:
        arguments: `dataset=NAME` and any `dataset.KEY=VALUE`; `out=FOLDER`, a new one;
            `limit=N`, the most images of each split.

    Raises:
        InputError: for other words, or a folder that is there.
    """
    words = [word.partition("=") for word in arguments]
    given = {key: value for key, _, value in words if key in _OWN}
    strange = [key for key, _, _ in words if key.partition(".")[0] not in (*_OWN, "dataset")]
    if strange or "out" not in given:
        raise InputError(
            f"export: got {strange[0] if strange else 'no out=FOLDER'}; allowed: dataset=NAME "
            "dataset.KEY=VALUE out=FOLDER limit=N, or a network: python -m xai_exp export "
            "dataset=... model=... --out net.onnx"
        )
    limit = _limit(given.get("limit"))
    refuse_empty("out", given["out"])
    out = Path(given["out"]).expanduser()
    if out.exists():
        raise InputError(f"out: got {out}, which is there; allowed: a new folder")
    return _written([word for word in arguments if word.partition("=")[0] not in _OWN], out, limit)


def _limit(given: str | None) -> int | None:
    if given is None:
        return None
    if not given.isdigit() or not int(given):
        raise InputError(f"limit: got {given}; allowed: a whole number >= 1")
    return int(given)


def _written(chosen: Sequence[str], out: Path, limit: int | None) -> Path:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from xai_exp import trust
    from xai_exp.export import files
    from xai_exp.export.told import Told

    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", list(chosen), return_hydra_config=True)
    name = str(config.hydra.runtime.choices["dataset"])
    data = instantiate(trust.checked(config.dataset, "dataset"), _convert_="all")
    plain = OmegaConf.to_container(config.dataset, resolve=True)
    told = Told(
        name=name,
        settings={str(k): v for k, v in dict(plain).items()},  # pyright: ignore
        command=" ".join(["python -m xai_exp.export", *chosen, *_again(limit), "out=FOLDER"]),
    )
    # Beside its place and then moved there: a folder is there whole or not at all.
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        files.write(data, told, part, limit)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    sys.stdout.write(f"written: {out}; what it is: {out / 'README.md'}\n")
    return out


def _again(limit: int | None) -> list[str]:
    return [] if limit is None else [f"limit={limit}"]
