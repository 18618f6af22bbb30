import torch
from given import image, network, target
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

layer = [one for one in network.modules() if isinstance(one, torch.nn.Conv2d)][-1]
with GradCAM(network, [layer]) as cam:
    heatmap = cam(image[None], [ClassifierOutputTarget(target)])[0]
