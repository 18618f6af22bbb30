"""Networks that bring their own steps in a file of torch: exported programs and TorchScript.

An exported program (`torch.export.save`) is torch's own functions as they were called. A script
(`torch.jit.save`) hides its steps; it is written out as an ONNX graph and read back as torch's
functions, which is used where it answers as the script does.
"""

import copy
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.errors import in_a_line
from xai_exp.formats import exporting
from xai_exp.formats.onnx import importing, reading
from xai_exp.formats.onnx.importing import MOST_ERROR, SIZES, Entry, difference
from xai_exp.formats.programs.readable import readable

_log = logging.getLogger(__name__)
Kind = Literal["exported", "scripted"]
Answers = list[tuple[Tensor, list[Tensor]]]  # pictures and all tensors that they are answered
_COLOURS = (1, 3, 4)
_aten = torch.ops.aten
_SHAPED = (_aten.view.default, _aten.reshape.default)
_ENDS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "": lambda logits: logits,
    "softmax": partial(torch.softmax, dim=1),
    "log-softmax": partial(torch.log_softmax, dim=1),
    "sigmoid": torch.sigmoid,
}
_ALLOWED = (
    "a file of torch.export.save (NAME.pt2) or torch.jit.save; weights alone are "
    "model=file with model.path and model.factory"
)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A network of a file.

    Args:
        network: from pictures (batch, channel, height, width) to logits.
        size: height and width of its pictures; None: any, or not known.
        channels: of its pictures; None: not known.
        notes: what was changed, a line each.
        end: the function at the end of its script that was cut; empty: none was.
    """

    network: nn.Module
    end: str = ""
    size: tuple[int, int] | None = None
    channels: int | None = None
    notes: tuple[str, ...] = ()


def kind(path: str | Path) -> Kind | None:
    """Which of the two a file is, by what is in it; None for another."""
    try:
        with zipfile.ZipFile(Path(path).expanduser()) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return None
    if names & {"archive_format", "serialized_exported_program.json"}:
        return "exported"
    return "scripted" if "constants.pkl" in names else None


def opened(path: str | Path) -> Program:
    """The network in a file of either kind.

    Raises:
        InputError: in one line, for another file, or a program of other inputs than pictures.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise InputError(f"model.path: got {path}, which is no file; allowed: {_ALLOWED}")
    found = kind(place)
    if found is None:
        raise InputError(f"model.path: got {path}, which is no program; allowed: {_ALLOWED}")
    with _quiet():
        try:
            if found == "scripted":
                return Program(network=torch.jit.load(place, map_location="cpu").eval())
            held = torch.export.load(place).module()
        except Exception as error:
            why = in_a_line(error)[:160]
            raise InputError(
                f"model.path: got {path}, which torch {torch.__version__} can't open ({why}); "
                f"allowed: {_ALLOWED}"
            ) from error
    assert isinstance(held, fx.GraphModule)
    return of_program(held, str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's own words, which come with a trace before the error that is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def is_exported(module: fx.GraphModule) -> bool:
    """Whether a graph is a program's, which says what it was made for."""
    return any(node.op == "placeholder" and "val" in node.meta for node in module.graph.nodes)


def of_program(module: fx.GraphModule, where: str) -> Program:
    """A program's module for any number of pictures, channels first, its layers by their names.

    Raises:
        InputError: for other inputs than pictures.
    """
    module = copy.copy(module)  # the one of a program can't be set to evaluation
    shape = _input_shape(module, where)
    count, *rest = shape
    last = rest[0] not in _COLOURS and rest[2] in _COLOURS
    height, width, channels = rest if last else (rest[1], rest[2], rest[0])
    answers = _asked(module, shape)
    module, network = _rewritten(module, answers, count)
    single = count is not None and network is module
    lone = all(len(answer) == 1 for _, answer in answers)
    if single and (count != 1 or not lone):
        raise InputError(
            f"program: got {where}, which takes {count} pictures at a time and no other number; "
            "allowed: one or any number (dynamic_shapes of torch.export)"
        )
    if last and not lone:
        raise InputError(
            f"program: got {where}, which gives more than logits; allowed: logits alone, where "
            "pictures have their channels last"
        )
    notes = ["pictures are turned to channels last in front of it"] if last else []
    notes += ["it takes one picture at a time"] if single else []
    return Program(
        network=Entry(network, last, single) if last or single else network,
        size=None if height is None or width is None else (height, width),
        channels=channels,
        notes=tuple(notes),
    )


def _rewritten(
    module: fx.GraphModule, answers: Answers, count: int | None
) -> tuple[fx.GraphModule, fx.GraphModule]:
    """The program in usual words, and for any number of pictures, if both answer as it does."""
    try:
        made = readable(module)
    except Exception as error:  # a graph that nobody has thought of is used as it is
        _log.debug("a program stays as it is: %s", in_a_line(error))
        made = module
    if not answers or any(not _near(made, *each) for each in answers):
        made = module
    if count is None or not answers:
        return made, made
    pictures = torch.cat([given for given, _ in answers])
    wanted = [torch.cat(both) for both in zip(*(answer for _, answer in answers), strict=True)]
    many = _free(made, count)
    alone = [one[-1:] for one in wanted]
    same = _near(many, pictures, wanted) and _near(many, pictures[-1:], alone)
    return made, many if same else made


def _near(network: nn.Module, pictures: Tensor, wanted: list[Tensor]) -> bool:
    try:
        found = _tensors(network, pictures)
    except (RuntimeError, ValueError, IndexError, AssertionError):
        return False
    same = len(found) == len(wanted)
    return same and all(difference(*pair) <= MOST_ERROR for pair in zip(found, wanted, strict=True))


def _tensors(network: nn.Module, pictures: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [one for one in tree_leaves(network(pictures)) if isinstance(one, Tensor)]


def _input_shape(module: fx.GraphModule, where: str) -> list[int | None]:
    """How many pictures a program takes and their axes; None for any number."""
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    values = [node.meta.get("val") for node in inputs]
    if len(values) != 1 or not isinstance(values[0], Tensor) or values[0].dim() != 4:
        said = "; ".join(f"{node.name} {tuple(getattr(node.meta.get('val'), 'shape', ()))}"
                         for node in inputs[:3])  # fmt: skip
        raise InputError(
            f"program: got {where} with the inputs {said or 'none'}; allowed: one, pictures of "
            "four axes"
        )
    if not values[0].is_floating_point():
        raise InputError(
            f"program: got {where} for pictures of type {values[0].dtype}; allowed: floats"
        )
    return [axis if isinstance(axis, int) else None for axis in values[0].shape]


def _asked(module: fx.GraphModule, shape: list[int | None]) -> Answers:
    """Random pictures twice, of the first size that it takes, and its answers."""
    drawn = torch.Generator().manual_seed(0)
    entry = next(node for node in module.graph.nodes if node.op == "placeholder")
    for side in SIZES:
        sizes = [shape[0] or 2, *(one or side for one in shape[1:])]
        both = [torch.rand(sizes, generator=drawn).to(entry.meta["val"].dtype) for _ in range(2)]
        with suppress(RuntimeError, ValueError, AssertionError):
            return [(pictures, _tensors(module, pictures)) for pictures in both]
    return []


def _free(module: fx.GraphModule, count: int) -> fx.GraphModule:
    """The program without what holds the number of pictures fast."""
    module = copy.deepcopy(module)
    graph = module.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph.erase_node(node)
    entry = next(node for node in graph.nodes if node.op == "placeholder")
    with graph.inserting_after(entry):
        many = graph.call_function(_aten.sym_size.int, (entry, 0))
    for node in graph.nodes:
        shape = list(node.args[1]) if node.target in (*_SHAPED, _aten.expand.default) else []
        if node.target in _SHAPED and shape and -1 not in shape:
            node.args = (node.args[0], [-1, *shape[1:]])  # pictures times places, too
        elif shape and shape[0] == count:
            node.args = (node.args[0], [many, *shape[1:]], *node.args[2:])
    graph.lint()
    module.recompile()
    return module


def rebuilt(network: torch.jit.ScriptModule, images: Tensor) -> Program:
    """A script as torch's own functions, which every explainer sees, or else as it is.

    Args:
        network: the script, which was loaded, scripted or traced.
        images: those it is asked with, as it gets them.
    """
    try:
        model = exporting.exported(network, images).model
        end = reading.without_end(model)
        loaded = importing.of_model(model, "a script")
        if not loaded.converted:
            raise InputError(loaded.notes[-1])
        ours = loaded.network.to(images.device)
        error = apart(Program(network=ours, end=end), network, images)
        if not error <= MOST_ERROR:
            raise InputError(f"what was read back differs by {error:.1g} of the largest logit")
    except InputError as error:
        why = f"it stays a script, whose layers can't be seen: {error}"
        return Program(network=network, notes=(why,))
    notes = [f"the script was written out as torch's functions (it differs by {error:.0e})"]
    notes += [f"a {end} at its end is cut: what is explained are its logits"] if end else []
    return Program(network=ours, end=end, notes=(*notes, *loaded.notes))


def apart(program: Program, script: nn.Module, images: Tensor) -> float:
    """The largest difference of a program to the script that it was, as a share of the largest."""
    with ops.evaluating(script), torch.no_grad():
        return difference(_ENDS[program.end](program.network(images)), script(images))
