"""Figures of a page: rows of numbers in, SVG in the page's colours or a PNG for tracking out.

Conventions: `ink` holds the colours; no figure asks a model.
"""
