"""Truth at any grain from the command line."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from xai_exp import build, pipeline
from xai_exp.config import config_folder
from xai_exp.studies.publish import Question, publish

TINY = [
    "dataset=typed_counting",
    "dataset.count=200",
    "dataset.pixels=20",
    "dataset.max_counted=2",
    "dataset.max_ignored=1",
    "dataset.min_radius=2",
    "dataset.max_radius=2",
    "dataset.gap=1.5",
    "model=mlp",
    "trainer.samples=400",
    "explainer=gradient",
    "images=4",
    "device=cpu",
]


def job(folder, *asked):
    given = [*TINY, *asked, f"models={folder}/models", f"tracking.root={folder}/mlruns"]
    with initialize_config_dir(str(config_folder()), version_base=None):
        return build.experiment(compose("config", overrides=given))


@pytest.mark.parametrize("division", ["grid", "pixels", "conditional"])
def test_a_command_reaches_every_grain_and_the_page_says_what_its_truth_rests_on(
    tmp_path, division
):
    done = job(tmp_path, f"metric={division}/part_skill")
    assert done.metrics["part_skill"].division == division
    pipeline.run(done)
    tracker = done.tracking.open()
    (kept,) = tracker.kept()
    share = kept.arrays()[f"guard/on_manifold/{division}"]
    known = share[~np.isnan(share)]
    assert len(known)
    assert ((known >= 0) & (known <= 1)).all()
    assert (known == 1).all() == (division == "conditional")
    path, _ = publish([kept], tracker, Question(title="?", name="tiny", folder=tmp_path))
    page = path.read_text()
    assert "Exact truth</h2>" in page
    assert f">{division}</td>" in page
