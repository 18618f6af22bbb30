"""The findings were made with what the studies' configurations say today.

Each study has a line `<!-- study: NAME images=N seeds=S,S networks=N -->` in docs/findings.md.
"""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).parents[3]
LINE = re.compile(r"<!-- study: (\w+) images=(\d+) seeds=([\d,]+) networks=(\d+) -->")
TEXT = (ROOT / "docs" / "findings.md").read_text()
FOUND = LINE.findall(TEXT)


def configured(study):
    """Images, seeds and networks of a study's configuration."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", [f"experiment={study}"], return_hydra_config=True)
    params = config.hydra.sweeper.params
    asked = ("value", "reference", "dataset.test_city")  # of the same networks
    networks = math.prod(
        len(re.sub(r"\[[^]]*\]", "one", str(choices)).split(","))
        for name, choices in params.items()
        if name not in asked
    )
    return str(config.images), str(params.seed), str(networks)


@pytest.mark.parametrize(("study", "images", "seeds", "networks"), FOUND)
def test_a_finding_was_made_with_what_its_configuration_says(study, images, seeds, networks):
    assert configured(study) == (images, seeds, networks)


def test_every_study_of_the_findings_says_what_it_was_made_with():
    lines = [study for study, *_ in FOUND]
    assert len(lines) == len(set(lines)) == TEXT.count("<!-- study:")
    assert set(re.findall(r"experiment=(\w+)", TEXT)) <= set(lines)


def test_the_number_of_images_in_a_finding_s_text_is_that_of_its_line():
    section = TEXT.partition("<!-- study: lrp_vs_sensitivity")[2].partition("\n## ")[0]
    said = {study: images for study, images, *_ in FOUND}["lrp_vs_sensitivity"]
    assert re.search(r"x 10 seeds, (\d+)\s+images each", section)[1] == said


KEPT = sorted({path.name.split(".")[0] for path in (ROOT / "docs" / "results").iterdir()})


@pytest.mark.parametrize("study", KEPT)
def test_the_tables_say_what_the_kept_results_say(script, study):
    findings = script("findings")
    assert findings.block(study) == findings.written(study)


@pytest.mark.parametrize("study", sorted(set(KEPT) & {study for study, *_ in FOUND}))
def test_kept_results_are_of_no_other_networks_and_images_than_their_line_says(study):
    path = ROOT / "docs" / "results" / f"{study}.parquet"
    if not path.is_file():
        pytest.skip("a study that keeps tables only")
    scores = pd.read_parquet(path, columns=["image", "seed", "model"])
    images, seeds, networks = next(rest for name, *rest in FOUND if name == study)
    assert scores["image"].nunique() == int(images)
    assert set(scores["seed"]) <= {int(one) for one in seeds.split(",")}
    assert scores["model"].nunique() <= int(networks)  # those that are too inaccurate are left out
