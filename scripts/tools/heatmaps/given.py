"""What every script of heatmaps/ is given: a network, a picture, its class, reference pictures."""

import torch

from xai_exp.models.cnn import CNN

torch.manual_seed(0)
classes = 5
network = CNN().build(1, (48, 48), classes).eval()
image = torch.rand(1, 48, 48)
references = torch.rand(8, 1, 48, 48)
target = int(network(image[None]).argmax())
