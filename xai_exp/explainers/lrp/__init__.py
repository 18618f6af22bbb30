"""Layer-wise relevance propagation and its kin: rules, composites, deep Taylor, patterns.

Conventions: relevance starts from the value of the target; rules are named as in Montavon et al.
2019; a composite says which layer gets which rule.
"""

from xai_exp.explainers.lrp.attention import AttentionRollout, AttnLRP
from xai_exp.explainers.lrp.composed import ComposedLRP
from xai_exp.explainers.lrp.deep_taylor import DeepTaylor
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.lrp.pattern import PatternAttribution, PatternNet
from xai_exp.explainers.lrp.rap import RAP

__all__ = [
    "LRP",
    "RAP",
    "AttentionRollout",
    "AttnLRP",
    "ComposedLRP",
    "DeepTaylor",
    "ExcitationBackprop",
    "PatternAttribution",
    "PatternNet",
]
