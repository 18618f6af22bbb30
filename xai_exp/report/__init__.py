"""From rows and heatmaps to figures and pages; no model code."""
