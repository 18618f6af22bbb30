import torch
from given import classes, image, network, target
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlusFlat

with Gradient(network, EpsilonPlusFlat()) as attributor:
    _, relevance = attributor(image[None], torch.eye(classes)[[target]])
heatmap = relevance.sum(1)[0]
