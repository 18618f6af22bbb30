"""One look at a network before it is used: what would make its heatmaps wrong without a word.

Refused, by the name of the module that does it: an answer that is another when the network is asked
again (dropout that never sleeps), or when an image comes in other company (batch norm without
statistics). Mended, and said: a softmax or sigmoid at the end is cut, since where it saturates
every gradient is zero; one logit becomes a question of two classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.models import asked
from xai_exp.types import Images

_FEW = 4  # images that are looked at
_SAME = 1e-3  # share of the largest output by which two answers to the same image may differ
_SUM = 1e-5  # how near to 1 the outputs' sum is if they are probabilities
_aten = torch.ops.aten
_ENDS: Mapping[str, frozenset[Any]] = {
    "softmax": frozenset(
        {functional.softmax, torch.softmax, Tensor.softmax, _aten.softmax, _aten._softmax}
    ),
    "log-softmax": frozenset(
        {functional.log_softmax, torch.log_softmax, Tensor.log_softmax}
        | {_aten.log_softmax, _aten._log_softmax}
    ),
    "sigmoid": frozenset(
        {functional.sigmoid, torch.sigmoid, Tensor.sigmoid, torch.special.expit, _aten.sigmoid}
    ),
    "log-sigmoid": frozenset({functional.logsigmoid, _aten.log_sigmoid}),
}


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A network that can be explained, and what is to be known of it.

    Args:
        network: from pictures to logits (batch, class); the given one if it needed nothing.
        notes: a line each for what was changed.
    """

    network: nn.Module
    notes: tuple[str, ...] = ()


def look(network: nn.Module, images: Images) -> Looked:
    """Look at a network with a few images like those that it will be asked with.

    Raises:
        InputError: in one line, for a network of several inputs, or with another answer than finite
            logits (batch, class), or one that depends on chance or on other images.
    """
    inner = network.network if isinstance(network, asked.Asked) else network
    asked.refuse_several_inputs(inner)
    few, notes = images[:_FEW], []
    _refuse_without_statistics(network)
    network, answer = asked.with_logits(network, few)
    again, steps = _counted(network, few)
    _refuse_chance(network, few, answer, again)
    first, fewer = _counted(network, few[:1]) if len(few) > 1 else (answer, steps)
    _refuse_company(network, few, answer, first)
    asked.refuse_infinite(answer)
    probable = _are_probabilities(answer)
    # One that takes more steps for more images loops over them.
    alone = steps > fewer and not any(isinstance(one, ops.OneByOne) for one in network.modules())
    if alone:
        notes.append(
            "the network goes through its images one after the other: it is explained likewise"
        )
        few, answer = few[:1], answer[:1]
    found = cut(network, few, answer)
    if found is not None:
        network, end = found
        notes.append(f"the network ends in a {end}, which is cut: what is explained are its logits")
        answer = asked.answer_of(network, few)
        asked.refuse_infinite(answer)
    elif probable:
        raise InputError(
            "network: got outputs that are probabilities (they are positive and their sum is 1) "
            "from no softmax that can be cut; allowed: logits; take the last step out of forward"
        )
    if answer.dim() == 1 or answer.shape[1] == 1:
        _refuse_hidden_probability(network, answer)
        network = asked.two_classes(network, few)
        notes.append(asked.BINARY)
    return Looked(network=ops.OneByOne(network) if alone else network, notes=tuple(notes))


def _counted(network: nn.Module, images: Images) -> tuple[Tensor, int]:
    """What a network answers, and how many functions it calls for that."""
    with _Calls() as calls:
        return asked.answer_of(network, images), calls.count


class _Calls(TorchFunctionMode):
    """Counts the functions that are called within it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        self.count += 1
        return func(*args, **(kwargs or {}))


def _are_probabilities(answer: Tensor) -> bool:
    if answer.dim() != 2 or answer.shape[1] < 2 or len(answer) < 2:
        return False
    positive = bool((answer >= 0).all()) and not bool(((answer == 0) | (answer == 1)).all())
    return positive and bool(((answer.double().sum(1) - 1).abs() < _SUM).all())


def _refuse_hidden_probability(network: nn.Module, answer: Tensor) -> None:
    hidden = any(isinstance(one, torch.jit.ScriptModule) for one in network.modules())
    if hidden and bool(((answer > 0) & (answer < 1)).all()):
        raise InputError(
            "network: got one output between 0 and 1 from a script, which may be a probability or a"
            " logit; allowed: a network whose end can be seen (an exported program, or the network "
            "itself)"
        )


def _refuse_without_statistics(network: nn.Module) -> None:
    for name, module in network.named_modules():
        batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if batch_norm and module.running_mean is None:
            raise InputError(
                f"network: the module {_named(name, module)} keeps no statistics "
                "(track_running_stats=False), so that an image's answer depends on the others in "
                "its batch; allowed: batch norm with statistics, or group or layer norm"
            )


def _refuse_chance(network: nn.Module, few: Images, answer: Tensor, again: Tensor) -> None:
    if not _differ(answer, again):
        return
    name = _guilty(network, few, len(few))
    raise InputError(
        f"network: the module {name} answers differently when it is asked again, though "
        "in evaluation mode; allowed: no chance, such as dropout that heeds "
        "self.training: functional.dropout(x, p, self.training)"
    )


def _refuse_company(network: nn.Module, few: Images, answer: Tensor, first: Tensor) -> None:
    if not _differ(answer[:1], first):
        return
    raise InputError(
        f"network: the module {_guilty(network, few, 1)} answers differently to an image "
        "alone and in a batch; allowed: a network that looks at each image by itself"
    )


def _differ(one: Tensor, other: Tensor) -> bool:
    """Whether two answers differ by more than rounding, where there is an answer."""
    if one.shape != other.shape:
        return True
    near = _SAME * float(one.nan_to_num(0, 0, 0).abs().max())
    return not torch.allclose(one, other, 0, near, equal_nan=True)


def _guilty(network: nn.Module, images: Images, rows: int) -> str:
    """The first module that makes different things of the same input, innermost first."""
    before, after = _watched(network, images), _watched(network, images[:rows])
    for (name, module, got, gave), (_, _, got_then, gave_then) in zip(before, after, strict=False):
        same_shape = got[:rows].shape == got_then.shape and gave[:rows].shape == gave_then.shape
        if not same_shape or _differ(got[:rows], got_then):
            continue
        if _differ(gave[:rows], gave_then):
            return _named(name, module)
    return _named("", network)


def _watched(network: nn.Module, images: Images) -> list[tuple[str, nn.Module, Tensor, Tensor]]:
    """What each module got and gave, in the order in which they end."""
    seen: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, gave: Any) -> None:  # noqa: ANN401
            got = given[0] if given else None
            if isinstance(got, Tensor) and isinstance(gave, Tensor):
                seen.append((name, module, got.clone(), gave.clone()))

        return hook

    handles = [module.register_forward_hook(watch(n)) for n, module in network.named_modules()]
    try:
        asked.answer_of(network, images)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _named(name: str, module: nn.Module) -> str:
    kind = type(module).__name__
    return f"{name!r} ({kind})" if name else f"{kind} itself (in its own forward)"


class _Ends(TorchFunctionMode):
    """Notes calls of functions that make probabilities, and leaves out one of them.

    `leave` is the number of the call that gives what it got; the last one's result is `given`.
    """

    def __init__(self, leave: int | None = None) -> None:
        super().__init__()
        self.leave, self.count, self.kind, self.given = leave, 0, "", None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        func_or_packet = getattr(func, "overloadpacket", func)
        kind = next((name for name, known in _ENDS.items() if func_or_packet in known), "")
        if not kind:
            return func(*args, **kwargs)
        number, self.count = self.count, self.count + 1
        if number == self.leave:
            return args[0] if args else kwargs["input"]
        self.kind, self.given = kind, func(*args, **kwargs)
        return self.given


class Uncut(nn.Module):
    """A network without the last of its functions that make probabilities of logits."""

    def __init__(self, network: nn.Module, place: int) -> None:
        super().__init__()
        self.network, self.place = network, place
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        """What goes into that function."""
        with _Ends(self.place):
            return self.network(images)


def cut(network: nn.Module, few: Images, answer: Tensor) -> tuple[nn.Module, str] | None:
    """The network without a softmax or sigmoid at its end and which it was; None if it has none."""
    with torch.no_grad(), ops.evaluating(network), _Ends() as ends:
        network(few)
    if ends.given is None or not _ends_in(ends.given, answer):
        return None
    module = _without_last_module(network, few, ends.kind)
    return (module or Uncut(network, ends.count - 1), ends.kind)


def _ends_in(given: Tensor, answer: Tensor) -> bool:
    """Whether this is the answer, perhaps without an axis of length one."""
    return given.numel() == answer.numel() and bool((given.flatten() == answer.flatten()).all())


_AGAIN: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softmax": partial(torch.softmax, dim=-1),
    "log-softmax": partial(torch.log_softmax, dim=-1),
    "sigmoid": torch.sigmoid,
    "log-sigmoid": functional.logsigmoid,
}
_MODULES = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid, nn.LogSigmoid)


def _without_last_module(network: nn.Module, few: Images, kind: str) -> nn.Module | None:
    """A copy whose last module of this kind passes on what it gets; None if it is no module."""
    with torch.no_grad(), ops.evaluating(network):
        wanted = network(few)
    for name, module in reversed(list(network.named_modules())):
        if not isinstance(module, _MODULES) or not name:
            continue
        made = ops.shared_copy(network)
        parent, _, last = name.rpartition(".")
        setattr(made.get_submodule(parent), last, nn.Identity())
        # Awake, its batch norms would learn from these few images, in statistics that it shares.
        with torch.no_grad(), ops.evaluating(made):
            again = _AGAIN[kind](made(few))
        if again.shape == wanted.shape and not _differ(wanted, again):
            return made
    return None
