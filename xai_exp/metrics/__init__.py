"""Measures of a heatmap's quality, one file for each family."""
