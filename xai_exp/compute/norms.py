"""Gradients through batch and instance norm that are right for one image, too."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from xai_exp.types import Images

_NORMS = frozenset(["batch_norm", "instance_norm"])


def right_gradients(images: Images) -> AbstractContextManager[object]:
    """Within it gradients of a pass of these images are right, one image's too.

    Of more images they are without it, which would cost a tenth of their time.
    """
    return RightGradients() if len(images) == 1 else nullcontext()


class RightGradients(TorchFunctionMode):
    """Within it what comes back to a batch or instance norm lies in memory as its own values do.

    Of one image that does not where tokens are made of its channels behind the norm
    (`x.flatten(2).transpose(1, 2)`). Torch's gradient (2.14, CPU) then reads it in a wrong order,
    and what it gives is off by as much as it is large, without a word.
    """

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function, and see to the gradient of a norm."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").partition(".")[0]
        if name in _NORMS and result.requires_grad:
            result.register_hook(torch.Tensor.contiguous)
        return result
