"""What stands in an image where pixels are gone, and which pixels go together.

Conventions: an imputer is made ready for images once, so that the removal of thousands of masks
costs one selection each; True in a mask means gone; pixels go in every channel at once.
"""

from xai_exp.removal.imputers import (
    Blur,
    Border,
    Constant,
    Invert,
    KnownBackground,
    Mean,
    Noise,
    NoisyLinear,
)
from xai_exp.removal.inpaint import Inpaint

__all__ = [
    "Blur",
    "Border",
    "Constant",
    "Inpaint",
    "Invert",
    "KnownBackground",
    "Mean",
    "Noise",
    "NoisyLinear",
]
