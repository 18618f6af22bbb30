import numpy as np
import quantus
from given import image, network, target

heatmap = np.random.default_rng(0).random((48, 48))
score = quantus.Sparseness()(
    model=network, x_batch=image[None].numpy(), y_batch=np.array([target]),
    a_batch=heatmap[None, None], device="cpu",
)  # fmt: skip
