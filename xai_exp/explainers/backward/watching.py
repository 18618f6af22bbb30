"""Seeing every function that a network calls: where modified backpropagation hangs on.

Work in place becomes work out of place, functions that are written in another way are recognised,
and what came of the image without a gradient may not come back in. What is left is one call of one
function, which a subclass sees to.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_exp.config import InputError
from xai_exp.explainers.backward import functions, marks
from xai_exp.explainers.backward.calls import depending, kept_apart
from xai_exp.explainers.backward.functions import (
    bare,
    called,
    located,
    refusal,
    refuse_hidden_modules,
)
from xai_exp.explainers.backward.in_place import apart, grafted, out_of_place
from xai_exp.explainers.backward.recognise import recognised
from xai_exp.explainers.pullback import differentiable

_HIDDEN = {"TorchScript": "scripted code", "torch.func.": "torch.func (grad, vjp, jacrev)"}
_RANDOM = functions.DROPOUT | {"rrelu"}
_TRAINING = {"rrelu": (3, False)} | dict.fromkeys(functions.DROPOUT, (2, True))
_TRAINING |= dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), (2, False))


@contextmanager
def watched(model: nn.Module) -> Iterator[None]:
    """The model can be seen into, graphs are made, and errors name the layer that they arose in.

    Raises:
        InputError: for scripted and compiled modules, and for work in place that overwrites what
            the backward pass needs.
    """
    refuse_hidden_modules(model)
    with differentiable(model), kept_apart():
        try:
            yield
        except InputError as error:
            raise located(error, model) from error
        except RuntimeError as error:
            for phrase, hidden in _HIDDEN.items():
                if phrase in str(error):
                    raise InputError(
                        f"this explainer can't see into {hidden}; allowed: the steps as they are"
                    ) from error
            if "inplace" not in str(error):
                raise
            raise InputError(
                "this explainer can't go back through work in place: got a value that is "
                "overwritten where it is still needed; allowed: the same step out of place"
            ) from error


_LIKE = frozenset(["to", "type_as", "expand_as", "view_as", "reshape_as", "broadcast_to"])
"""What asks its second argument for kind and shape only."""


class Watching(TorchFunctionMode, ABC):
    """Within it every call of a function of values that depend on the image is seen."""

    @abstractmethod
    def ruled(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        """What one call gives, its backward pass seen to.

        Raises:
            InputError: for a function that is not covered, by its name.
        """

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function, of values that were seen to be made, and note what it gives as such."""
        return marks.seen(self._seen(func, args, kwargs or {}))

    def _seen(self, func: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        name = called(func)
        _refuse_transformed(name)
        given = depending(args, kwargs)
        if not all(map(marks.was_seen, given)):
            args = tuple(map(marks.kept_before, args))
            kwargs = {key: marks.kept_before(value) for key, value in kwargs.items()}
            given = depending(args, kwargs)
        if not given or (name in _LIKE and args and given[0] is not args[0]):
            return _apart(func, name, args, kwargs)
        if not all(map(marks.was_seen, given)):
            raise refusal(name, "of what a step gave that can't be seen (scripted, in a thread)")
        if name == "__get__" or name in functions.QUESTIONS:
            result = func(*args, **kwargs)
            if name == "__get__":
                marks.got(args[0], result)
            return result
        asked = name
        (func, name, args, kwargs), in_place = out_of_place(func, name, args, kwargs)
        if not in_place:
            return self._call(func, name, args, kwargs)
        old = args[0] if args else kwargs["input"]
        if args:
            args = (apart(old), *args[1:])
        else:
            kwargs = kwargs | {"input": apart(old)}
        result = self._call(func, name, args, kwargs)
        grown = grafted(asked, old, result)
        return None if name == "__setitem__" else grown

    def _call(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        steps = recognised(name, args, kwargs)
        if steps is not None:
            with self:
                return steps()
        if name in functions.READ_OUT:
            raise refusal(name, "which hides steps that depend on the image")
        if name in functions.STEPWISE:
            result = func(*args, **kwargs)
            result = result.detach() if isinstance(result, Tensor) else result
            marks.hide(result, marks.observed(name, args, kwargs))
            return result
        if torch.is_grad_enabled():
            _refuse_hidden(name, args, kwargs)
            result = self.ruled(func, name, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if name in marks.NOTED:
            marks.note(name, args, kwargs, result)
        # Attention may count as constant by a rule (Ali et al. 2022): that hides nothing.
        constant = name in functions.SOFTMAX and torch.is_grad_enabled()
        if not constant and not (isinstance(result, Tensor) and result.requires_grad):
            marks.hide(result, marks.Hidden(name))
        return result


def _refuse_transformed(name: str) -> None:
    """Values that are wrapped at present do not say that they depend on the image."""
    if torch._C._functorch.peek_interpreter_stack() is not None:  # pyright: ignore
        raise refusal(name, "within torch.func (vmap, grad, jvp), which hides its values")


def _refuse_hidden(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    how = marks.hiding(args, kwargs)
    if how is not None:
        made_by = "the data of a value" if how.by == "__get__" else f"what {how.by}() made of one"
        raise refusal(name, f"with {made_by}, which comes of the image without a gradient")
    if name in _RANDOM and _random(name, args, kwargs):
        raise refusal(name, "that draws at random, since it was told that this is training")


def _apart(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    """A call without values that depend on the image, but perhaps of some that hide it."""
    how = marks.hiding(args, kwargs)
    if how is None or name == "__get__" or name in functions.QUESTIONS:
        return func(*args, **kwargs)
    if name in functions.READ_OUT:
        raise refusal(name, "which hides steps that depend on the image")
    works_in_place = name != bare(name) or name.startswith("__i") or name == "__setitem__"
    if works_in_place and name != "__invert__" and marks.aliases(args[0]):
        raise refusal(name, "in place on a detached value")
    result = func(*args, **kwargs)
    marks.hide(result, marks.derived(how, bare(name), args))
    return result


def _random(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    place, usual = _TRAINING[name]
    training = kwargs.get("training", args[place] if len(args) > place else usual)
    chance = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    return bool(training) and (name == "rrelu" or chance != 0)
