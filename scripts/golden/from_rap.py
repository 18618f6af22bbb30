"""Heatmaps of relative attributing propagation by its authors, for tests/golden/rap.npz.

    from_rap.py FOLDER     a checkout of github.com/wjNam/Relative_Attributing_Propagation (7fa9682)

It needs torch only.
"""

import sys
from pathlib import Path

import numpy as np
import torch

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "rap.npz"


def main(folder: str) -> None:
    """Explain two images on a small network of their own layers."""
    sys.path.insert(0, str(Path(folder) / "modules"))
    import layers as own  # pyright: ignore[reportMissingImports]

    torch.manual_seed(7)
    made = own.Sequential(
        *(own.Conv2d(3, 4, 3, padding=1), own.ReLU(), own.MaxPool2d(2), own.Conv2d(4, 6, 3)),
        *(own.ReLU(), torch.nn.Flatten(), own.Linear(24, 8), own.ReLU(), own.Linear(8, 4)),
    ).double()
    images, targets = torch.rand(2, 3, 8, 8).double(), torch.tensor([1, 3])
    found = []
    for image, target in zip(images, targets, strict=True):
        values = made(image[None])
        relevance = torch.nn.functional.one_hot(target[None], 4).double()
        for layer in reversed(list(made)):
            if isinstance(layer, torch.nn.Flatten):
                relevance = relevance.view(1, 6, 2, 2)
            else:
                relevance = layer.RAP_relprop(relevance)
        found.append(relevance.sum(1)[0].detach().numpy())
        print(float(values[0, target].detach()), float(relevance.sum().detach()))
    weights = {f"w/{name}": one.detach().numpy() for name, one in made.named_parameters()}
    np.savez_compressed(
        OUT, images=images.numpy(), targets=targets.numpy(), heatmaps=np.stack(found), **weights
    )


if __name__ == "__main__":
    main(sys.argv[1])
