"""The image browser of a page: images as they are, each of them where there is room."""

import base64
import json

import numpy as np
import pytest

from xai_exp.report.pages import browser
from xai_exp.studies import publish


def maps(images, explainers=2):
    drawn = {f"m{place}": np.ones(images.shape[:3]) for place in range(explainers)}
    return browser.Maps(
        setting="own",
        images=images,
        masks=None,
        captions=[f"{place} a.png" for place in range(len(images))],
        models={"cnn": drawn},
        channels=3,
    )


def decoded(text, shape):
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)


@pytest.mark.parametrize(("channels", "colours"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_images_keep_their_colours(channels, colours):
    made = np.random.default_rng(0).integers(0, 256, (4, channels, 3, 5), np.uint8)
    seen = publish._seen(made)
    (found,) = json.loads(browser.data([maps(seen)]))
    assert (found["size"], found["colours"]) == ([3, 5], colours)
    shown = decoded(found["images"], (4, 3, 5, colours))
    expected = np.moveaxis(made[:, :colours], 1, -1)
    if channels < 3:
        expected = made.mean(1).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(shown, expected)


def test_every_image_is_there_where_there_is_room():
    small = np.zeros((40, 3, 5), np.uint8)
    assert len(json.loads(browser.data([maps(small)]))[0]["captions"]) == 40
    large = np.zeros((40, 300, 500), np.uint8)
    found = json.loads(browser.data([maps(large, explainers=4)]))[0]
    assert len(found["captions"]) == 12
    assert len(base64.b64decode(found["models"][0]["heatmaps"]["m0"])) == 12 * 300 * 500
