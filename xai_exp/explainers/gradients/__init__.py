"""Gradients of a class's value by the pixels: plain, averaged, along paths, against references.

Conventions: a heatmap is summed over channels; methods with a baseline promise that it adds up to
the difference of the values at the image and at the baseline.
"""

from xai_exp.explainers.gradients.averaged import SmoothGrad
from xai_exp.explainers.gradients.expected import ExpectedGradients
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient, IntegratedGradients
from xai_exp.explainers.gradients.paths import BlurIG, GuidedIG

__all__ = [
    "BlurIG",
    "ExpectedGradients",
    "Gradient",
    "GuidedIG",
    "InputXGradient",
    "IntegratedGradients",
    "SmoothGrad",
]
