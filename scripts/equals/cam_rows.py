"""Rows of pytorch-grad-cam, which stretches every heatmap to 0..1 in float32."""

import importlib
from functools import partial
from typing import Any

import torch
from torch import Tensor

from equals.common import Row, Setting, Theirs
from xai_exp.explainers import activation

row = partial(Row, library="pytorch_grad_cam", stretched=True)


def of_grad_cam(name: str) -> Theirs:
    """One of its methods, at the last ReLU of a convolution."""

    def compute(one: Setting) -> Tensor:
        module: Any = importlib.import_module("pytorch_grad_cam")
        targets: Any = importlib.import_module("pytorch_grad_cam.utils.model_targets")
        network: Any = one.network.requires_grad_(True)
        wanted = [targets.ClassifierOutputTarget(int(target)) for target in one.targets]
        layers = [] if name == "FullGrad" else [network[4]]
        with getattr(module, name)(model=network, target_layers=layers) as made:
            return torch.as_tensor(made(input_tensor=one.images.clone(), targets=wanted))

    return compute


def rows() -> list[Row]:
    """Every statement about it."""
    kept: Any = {"positive": False}
    found = (
        ("grad_cam", activation.GradCAM(), "GradCAM", ""),
        (
            "grad_cam_plus_plus",
            activation.GradCAMPlusPlus(),
            "GradCAMPlusPlus",
            "1e-6 stands in a denominator there",
        ),
        ("layer_cam", activation.LayerCAM(), "LayerCAM", ""),
        ("`layer_cam positive=false`", activation.LayerCAM(**kept), "HiResCAM", ""),
        (
            "score_cam",
            activation.ScoreCAM(),
            "ScoreCAM",
            "differs: masks are enlarged between the corners' centres there",
        ),
        (
            "eigen_cam",
            activation.EigenCAM(),
            "EigenCAM",
            "differs: the mean is taken off there, and the sign left to chance",
        ),
        (
            "`full_grad postprocess=paper`",
            activation.FullGrad(postprocess="paper"),
            "FullGrad",
            "differs: every map is stretched by itself there, here those of a layer together",
        ),
    )
    return [
        row(
            ours=ours,
            explainer=explainer,
            theirs=f"pytorch-grad-cam {theirs}",
            compute=of_grad_cam(theirs),
            note=note,
        )
        for ours, explainer, theirs, note in found
    ]
