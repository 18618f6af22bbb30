from captum.attr import IntegratedGradients
from given import image, network, target

heatmap = IntegratedGradients(network).attribute(image[None], target=target).sum(1)[0]
