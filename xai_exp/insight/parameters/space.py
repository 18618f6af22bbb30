"""The scenes of a dataset and their parameters, of which any can be set."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.data.scenes.scene import Scene
from xai_exp.errors import unknown
from xai_exp.insight.parameters.changes import objects, with_objects
from xai_exp.insight.parameters.parameter import (
    Angle,
    Background,
    Contrast,
    Kind,
    Members,
    Number,
    ObjectGrey,
    Parameter,
    Place,
    Places,
    Size,
    Tag,
)
from xai_exp.types import Dataset, OfKinds

_SHAPES = {1: "discs", 3: "triangles", 4: "squares"}


@dataclass(frozen=True, kw_only=True)
class Space:
    """Scenes and their parameters, of which any can be set.

    Attributes:
        scene: the scenes, on the CPU.
        parameters: those that differ between the scenes.
    """

    scene: Scene
    parameters: tuple[Parameter, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names."""
        return tuple(one.name for one in self.parameters)

    def table(self) -> np.ndarray:
        """(scene, parameter) float64; NaN where a scene has no such value."""
        columns = [one.read(self.scene).double() for one in self.parameters]
        return torch.stack(columns, 1).numpy()

    def drawn(self, table: np.ndarray) -> Scene:
        """The scenes with the values of `table`; what is not changed stays bit for bit."""
        scene, before = self.scene, self.table()
        for column, parameter in enumerate(self.parameters):
            with np.errstate(invalid="ignore"):
                differs = ~np.isclose(table[:, column], before[:, column], rtol=0, atol=1e-9)
            rows = torch.from_numpy(differs & ~np.isnan(table[:, column])).nonzero()[:, 0]
            if len(rows):
                values = torch.from_numpy(table[:, column]).float()[rows]
                scene = _replaced(scene, rows, parameter.write(scene[rows], values))
        return scene

    def place(self, name: str) -> int:
        """The column of a parameter.

        Raises:
            InputError: for one that there is not.
        """
        if name not in self.names:
            raise InputError(unknown("parameter of these scenes", name, self.names))
        return self.names.index(name)

    def ordered(self) -> list[int]:
        """The columns whose values have an order."""
        return [place for place, one in enumerate(self.parameters) if one.ordered]


def _replaced(scene: Scene, rows: Tensor, part: Scene) -> Scene:
    """The scenes with some of them replaced; where those have more objects, all get the room."""
    mine, theirs = objects(scene), objects(part)
    more = theirs["sides"].shape[1] - mine["sides"].shape[1]
    for name, value in mine.items():
        empty = torch.zeros_like(value[:, :1]) if name == "sides" else value[:, :1]
        mine[name] = torch.cat([value, *[empty] * more], 1).clone()
        mine[name][rows] = theirs[name]
    whole = with_objects(scene, mine)
    for name in ("sides", "levels"):  # a tag is there or not, and is as grey as the objects
        getattr(whole, name)[rows] = getattr(part, name)
    background = scene.background.clone()
    background[rows] = part.background
    return dataclasses.replace(whole, background=background)


def space(data: Dataset, scene: object) -> Space:
    """The parameters of a dataset's scenes, those that differ between the ones given.

    Raises:
        InputError: for data without scenes of discs and polygons.
    """
    if not isinstance(scene, Scene):
        raise InputError(
            f"insight: got {type(data).__name__}, whose images have no scene parameters; allowed: "
            "rendered scenes of discs and polygons, such as dataset=counting or "
            "dataset=triangles_squares, or insight=block_permutation for any images"
        )
    scene = scene.to("cpu")
    if scene.stacked or scene.skin is not None:
        raise InputError(
            f"insight: got scenes of {type(data).__name__} with "
            f"{'objects that hide one another' if scene.stacked else 'a texture on objects'}; "
            "allowed: disjoint, uniform objects"
        )
    found = [*_of_objects(data, scene), *_of_greys(scene)]
    return Space(scene=scene, parameters=tuple(one for one in found if _varies(one, scene)))


def _varies(parameter: Parameter, scene: Scene) -> bool:
    values = parameter.read(scene)
    known = values[~values.isnan()]
    return len(known) > 1 and float(known.max() - known.min()) > 1e-6


def _of_objects(data: Dataset, scene: Scene) -> list[Parameter]:
    """Of what the objects are and where."""
    sides = objects(scene)["sides"]
    found: list[Parameter] = [Tag(name="tag")] if scene.tagged else []
    if sides.shape[1] == 1 and bool((sides > 0).all()):
        discs = bool((sides == 1).any())
        found += [Kind(name="kind", unit="corners"), Size(name="size", unit="pixels")]
        found += [Place(name="x", unit="pixels", axis=0), Place(name="y", unit="pixels", axis=1)]
        return found if discs else [*found, Angle(name="angle", unit="degrees")]
    found += _numbers(data, scene)
    return [*found, Size(name="size", unit="pixels"), Places(name="places")]


def _numbers(data: Dataset, scene: Scene) -> list[Parameter]:
    """How many objects there are, of each kind where kinds differ."""
    if isinstance(data, OfKinds):
        of_kind = {f"number of {name}": _kind(data, k) for k, name in enumerate(data.kind_names)}
    else:
        shapes = [int(one) for one in objects(scene)["sides"].unique() if one]
        named = {f"number of {_SHAPES.get(s, f'{s}-gons')}": _sided(s) for s in shapes}
        of_kind = named if len(named) > 1 else {"count": lambda one: objects(one)["sides"] > 0}
    return [
        Number(name=name, members=members, donors=_donors(scene, members))
        for name, members in of_kind.items()
        if bool(members(scene).any())
    ]


def _kind(data: OfKinds, kind: int) -> Members:
    return lambda scene: data.kinds_of(scene) == kind


def _sided(sides: int) -> Members:
    return lambda scene: objects(scene)["sides"] == sides


def _donors(scene: Scene, members: Members) -> Scene:
    """Every object of a kind as a scene of its own."""
    rows, slots = members(scene).nonzero(as_tuple=True)
    alone = {name: value[rows, slots][:, None] for name, value in objects(scene).items()}
    return dataclasses.replace(scene[rows], tagged=False, ignored=None, **alone)


def _of_greys(scene: Scene) -> list[Parameter]:
    """Of the levels, where there is one of the objects and one of the background."""
    found: list[Parameter] = []
    background = scene.background
    grey = scene.levels.ndim == 2 and background.ndim == 1
    least = float((scene.levels - background[:, None]).abs().min()) if grey else 0.0
    if background.ndim == 1 or bool((background == background[:, :1]).all()):
        found.append(Background(name="background", least=least))
    if scene.levels.ndim == 2 and bool((scene.levels == scene.levels[:, :1]).all()):
        found += [ObjectGrey(name="object grey", least=least), Contrast(name="contrast")]
    return found


def chosen(space: Space, names: Sequence[str] | None) -> list[int]:
    """The columns of the parameters of these names; None: all whose values have an order.

    Raises:
        InputError: for one that there is not, or whose values have no order.
    """
    if names is None:
        return space.ordered()
    found = [space.place(name) for name in names]
    for place in found:
        if not space.parameters[place].ordered:
            allowed = ", ".join(space.names[one] for one in space.ordered())
            raise InputError(
                f"parameter: got {space.names[place]}, whose values have no order; allowed: "
                f"{allowed}"
            )
    return found
