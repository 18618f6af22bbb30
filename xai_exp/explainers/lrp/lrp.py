"""Layer-wise relevance propagation (Bach et al. 2015) as a family of rules.

Relevance starts as the target's logit and is sent back layer by layer. Conventions: activations
pass relevance through; max pooling gives it to the winner; average pooling and residual sums share
it in proportion to what went in; a batch norm is one layer with the linear layer before it; a batch
norm that stands alone and arithmetic with constants pass it through, since an output there has one
input. Layer, group and instance norm pass it through the division by the standard deviation and
share it by the epsilon rule in what is left, which is linear (AttnLRP, Achtibat et al. 2024).
Likewise what is divided by another value takes all, and a norm or spread by which values are
multiplied (global response norm, Woo et al. 2023) takes nothing. Where a rule has no bias term,
relevance is conserved from layer to layer.

Of residual networks (ours, torchvision's) without biases that holds for z, epsilon and gamma to
rounding. z+ loses in a convolution that leads to a sum, whose outputs may be negative: a unit
without positive contributions passes nothing on. alpha-beta gains or loses, in any network, where
all contributions to a unit have one sign. Flat and w_square give relevance to inputs that are zero;
a sum of zeros, or an average of zeros, can't pass it on.

With rule z a network of ReLUs without biases gives input x gradient and nothing else (Kindermans et
al. 2016; Ancona et al. 2018): LRP's merits lie in the other rules. `diagnostics` says how near a
run came to that, and where relevance was lost.

Differences from the libraries, on purpose: iNNvestigate treats batch norm as a layer of its own;
zennit keeps the bias in z+ (here epsilon_plus has it, z_plus has not); DeepExplain leaves epsilon
out of a last layer without activation.
"""

from typing import Annotated

from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.lrp.composites import COMPOSITES, Composite, RuleName
from xai_exp.explainers.lrp.numbers import ByPlace


@configured
class LRP(ByPlace):
    """Relevance of each pixel for the target's logit.

    Uniform rules use one rule in every layer (z_box: in the first one, with z_plus above it).
    Composites choose by position (Kohlbrenner et al. 2020): epsilon in linear layers, and in
    convolutions z+ with the bias's positive part (epsilon_plus = epsilon_alpha1_beta0), gamma with
    the box rule first (epsilon_gamma_box), or alpha 2 beta 1 (epsilon_alpha2_beta1); `_flat` puts
    the flat rule first. sequential_preset_a and _b are iNNvestigate's (epsilon 0.1, its biases);
    their form flat_until_idx is `_flat` with `until`.

    Cost: one forward and one backward pass (z, epsilon, flat, w_square); two forward passes and
    one backward (gamma, z_plus and their composites); three and two (alpha_beta).

    Args:
        rule: the name of a rule or composite.
        epsilon: of the epsilon rule, where it is used, in units of a layer's output.
        gamma: of the gamma rule; 0 is the z rule, infinite gamma the z+ rule.
        alpha, beta: of alpha_beta; alpha - beta must be 1.
        bias: where biases stand in the uniform rules z, epsilon and alpha_beta: paper (in the
            denominator, for alpha_beta each sign with its part), both (all of it in both parts, as
            iNNvestigate has it; a bias larger than its part turns that part's sign, so that with
            batch norms folded relevance can gather where nothing is) or ignore (nowhere).
        low, high: the range of the values that the first layer sees, for the box rule.
        until: the last layer to have a composite's rule for the first one, counted from 0 among
            convolutions and matrix products in the order of the forward pass; those that see the
            pixels themselves, as several stems do, have it in any case.
        gates: what the factors of a product get, of which both depend on the image (squeeze and
            excitation, hard-swish in pieces). signal: all to the factor that is no gate (Arras et
            al. 2017, Explaining recurrent neural network predictions, sec. 2.2), where a gate is
            what comes of a bounded function (sigmoid, hard sigmoid, ...), or else the factor that
            is spread over the other's places; where neither tells, and always with half: half to
            each (AttnLRP, prop. 3.3). Attention is a product, too: with signal its weights are the
            gate and all goes to the values by the epsilon rule (Ali et al. 2022, XAI for
            transformers), with half weights and values share it and the softmax passes it on by its
            Taylor expansion, which is `AttnLRP` with these rules for linear layers.

    Raises:
        InputError: for a network with a step that no rule covers, by its name.
    """

    rule: RuleName = "epsilon_plus"
    beta: Annotated[float, Range(0)] = 1.0

    def __post_init__(self) -> None:
        if abs(self.alpha - self.beta - 1) > 1e-9:
            raise InputError(
                f"LRP.alpha: got alpha {self.alpha:g} and beta {self.beta:g}; allowed: alpha - "
                "beta = 1, or relevance is not conserved"
            )
        super().__post_init__()

    def _composite(self) -> Composite:
        return COMPOSITES[self.rule](self)
