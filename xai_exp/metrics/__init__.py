"""Measures of a heatmap's quality: (case) -> one score an image, a folder for each family.

Conventions: `higher_is_better` on the class; an undefined score is NaN and its reason is on the
class; nothing is averaged or normalised unless the metric's definition says so.
"""
