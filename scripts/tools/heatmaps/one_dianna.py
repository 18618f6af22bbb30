import dianna
import torch
from given import image, network, target

names = {"input_names": ["images"], "dynamic_axes": {"images": {0: "batch"}}, "dynamo": False}
torch.onnx.export(network, (image[None],), "network.onnx", **names)
heatmap = dianna.explain_image(
    "network.onnx", image.numpy(), "RISE", labels=[target], axis_labels={0: "channels"}, n_masks=100
)[0]
