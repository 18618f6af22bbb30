"""ONNX files through onnxruntime: what ours is compared with, and what is left where ours can't be.

A network that can't be converted answers pictures all the same: methods that remove parts of a
picture and ask again work on it, others have no gradient to go by.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_exp.config import InputError
from xai_exp.formats.needed import library

_ERRORS_ONLY = 4  # how much onnxruntime says


class Session:
    """A model as onnxruntime runs it, or onnx's own evaluator where onnxruntime can't.

    Raises:
        InputError: when neither can.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        runtime = library("onnxruntime")
        self.model = model
        self.name = model.graph.output[0].name
        held = {one.name for one in model.graph.initializer}
        self.input = next(one.name for one in model.graph.input if one.name not in held)
        options = runtime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = torch.get_num_threads()
        self.runner = "onnxruntime"
        try:
            self.session: Any = runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            self.runner = "onnx's reference evaluator"
            try:
                self.session = library("onnx.reference").ReferenceEvaluator(model)
            except Exception:
                why = " ".join(str(error).split())[:160]
                raise InputError(
                    f"onnx: got a network that onnxruntime can't run ({why}); allowed: a valid one"
                ) from error

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The first output.

        Raises:
            ValueError: for images that it can't be asked with.
        """
        try:
            return self.session.run([self.name], {self.input: images})[0]
        except Exception as error:
            raise ValueError(" ".join(str(error).split())[:200]) from error


class BlackBox(nn.Module):
    """A network that is asked through onnxruntime, without a gradient.

    Args:
        model: the file's ModelProto.
        why: what could not be converted.
    """

    def __init__(self, model: Any, why: str) -> None:  # noqa: ANN401
        super().__init__()
        self.model, self.why = model, why
        self.session = Session(model)
        self.eval()

    def __deepcopy__(self, memo: dict[int, Any]) -> "BlackBox":
        memo[id(self)] = self  # it can't be changed
        return self

    def __reduce__(self) -> Any:  # noqa: ANN401
        return type(self), (self.model, self.why)

    def forward(self, images: Tensor) -> Tensor:
        """What it answers.

        Raises:
            InputError: when a gradient is wanted.
        """
        if images.requires_grad and torch.is_grad_enabled():
            raise InputError(
                f"this explainer needs a gradient, and the network is a black box: {self.why}; "
                "allowed: methods by removal (rise, occlusion, lime, kernel_shap, ...)"
            )
        if torch.onnx.is_in_onnx_export():
            raise InputError(
                f"export: got a black box, which only the file itself holds: {self.why}; allowed: "
                "networks of torch functions"
            )
        asked = images.detach().to("cpu", torch.float32).contiguous().numpy()
        answer = np.ascontiguousarray(self.session(asked))
        return torch.from_numpy(answer).to(images.device, images.dtype)
