"""Which format a path is of, what files belong to it, and the network in it."""

from pathlib import Path

from xai_exp.config import InputError
from xai_exp.formats.mmdnn import reading as mmdnn
from xai_exp.formats.nnef import reading as nnef
from xai_exp.formats.onnx import importing, reading
from xai_exp.formats.onnx.importing import Loaded


def opened(path: str | Path) -> Loaded:
    """The network in a file or folder of any format that is known.

    Raises:
        InputError: for another format, or a file that can't be used.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise InputError(f"model.path: got {path}, which is no file; allowed: a network's file")
    if place.suffix.lower() == ".onnx":
        return importing.load(place)
    if place.is_dir() or place.name == "graph.nnef":
        return importing.of_model(nnef.model_of(place), str(path))
    if place.suffix.lower() == ".pb":
        return importing.of_model(mmdnn.model_of(place), str(path))
    raise InputError(
        f"model.path: got {path}; allowed: NAME.onnx, a folder with graph.nnef, NAME.pb of MMdnn, "
        "or a file of torch.export.save or torch.jit.save (model=program)"
    )


def files(path: Path) -> list[Path]:
    """The files whose content decides what a network is.

    Raises:
        InputError: for what is no file, or numbers outside its folder.
    """
    if path.suffix.lower() == ".onnx":
        return [path, *reading.beside(path)]
    if path.is_dir() or path.name == "graph.nnef":
        return nnef.files(path)
    return mmdnn.files(path) if path.suffix.lower() == ".pb" else [path]
