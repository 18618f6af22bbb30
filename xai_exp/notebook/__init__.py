"""What the Python API is made of: reading pictures, asking networks of others, sets of heatmaps.

Conventions: what a person gives is checked here and either understood without a guess or refused
in one line (`InputError`); from here on images are (batch, channel, height, width) in 0..1, and a
network answers (batch, class). Heatmaps are in the picture's own pixels: whatever a picture goes
through before its network (size, mean, std) is a first module of the network that is explained.
"""
