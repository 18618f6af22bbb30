import numpy as np
from given import classes, image, network, target
from xplique.attributions import IntegratedGradients
from xplique.wrappers import TorchWrapper

wrapped = TorchWrapper(network, "cpu")
wanted = np.eye(classes, dtype=np.float32)[[target]]
heatmap = IntegratedGradients(wrapped)(image.permute(1, 2, 0)[None].numpy(), wanted)[0]
