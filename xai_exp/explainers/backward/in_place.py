"""Work in place, done out of place: rules need the values that it would overwrite."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.explainers.backward import functions, marks
from xai_exp.explainers.backward.calls import Refused, graft, ruled
from xai_exp.explainers.backward.functions import bare, refusal

_OPERATORS = {
    "__iadd__": "add",
    "__isub__": "sub",
    "__imul__": "mul",
    "__itruediv__": "div",
    "__ipow__": "pow",
    "__imatmul__": "matmul",
}
_AT = {
    **dict.fromkeys(["dropout", "dropout1d", "dropout2d", "dropout3d"], 3),
    **dict.fromkeys(["alpha_dropout", "feature_alpha_dropout"], 3),
}
Call = tuple[Any, str, tuple[Any, ...], dict[str, Any]]


def assigned(old: Tensor, index: Any, value: Any) -> Tensor:  # noqa: ANN401
    """`old` with some of its members replaced: `old[index] = value` out of place."""
    made = old.clone()
    made[index] = value
    return made


def out_of_place(
    func: Any,  # noqa: ANN401
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Call, bool]:
    """The same call without work in place; was there any?

    Raises:
        InputError: for work in place that has no other form.
    """
    if name == "__setitem__":
        return (assigned, name, args, kwargs), True
    if name in _OPERATORS:
        return (getattr(torch, _OPERATORS[name]), _OPERATORS[name], args, kwargs), True
    plain = bare(name)
    args, kwargs, in_place = _without_flag(plain, args, kwargs)
    if name in (plain, "requires_grad_"):
        return (func, name, args, kwargs), in_place
    for source in (functional, torch, Tensor):
        other = getattr(source, plain, None)
        if other is not None:
            return (other, plain, args, kwargs), True
    raise refusal(name, "in place, which has no other form")


def _without_flag(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], bool]:
    """The arguments without `inplace`, and what it said."""
    in_place = bool(kwargs.get("inplace"))
    if "inplace" in kwargs:
        kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
    place = _AT.get(name, len(args) - 1)
    flagged = name in functions.ACTIVATIONS or name in _AT
    if flagged and 0 < place < len(args) and isinstance(args[place], bool):
        return args[:place], kwargs, in_place or args[place]
    return args, kwargs, in_place


def apart(old: Tensor) -> Tensor:
    """The same value under another name, whose versions are counted apart.

    What a function keeps of it for the way back then does not look changed once `old` is another
    value; its memory is not touched.
    """
    if not old.requires_grad:
        return old
    same = ruled(old, lambda relevance: relevance, old)
    vars(same).update(vars(old))
    return same


def grafted(name: str, old: Any, result: Any) -> Any:  # noqa: ANN401
    """`old`, which now is `result`.

    Views share their memory, which is not touched here. So what was worked on by way of a view
    is refused as soon as it, or another view of it, is used again; the result itself is right.

    Raises:
        InputError: when the result is no value that can stand for the old one.
    """
    if not isinstance(result, Tensor) or result.dtype != old.dtype or old.shape != result.shape:
        raise refusal(name, "in place, with a result of another kind")
    if old._is_view():
        base = old._base
        error = refusal(name, "in place on a view of another value, which is used again")
        graft(base, ruled(base, Refused(error), base.detach().requires_grad_()))
        return result
    kept = {key: value for key, value in vars(result).items() if key in ("_bounded", "_made_by")}
    marks.forget(old)
    vars(old).update(kept)
    return graft(old, result)
