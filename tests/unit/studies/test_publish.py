"""A page is never hidden by that of a smaller study."""

import itertools

import numpy as np
import pandas as pd
import pytest

from xai_exp.config import InputError
from xai_exp.studies.callbacks import page_name, refuse_nothing
from xai_exp.studies.publish import Question, _caption, publish, unclobbering
from xai_exp.tracking import Kept, Off
from xai_exp.verdicts.claims import Better


def scored(models, images):
    rows = [("s", f"m{m}", i) for m in range(models) for i in range(images)]
    return pd.DataFrame(rows, columns=["setting", "model", "image"])


@pytest.mark.parametrize(
    ("models", "images", "name"),
    [(3, 8, "study"), (5, 8, "study"), (1, 8, "study-smaller"), (5, 4, "study-smaller")],
)
def test_fewer_networks_or_images_get_a_page_of_their_own(tmp_path, models, images, name):
    assert unclobbering(tmp_path, "study", scored(models, images)) == "study"
    scored(3, 8).to_parquet(tmp_path / "study.parquet")
    assert unclobbering(tmp_path, "study", scored(models, images)) == name


def test_a_study_that_is_tried_out_has_a_page_of_its_own():
    assert page_name("study", "tiny") == "study-tiny"
    assert page_name("study", None) == "study"


CLAIM = Better(text="IG beats LRP", better="ig", worse="lrp", metrics=("part_skill", "grid_skill"))
GRAINS = {"part_skill": "objects", "grid_skill": "grid"}


def run(value, reference, seed, explainer, worse_at, grains):
    """A finished run: IG is the better of the two, but at `worse_at`."""
    rng = np.random.default_rng([seed, len(explainer)])
    tables = []
    for metric, grain in grains.items():
        turned = worse_at in (value, reference, grain)
        mean = 1.0 if (explainer == "ig") != turned else 0.0
        scores = mean + 0.01 * rng.standard_normal(12)
        tables.append(
            pd.DataFrame({"image": range(12), "label": 0, "target": 0, "metric": metric}).assign(
                higher_is_better=True, score=scores, reason=""
            )
        )
    told = {f"metric.{name}._target_": "xai_exp.metrics.truth.PartSkill" for name in grains}
    told |= {f"metric.{name}.division": grain for name, grain in grains.items()}
    return Kept(
        run=f"{value} {reference} {seed} {explainer}",
        tags={"dataset": "d", "model": "cnn", "seed": str(seed), "model_key": f"k{seed}"}
        | {"explainer": explainer},
        params={"dataset.name": "d", "value": value, "reference": reference, **told},
        scores=pd.concat(tables, ignore_index=True),
        accuracy=1.0,
        seconds=0.1,
        arrays=lambda: {"heatmaps": np.zeros((12, 2, 2))},
    )


def verdict(folder, values, references, grains=GRAINS, worse_at=""):
    kept = [
        run(*asked, worse_at, grains)
        for asked in itertools.product(values, references, range(3), ("ig", "lrp"))
    ]
    question = Question(title="?", name="study", claims=[CLAIM], folder=folder)
    page, (found,) = publish(kept, Off().open(), question)
    assert f'<meta name="answer" content="{found.answer}: ' in page.read_text()
    return found.answer, found.reason


VALUES, REFERENCES = ("centred", "log_odds"), ("black", "border")


def test_a_report_supports_what_holds_under_two_of_each_choice(tmp_path):
    assert verdict(tmp_path, VALUES, REFERENCES) == ("supported", "")


@pytest.mark.parametrize(
    ("values", "references", "worse_at", "reason"),
    [
        (VALUES[:1], REFERENCES, "", "the explained value (only centred was asked)"),
        (VALUES, ("own",), "", "the reference (only own was asked)"),
        (VALUES, ("own", "black"), "", "the reference (only black, own was asked)"),
        (VALUES, REFERENCES, "grid", "the grain (holds: objects; reversed: grid)"),
        (VALUES, REFERENCES, "black", "the reference (holds: border; reversed: black)"),
    ],
)
def test_a_report_names_the_choice_that_a_claim_hangs_on(
    tmp_path, values, references, worse_at, reason
):
    assert verdict(tmp_path, values, references, worse_at=worse_at) == ("depends on", reason)


def test_the_browser_s_images_are_named_by_file_and_class_where_they_are_known():
    row = {"image": 3, "label": 1, "target": 0}
    assert _caption(row) == "3: label 1, target 0"
    named = _caption({**row, "file": "b/2.png", "class": "b"})
    assert named == "3 b/2.png: label 1 (b), target 0"
    assert _caption({**row, "file": float("nan"), "class": float("nan")}) == (
        "3: label 1, target 0"
    )


def test_a_study_in_which_nothing_could_be_explained_has_failed():
    refuse_nothing(skipped=3, planned=4)
    with pytest.raises(InputError, match="nothing was explained"):
        refuse_nothing(skipped=4, planned=4)
