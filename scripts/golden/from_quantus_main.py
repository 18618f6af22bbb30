"""Write tests/golden/quantus_main.json: what Quantus' main branch says that 0.6 does not.

It runs in the environment of from_quantus.py with a checkout of Quantus' main branch before it:

    PYTHONPATH=CHECKOUT ENV/bin/python scripts/golden/from_quantus_main.py COMMIT

Between 0.6.0 and 85bc29d (August 2026) only non-sensitivity was rewritten and MST-C came;
continuity, consistency and focus are the same files.
"""

import json
import sys
import warnings

import numpy as np
import quantus
from from_quantus import GOLDEN, call, network, tried


def main(commit: str) -> None:
    """Score the golden heatmaps, image by image."""
    warnings.simplefilter("ignore")
    arrays = dict(np.load(GOLDEN / "innvestigate2_maxpool.npz"))
    kept = dict(np.load(GOLDEN / "quantus.npz"))
    model, targets = network(arrays), arrays["target"].astype(np.int64)
    quiet = {"disable_warnings": True, "display_progressbar": False}
    constant = {"perturb_baseline": 0.0, "normalise": False, **quiet}
    metrics = {
        "mst_c": quantus.MSTC(**quiet),
        "mst_c_few": quantus.MSTC(threshold=90, k=3, auto_increase_k=False, **quiet),
        "non_sensitivity": quantus.NonSensitivity(eps=1e-6, **constant),
    }
    scores = {
        name: {
            maps.removeprefix("heatmap/"): [
                tried(
                    lambda *given, metric=metric: call(metric, *given),
                    *(model, arrays["x"][[i]], targets[[i]], kept[maps][[i]], kept["masks"][[i]]),
                )
                for i in range(len(targets))
            ]
            for maps in kept
            if maps.startswith("heatmap/")
        }
        for name, metric in metrics.items()
    }
    text = json.dumps({"commit": commit, "scores": scores}, indent=0, sort_keys=True)
    (GOLDEN / "quantus_main.json").write_text(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
