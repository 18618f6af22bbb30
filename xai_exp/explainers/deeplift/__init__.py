"""DeepLIFT: contributions against a baseline that add up to the difference of the values.

Conventions: images and baselines go through the network in pairs; rules are named as in Shrikumar
et al. 2017.
"""

from xai_exp.explainers.deeplift.deeplift import DeepLIFT
from xai_exp.explainers.deeplift.shap import DeepLIFTSHAP

__all__ = ["DeepLIFT", "DeepLIFTSHAP"]
