"""Write tests/golden/xplique.npz: Xplique's estimators on fixed numbers.

It runs where Xplique 2.0.2 is installed (`make tools`). Its estimators of Sobol indices and HSIC
get masks and outputs, FEM maps of a layer, FORGrad heatmaps. The outputs of HSIC are moved so that
their median, which is Xplique's width of the kernel, is the median of their distances, the paper's.
"""

import contextlib
import importlib
from pathlib import Path

with contextlib.suppress(ImportError):  # behind TensorFlow torch crashes on it
    importlib.import_module("triton")

import numpy as np
from xplique.attributions import FEM
from xplique.attributions.global_sensitivity_analysis import hsic_estimators, sobol_estimators
from xplique.commons.forgrad import forgrad

OUT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "xplique.npz"
SIDE, DESIGNS, SAMPLES = 3, 16, 101


def main() -> None:
    """Ask each once."""
    source = np.random.default_rng(0)
    values = source.normal(size=DESIGNS * (SIDE**2 + 2)).astype(np.float32)
    designs = source.random((len(values), SIDE, SIDE, 1)).astype(np.float32)
    masks = (source.random((SAMPLES, SIDE, SIDE, 1)) < 0.5).astype(np.float32)
    outputs = masks[:, 0, 0, 0] + masks[:, 1, 2, 0] + source.normal(size=SAMPLES) / 5
    outputs += np.median(np.abs(outputs[:, None] - outputs)) - np.median(outputs)
    maps = np.maximum(source.normal(size=(2, 8, 8, 5)), 0).astype(np.float32)
    weights, unusual = FEM._compute_weights(maps, np.float32(1.0))
    heatmaps = source.normal(size=(2, 16, 16)).astype(np.float32)
    np.savez_compressed(
        OUT,
        **{"sobol/values": values, "hsic/masks": masks[..., 0], "hsic/values": outputs},
        **{"sobol/found": sobol_estimators.JansenEstimator()(designs, values, DESIGNS)[..., 0]},
        **{"hsic/found": hsic_estimators.BinaryEstimator()(masks, outputs, SAMPLES)[..., 0]},
        **{"fem/maps": maps, "fem/found": FEM._apply_weights(weights, unusual)},
        **{"forgrad/maps": heatmaps, "forgrad/found": forgrad(heatmaps, sigma=4)},
    )


if __name__ == "__main__":
    main()
