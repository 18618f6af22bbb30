"""Datasets: what is in an image, how it is drawn, and the splits; one file for each kind.

Conventions: images are float32 in 0..1, (batch, channel, height, width); a rendered dataset keeps
its scenes' parameters only and draws images and exact masks on demand, on any device; what is drawn
follows from the dataset's own seed; splits are indexed by tensors and never overlap.
"""
