"""Scenes changed in their objects: some taken away, some added, made larger, all moved apart.

Everything is drawn from the seed that is given, so the same change gives the same scenes.
"""

import dataclasses

import torch
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.data.scenes.placement import Placement
from xai_exp.data.scenes.polygons import DISC, circumradii
from xai_exp.data.scenes.scene import Scene
from xai_exp.types import Flags, Keep

_FIELDS = ("sides", "centres", "radii", "angles", "levels")
_GAP = 2.0  # pixels between two objects' circumcircles where objects are placed anew


def objects(scene: Scene) -> dict[str, Tensor]:
    """What the objects are, without a planted tag."""
    end = -1 if scene.tagged else None
    return {name: getattr(scene, name)[:, :end] for name in _FIELDS}


def with_objects(scene: Scene, fields: dict[str, Tensor]) -> Scene:
    """The scene with other objects, and its tag if it has one."""
    if scene.tagged:
        fields = {k: torch.cat([v, getattr(scene, k)[:, -1:]], 1) for k, v in fields.items()}
    return dataclasses.replace(scene, ignored=None, **fields)


def numbered(scene: Scene, members: Keep, numbers: Tensor, donors: Scene, seed: int) -> Scene:
    """The scenes with so many of certain objects: the last are taken away, new ones are added.

    Args:
        scene: (image, object).
        members: which objects are counted, without the tag's place.
        numbers: how many each image gets.
        donors: one object each, from which new ones are drawn.
        seed: of which, and of where they are put.

    Raises:
        InputError: when so many do not fit.
    """
    source = torch.Generator().manual_seed(seed)
    fields = objects(scene)
    fields["sides"] = fields["sides"] * (~members | (members.cumsum(1) <= numbers[:, None]))
    missing = (numbers - members.sum(1)).clamp(min=0)
    if not int(missing.sum()):
        return with_objects(scene, fields)
    fields = _roomier(fields, missing)
    free = fields["sides"] == 0
    new = free & (free.cumsum(1) <= missing[:, None])
    which = torch.randint(len(donors), new.shape, generator=source)
    own = fields["levels"]
    mixed = {name: getattr(donors, name)[:, 0][which] for name in ("sides", "radii", "angles")}
    mixed["levels"] = own if _shared(scene) else donors.levels[:, 0][which]
    for name, drawn in mixed.items():
        where = new[..., None] if drawn.ndim == 3 else new
        fields[name] = torch.where(where, drawn, fields[name])
    changed = with_objects(scene, fields)
    return placed(changed, ~new & (fields["sides"] > 0), missing > 0, seed)


def _roomier(fields: dict[str, Tensor], missing: Tensor) -> dict[str, Tensor]:
    """With as many more places for objects as the fullest image needs."""
    free = (fields["sides"] == 0).sum(1)
    more = int((missing - free).clamp(min=0).max())
    found = {}
    for name, value in fields.items():
        empty = torch.zeros_like(value[:, :1]) if name == "sides" else value[:, :1]
        found[name] = torch.cat([value, *[empty] * more], 1)
    return found


def _shared(scene: Scene) -> bool:
    """Whether all objects of a scene have the same level, new ones too."""
    levels = objects(scene)["levels"]
    return bool((levels == levels[:, :1]).all())


def resized(scene: Scene, radii: Tensor, seed: int) -> Scene:
    """The scenes with objects of other sizes, placed anew where they would touch."""
    fields = objects(scene) | {"radii": radii}
    changed = with_objects(scene, fields)
    outer = _outer(fields)
    there = fields["sides"] > 0
    apart = torch.cdist(fields["centres"], fields["centres"])
    needed = outer[:, :, None] + outer[:, None] + 1.0
    pairs = there[:, :, None] & there[:, None] & ~torch.eye(there.shape[1], dtype=torch.bool)
    touch = ((apart < needed) & pairs).flatten(1).any(1)
    return placed(changed, torch.zeros_like(there), touch, seed) if bool(touch.any()) else changed


def placed(scene: Scene, stay: Keep, where: Flags, seed: int) -> Scene:
    """The scenes with all objects but those that `stay` placed anew, in the images `where`.

    What does not fit among those that stay is placed together with them.
    """
    rows = where.nonzero()[:, 0]
    if not len(rows):
        return scene
    part, held = scene[rows], stay[rows]
    try:
        fresh = _placed(part, held, seed)
    except InputError:
        fresh = _placed(part, torch.zeros_like(held), seed)
    fields = objects(scene)
    fields["centres"] = fields["centres"].clone()
    fields["centres"][rows] = fresh
    return with_objects(scene, fields)


def _placed(scene: Scene, stay: Keep, seed: int) -> Tensor:
    fields = objects(scene)
    outer, there, held = _outer(fields), fields["sides"] > 0, stay
    centres = fields["centres"]
    if scene.tagged:  # its place is kept free, be it there or not
        tag = {name: getattr(scene, name)[:, -1:] for name in _FIELDS}
        tag["sides"] = torch.full_like(tag["sides"], 4)
        one = torch.ones_like(held[:, :1])
        outer, there = torch.cat([outer, _outer(tag)], 1), torch.cat([there, one], 1)
        held, centres = torch.cat([held, one], 1), torch.cat([centres, tag["centres"]], 1)
    placement = Placement(pixels=min(scene.size), gap=_GAP, name="insight")
    source = torch.Generator().manual_seed(seed)
    found = placement.placed(outer, there, source, (held, centres))
    return found[:, :-1] if scene.tagged else found


def _outer(fields: dict[str, Tensor]) -> Tensor:
    return fields["radii"] * circumradii(fields["sides"].clamp(min=DISC), fields["radii"])
