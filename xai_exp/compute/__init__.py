"""How networks are asked: fast, within memory, on the device they are on.

Conventions: model code runs where the model is; perturbed copies are made in chunks sized for the
device; random numbers come from keys of the images, so that a chunk's size changes nothing.
"""
