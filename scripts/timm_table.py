"""Write docs/timm.md: a small network of each family of timm by the methods that need rules.

`python scripts/timm_table.py [NETWORK ...]` runs in an environment that has this project and timm
(pip install timm); `--page` writes the page of what is stored, without it. Each network is measured
in a process of its own and stored in scripts/timm.json, so that a run that was stopped goes on. It
is the first that timm lists with a name for small ones and fewer than 40 million parameters, at the
smallest size that it takes of 64 to 256 pixels, with seeded weights and batch norms that have seen
noise, as in networks_table.py. Families whose every network is larger are left out.

A cell is as in docs/networks.md. `alone` is how far the gradient of one image is from that which it
has in a batch of two, over its largest value.
"""

import json
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from networks_measure import CLASSES, explainers, fitting, measured
from networks_table import cell, letters_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "timm.md"
STORED = ROOT / "scripts" / "timm.json"
SIZES = (64, 96, 128, 160, 192, 224, 256)
METHODS = (
    *("gradient", "lrp", "lrp_z", "lrp_gamma", "attn_lrp", "excitation_backprop", "deep_taylor"),
    *("rap", "deeplift", "deeplift_reveal_cancel", "full_grad", "guided_backprop", "grad_cam"),
)
NETWORKS = """
halonet26t resnext26ts cait_xxs24_224 coat_mini convit_tiny convmixer_768_32 convnext_femto
cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_s cspnext_tiny davit_tiny deit_tiny_patch16_224
densenet121 dla34 dpn68 edgenext_xx_small efficientformer_l1 efficientformerv2_s0 tinynet_a
efficientvim_m1 efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_s12
focalnet_tiny_lrf gcvit_xxtiny ghostnet_050 hardcorenas_a hgnet_tiny hiera_tiny_224
sam2_hiera_tiny hrnet_w18 iformer_t inception_next_atto inception_v3 lcnetv2_small levit_384_s8
lowformer_b0 mambaout_femto maxvit_pico_rw_256 poolformer_s12 gmlp_ti16_224
tf_mobilenetv3_large_minimal_100 mobilevit_xxs mvitv2_tiny nest_tiny nextvit_small nf_resnet26
pit_xs_224 pvt_v2_b0 rdnet_tiny regnetx_004_tv repghostnet_050 repvit_m0_9 res2net50_26w_4s
resnest26d resnet18 resnetv2_18 rexnet_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1
skresnet18 starnet_s050 swiftformer_xs swin_s3_tiny_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224
tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m twins_svt_small visformer_tiny vit_tiny_patch16_224
vit_tiny_r_s16_p8_224 vit_relpos_small_patch16_224 vitamin_small_224 volo_d1_224
ese_vovnet19b_slim legacy_xception xception41 xcit_nano_12_p8_224
"""
HEAD = """# Networks of timm

What the methods that need rules do on a small network of each family of timm {version}, measured by
`python scripts/timm_table.py` where timm is installed: one image of noise, seeded weights. Methods
by gradients and by removal ask a network for no more than its outputs and gradients, so that one of
them is here. What a cell says stands [above torchvision's networks](networks.md); `alone` is how
far the gradient of one image is from that which it has in a batch of two, over its largest value.

{found} of {all} cells are heatmaps; the others are refused by a line below.
"""


def main(names: list[str]) -> int:
    """Measure what is missing, or the networks that are named, and write the page."""
    found: dict[str, Any] = json.loads(STORED.read_text()) if STORED.exists() else {}
    for name in [] if names == ["--page"] else names or NETWORKS.split():
        if not names and name in found:
            continue
        start = time.perf_counter()
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: {(done.stderr.splitlines() or ['ended'])[-1]}", flush=True)
            continue
        found[name] = json.loads(done.stdout.splitlines()[-1])
        STORED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    PAGE.write_text(page(found), "utf-8")
    return 0


def one(name: str) -> dict[str, Any]:
    """The network's family and size, and each method's result on it."""
    import timm  # pyright: ignore[reportMissingImports] - an environment of its own
    import torch

    torch.set_num_threads(1)
    network, size = built(name)
    sources = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    images, references = (torch.rand(4, 3, size, size, generator=source) for source in sources)
    with torch.no_grad():
        targets = network(images).argmax(1)
    every = explainers()
    results: dict[str, Any] = {}
    for method in METHODS:
        given = every[method], network, images, targets, references
        results[method] = measured(method, *given)
    gradient = every["gradient"]
    together = gradient(network, images[:2], targets[:2])[:1]
    alone = gradient(network, images[:1], targets[:1])
    return {
        "family": type(network).__module__.rpartition(".")[2],
        "size": size,
        "parameters": sum(value.numel() for value in network.parameters()),
        "alone": float((alone - together).abs().max() / together.abs().max()),
        "methods": results,
        "version": timm.__version__,
    }


def built(name: str) -> Any:  # noqa: ANN401
    """The network with seeded weights at the smallest size that it takes, in evaluation mode."""
    import timm  # pyright: ignore[reportMissingImports] - an environment of its own

    made = partial(timm.create_model, name, pretrained=False, num_classes=CLASSES)
    ways = ((size, way) for size in SIZES for way in (partial(made, img_size=size), made))
    return fitting(ways, Exception)  # each family says in its own way that a size does not fit


def page(found: dict[str, Any]) -> str:
    """A row a network, and the lines of refusals."""
    for network in found.values():
        for result in network["methods"].values():
            if "refused" in result:  # each family names its layers in its own way
                result["refused"] = re.sub(r"^layer \S+ \(\w+\): ", "", result["refused"])
                result["refused"] = re.sub(r"\(\w+\) whose", "whose", result["refused"])
    letters = letters_of(found)
    results = [one for network in found.values() for one in network["methods"].values()]
    heatmaps = sum("finite" in result and result["finite"] for result in results)
    versions = ", ".join(sorted({one["version"] for one in found.values()}))
    lines = [HEAD.format(version=versions, found=heatmaps, all=len(results))]
    heads = ("family", "network", "pixels", *METHODS, "alone")
    lines += [f"| {' | '.join(head.replace('_', ' ') for head in heads)} |"]
    lines += ["| --- | --- |" + " ---: |" * (len(heads) - 2)]
    for name, one in sorted(found.items(), key=lambda item: item[1]["family"]):
        cells = (cell(one["methods"].get(method), letters) for method in METHODS)
        row = (one["family"], name, str(one["size"]), *cells, f"{one['alone']:.0e}")
        lines.append(f"| {' | '.join(row)} |")
    lines += ["", "## Refused", ""]
    lines += [f"- **{letter}**: {line}" for line, letter in letters.items()]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        import warnings

        with warnings.catch_warnings(action="ignore"):
            print(json.dumps(one(sys.argv[2])))
        sys.exit()
    sys.exit(main(sys.argv[1:]))
