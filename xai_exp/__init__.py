"""xai_exp: which explanation of an image classifier can a scientist trust?"""

__version__ = "0.1.0"
