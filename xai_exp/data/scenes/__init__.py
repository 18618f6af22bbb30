"""Rendered scenes: parameters from which images, exact part masks and every coalition are drawn.

Conventions: a scene is a batch of small parameter tensors on any device; each part is rasterised
once and subsets are put together from it; places are in pixels, levels in 0..1; coverage is exact
where shapes are polygons or discs.
"""
