"""A page is never hidden by that of a smaller study."""

import pandas as pd
import pytest

from xai_exp.studies.callbacks import page_name
from xai_exp.studies.publish import unclobbering


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
