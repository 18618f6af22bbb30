"""Post-hoc explanations: (model, images, targets) -> heatmaps, a folder for each family.

Conventions: heatmaps are signed, (batch, height, width), summed over channels; the network is left
as it was; every class states its `cost` in passes. `controls` know nothing or the truth.
"""
