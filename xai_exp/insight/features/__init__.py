"""What a network's layers look for: feature visualisation after Olah et al. (2017) and Lucid.

Images are optimised until a layer answers most, in a parameterisation that does not favour noise,
seen through small random transformations; activations of real images are divided, grouped and laid
out as an atlas of such images. Works on grey and colour images and on any device.
"""
