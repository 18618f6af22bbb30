"""Write tests/golden/lucent.npz: what torch-lucent 0.1.8 says of fixed maps, spectra and colours.

It needs torch, decorator, and torch-lucent without its dependencies (`pip install --no-deps`).
Its objectives are losses, so that most have the other sign; direction is a mean cosine there, a
product of length and cosine here as in Lucid, and is not compared.
"""

from pathlib import Path

import numpy as np
import torch
from lucent.optvis import objectives
from lucent.optvis.param.color import to_valid_rgb
from lucent.optvis.param.spatial import fft_image

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "lucent.npz"


def main() -> None:
    """Ask each objective and parameterisation once."""
    torch.manual_seed(0)
    maps = torch.randn(4, 6, 5, 4)
    losses = {
        "channel": objectives.channel("layer", 2)(lambda _: maps),
        "neuron": objectives.neuron("layer", 3)(lambda _: maps),
        "channel_interpolate": objectives.channel_interpolate("layer", 1, "layer", 4)(
            lambda _: maps
        ),
        "diversity": objectives.diversity("layer")(lambda _: maps),
        "alignment_of_two": objectives.alignment("layer")(lambda _: maps[:2]),
    }
    found = {name: float(loss) for name, loss in losses.items()}
    (free,), plain = fft_image((2, 3, 8, 6))
    coloured = to_valid_rgb(plain, decorrelate=True)
    arrays = {"free": free, "plain": plain(), "coloured": coloured()}
    kept = {name: one.detach().numpy() for name, one in arrays.items()}
    np.savez_compressed(OUT, maps=maps.numpy(), **kept, **found)


if __name__ == "__main__":
    main()
