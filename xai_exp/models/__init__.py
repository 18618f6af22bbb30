"""Architectures: configurations that build a network fitted to the data; one file for each.

Conventions: from images (batch, channel, height, width) in 0..1 to logits (batch, class); no
softmax at the end; whatever a network needs to normalise stands in the network.
"""
