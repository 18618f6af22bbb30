"""Explanation methods, one file for each family."""
