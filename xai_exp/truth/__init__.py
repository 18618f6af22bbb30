"""Exact truth: what the parts of a rendered scene are worth to a network, as Shapley values.

Conventions: a game is a value for every subset of an image's parts, found by drawing the scene
without the others; subsets are numbered in binary, the first part's bit the lowest.
"""
