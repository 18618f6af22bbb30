"""python -m benchmarks.memory.

The most memory that a run takes, in a process of its own, by the number of images and of
explainers: 64x64 scenes of up to six objects, whose images and masks take 0.11 MiB each. What a
further image costs is the slope between the ends. Beside it what a process takes that has only
loaded what a run loads.
"""

import os
import subprocess
import sys
import tempfile

from benchmarks.kept import environment, keep

IMAGES = (64, 256, 1024, 3000)
EXPLAINERS = (
    *("gradient", "lrp", "sensitivity", "input_x_gradient"),
    *("deconvnet", "guided_backprop", "sobel", "laplacian"),
)
_HELD = 7 * 64 * 64 * 4 / 2**20  # MiB: an image and six masks
_LOADED = (
    "import os, mlflow.store.tracking.sqlalchemy_store; from xai_exp import build, pipeline; "
    "os._exit(0)"  # as a run ends
)
_TRAINING = ("dataset=counting_small", "trainer.samples=3000", "metric=[sparseness,relevance_mass]")


def main() -> None:
    """Print the table and keep it."""
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows["loaded, MiB"] = _most(["-c", _LOADED], folder)
        print(f"loaded: {rows['loaded, MiB']:.0f} MiB", flush=True)
        _peak(folder, 8, 1)  # trains the network
        for images in IMAGES:
            rows[f"by images, {images}, MiB"] = peak = _peak(folder, images, 2)
            print(f"{images} images, 2 explainers: {peak:.0f} MiB", flush=True)
        for count in (2, len(EXPLAINERS)):
            rows[f"by explainers, {count}, MiB"] = peak = _peak(folder, 1000, count)
            print(f"1000 images, {count} explainers: {peak:.0f} MiB", flush=True)
    few, many = (rows[f"by images, {images}, MiB"] for images in (IMAGES[0], IMAGES[-1]))
    slope = (many - few) / (IMAGES[-1] - IMAGES[0])
    rows |= {"a further image, MiB": slope, "a further image, ratio": slope / _HELD}
    print(f"a further image: {slope:.2f} MiB, {slope / _HELD:.1f} of what it and its masks take")
    keep("memory", rows)


def _peak(folder: str, images: int, count: int) -> float:
    """The largest resident size of a run's process, in MiB."""
    names = ",".join(EXPLAINERS[:count])
    words = [*_TRAINING, f"images={images}", f"explainer=[{names}]", "device=cpu"]
    return _most(["-m", "xai_exp", *words], folder)


def _most(words: list[str], folder: str) -> float:
    """The largest resident size of a process of Python, in MiB."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=environment(), stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {' '.join(words)} ended with {process.returncode}")
    return used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
