"""From rows and heatmaps to figures and whole pages; no model code.

Conventions: `tables` says numbers in words, `figures` draw rows as SVG or PNG, `pages` put both
into one self-contained HTML file that opens without a network.
"""
