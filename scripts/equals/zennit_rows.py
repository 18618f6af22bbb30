"""Rows of relevance propagation and other rules of backpropagation: zennit and captum."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from captum import attr
from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule
from torch import Tensor, nn
from zennit import composites, rules
from zennit.attribution import Gradient as ZennitGradient
from zennit.composites import LayerMapComposite, SpecialFirstLayerMapComposite
from zennit.types import Linear

from equals.captum_rows import of_captum
from equals.common import TINY, Row, Setting, Theirs
from xai_exp.explainers import lrp
from xai_exp.explainers.lrp.composed import ComposedLRP
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.modified import BetaSmooth, DeconvNet, GuidedBackprop
from xai_exp.types import Explainer

NO_BIAS: Any = {"stabilizer": TINY, "zero_params": "bias"}


def of_captums_lrp(one: Setting, rule: Any = None) -> Tensor:  # noqa: ANN401
    """Captum's relevance, with one rule in all layers with weights; flattening needs one, too."""
    for module in one.network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and rule is not None:
            module.rule = rule()  # pyright: ignore
        if isinstance(module, nn.Flatten):
            module.rule = EpsilonRule()  # pyright: ignore
    made = attr.LRP(one.network)
    return made.attribute(one.images.clone(), target=one.targets).detach().sum(1)


def of_zennit(composite: Callable[[], Any], *, logit: bool = True) -> Theirs:
    """What a composite of zennit sends back from the target's logit, or from one."""

    def compute(one: Setting) -> Tensor:
        chosen = torch.eye(3, dtype=one.images.dtype)[one.targets]
        start = chosen * one.network(one.images).detach() if logit else chosen
        with ZennitGradient(one.network, composite()) as attributor:
            _, found = attributor(  # pyright: ignore[reportGeneralTypeIssues]
                one.images.clone(), start
            )
        return found.sum(1)

    return compute


def everywhere(rule: Any) -> Callable[[], Any]:  # noqa: ANN401
    """One of zennit's rules in all layers with weights."""
    return lambda: LayerMapComposite([*composites.layer_map_base(TINY), (Linear, rule)])


def first(rule: Any, other: Any) -> Callable[[], Any]:  # noqa: ANN401
    """One of zennit's rules in the first layer, another one in the others."""
    base = [*composites.layer_map_base(TINY), (Linear, other)]
    return lambda: SpecialFirstLayerMapComposite(base, [(Linear, rule)])


def rows() -> list[Row]:
    """Every statement about rules."""
    return [*_uniform(), *_composed(), *_of_captum(), *_modified()]


def of_rule(name: str, **given: Any) -> Explainer:  # noqa: ANN401
    """LRP by one of its rules."""
    return lrp.LRP(rule=name, **given)  # pyright: ignore[reportArgumentType]


def named(name: str, theirs: str, made: Callable[[], Any], **given: Any) -> Row:  # noqa: ANN401
    """A rule of ours and a composite of zennit."""
    fields = "".join(f" {field}={value}" for field, value in given.items())
    return Row(
        ours=f"`rule={name}{fields}`",
        explainer=of_rule(name, **given),
        library="zennit",
        theirs=f"zennit {theirs}",
        compute=of_zennit(made),
    )


def _uniform() -> list[Row]:
    both: Any = {"stabilizer": TINY}
    plus = everywhere(rules.ZPlus(**NO_BIAS))
    three = everywhere(rules.AlphaBeta(3, 2, **both))
    return [
        named("z", "`Epsilon(0)`", everywhere(rules.Epsilon(TINY))),
        named("epsilon", "`Epsilon`", everywhere(rules.Epsilon(0.1)), epsilon=0.1),
        named(
            "z",
            '`Epsilon(0, zero_params="bias")`',
            everywhere(rules.Epsilon(TINY, zero_params="bias")),
            bias="ignore",
        ),
        named(
            "epsilon",
            '`Epsilon(zero_params="bias")`',
            everywhere(rules.Epsilon(0.1, zero_params="bias")),
            epsilon=0.1,
            bias="ignore",
        ),
        named("gamma", "`Gamma`", everywhere(rules.Gamma(0.25, **both))),
        named("alpha_beta", "`AlphaBeta`", three, alpha=3.0, beta=2.0, bias="paper"),
        named("alpha2_beta1", "`AlphaBeta(2, 1)`", everywhere(rules.AlphaBeta(2, 1, **both))),
        named("alpha1_beta0", "`ZPlus`", everywhere(rules.ZPlus(**both))),
        named("z_plus", '`ZPlus(zero_params="bias")`', plus),
        named("flat", "`Flat`", everywhere(rules.Flat(**both))),
        named("w_square", '`WSquare(zero_params="bias")`', everywhere(rules.WSquare(**NO_BIAS))),
        named(
            "z_box",
            '`ZBox` first, `ZPlus(zero_params="bias")`',
            first(rules.ZBox(0.0, 1.0, **both), rules.ZPlus(**NO_BIAS)),
        ),
    ]


def _composed() -> list[Row]:
    names = ("epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1")
    found = [
        named(name, theirs, partial(getattr(composites, theirs), stabilizer=TINY))
        for name, theirs in zip(
            (*names, "epsilon_alpha2_beta1_flat"),
            ("EpsilonPlus", "EpsilonPlusFlat", "EpsilonAlpha2Beta1", "EpsilonAlpha2Beta1Flat"),
            strict=True,
        )
    ]
    box = partial(composites.EpsilonGammaBox, low=0.0, high=1.0, stabilizer=TINY)
    base = [
        *composites.layer_map_base(TINY),
        (nn.Conv2d, rules.Gamma(0.25, stabilizer=TINY)),
        (nn.Linear, rules.Epsilon(0.1)),
    ]
    flat = [(Linear, rules.Flat(stabilizer=TINY))]
    mine: Any = {"convolution": "gamma", "linear": "epsilon", "epsilon": 0.1}
    composed = partial(Row, library="zennit")
    return [
        *found,
        named("epsilon_gamma_box", "EpsilonGammaBox", box),
        composed(
            ours="`lrp_composed convolution=gamma linear=epsilon`",
            explainer=ComposedLRP(**mine),
            theirs="zennit LayerMapComposite",
            compute=of_zennit(lambda: LayerMapComposite(base)),
        ),
        composed(
            ours="`lrp_composed convolution=gamma linear=epsilon first=flat`",
            explainer=ComposedLRP(**mine, first="flat"),
            theirs="zennit SpecialFirstLayerMapComposite",
            compute=of_zennit(lambda: SpecialFirstLayerMapComposite(base, flat)),
        ),
    ]


def _of_captum() -> list[Row]:
    both = "differs: captum gives all relevance to both of two summed inputs; here they share it"
    plain = partial(Row, ours="`rule=z`", explainer=of_rule("z"), library="captum")
    epsilon = partial(EpsilonRule, epsilon=0.1)
    return [
        plain(theirs="captum LRP", compute=of_captums_lrp),
        plain(theirs="captum LRP", compute=of_captums_lrp, note=both, change="a residual sum"),
        Row(
            ours="`rule=epsilon epsilon=0.1`",
            explainer=of_rule("epsilon", epsilon=0.1),
            library="captum",
            theirs="captum EpsilonRule",
            compute=partial(of_captums_lrp, rule=epsilon),
        ),
        Row(
            ours="`rule=gamma`",
            explainer=of_rule("gamma"),
            library="captum",
            theirs="captum GammaRule",
            compute=partial(of_captums_lrp, rule=GammaRule),
            note="differs: captum's has no negative side",
        ),
    ]


def _modified() -> list[Row]:
    excited = partial(composites.ExcitationBackprop, **NO_BIAS)
    smooth = partial(composites.BetaSmooth, beta_smooth=10.0)
    found = [
        Row(
            ours="excitation_backprop",
            explainer=ExcitationBackprop(),
            library="zennit",
            theirs='zennit `ExcitationBackprop(zero_params="bias")`',
            compute=of_zennit(excited, logit=False),
        ),
        Row(
            ours="beta_smooth",
            explainer=BetaSmooth(beta=10.0),
            library="zennit",
            theirs="zennit BetaSmooth",
            compute=of_zennit(smooth, logit=False),
        ),
    ]
    for name, kind, theirs, made in (
        ("deconvnet", DeconvNet, "Deconvolution", composites.DeconvNet),
        ("guided_backprop", GuidedBackprop, "GuidedBackprop", composites.GuidedBackprop),
    ):
        for library, called, compute in (
            ("captum", theirs, of_captum(theirs)),
            ("zennit", made.__name__, of_zennit(made, logit=False)),
        ):
            one = partial(Row, library=library, theirs=f"{library} {called}", compute=compute)
            every = "differs: at every activation here, there at ReLU only"
            found.append(one(ours=name, explainer=kind()))
            found.append(one(ours=name, explainer=kind(), change="tanh"))
            found.append(
                one(
                    ours=f"`{name} at=every`",
                    explainer=kind(at="every"),
                    note=every,
                    change="tanh",
                )
            )
    return found
