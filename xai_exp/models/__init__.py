"""Architectures, one file for each."""
