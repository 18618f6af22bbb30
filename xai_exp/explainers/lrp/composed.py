"""Layer-wise relevance propagation with a rule of one's own choice for each kind of layer."""

from typing import Literal

from xai_exp.config import configured
from xai_exp.explainers.lrp.composites import Composite, UniformName, composed
from xai_exp.explainers.lrp.numbers import ByPlace


@configured
class ComposedLRP(ByPlace):
    """Relevance of each pixel for the target's logit, by rules chosen place by place.

    The composites that papers name (`LRP`) are points of this space, which
    `sweep=explainers` searches: epsilon_plus is alpha1_beta0 in convolutions and epsilon in linear
    layers; epsilon_gamma_box is gamma, epsilon and z_box first. Conventions are those of `lrp.py`.
    A composition that was tuned on some images is to be judged on others.

    Cost: as the rule of the convolutions has it, one to three forward passes and one or two
    backward.

    Args:
        convolution: the rule of convolutions.
        linear: the rule of matrix products, those of a flat head among them.
        first: the rule of the first layers, up to `until`; same: as further on.
        epsilon: of the epsilon rule, in units of a layer's output.
        gamma: of the gamma rule; 0 is the z rule, infinite gamma the z+ rule.
        alpha: of alpha_beta, whose beta is alpha - 1.
        bias: where biases stand in z, epsilon and alpha_beta, as in `LRP`.
        low, high: the range of the values that the first layer sees, for the box rule.
        until: the last layer to have the rule `first`, counted from 0.
        gates: what the factors of a product get, of which both depend on the image, as in `LRP`.

    Raises:
        InputError: for a network with a step that no rule covers, by its name.
    """

    convolution: UniformName = "alpha1_beta0"
    linear: UniformName = "epsilon"
    first: UniformName | Literal["same", "z_box"] = "same"

    def _composite(self) -> Composite:
        return composed(self.convolution, self.linear, self.first, self)
