"""Datasets: what is in an image, how it is drawn, and the splits."""
