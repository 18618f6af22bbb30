"""The viewer: what a store holds, as one page, on this machine only."""

import json
import threading
from http.client import HTTPConnection

import numpy as np
import pandas as pd
import pytest

from xai_exp.config import InputError
from xai_exp.tracking import Kept
from xai_exp.tracking.interface import Nowhere
from xai_exp.view import page, serving, stored

IMAGES = np.random.default_rng(0).integers(0, 255, (3, 3, 4, 6), np.uint8)
PARTS = np.zeros((3, 2, 4, 6), np.uint8)
PARTS[:, 0, :2], PARTS[:, 1, 2:, 3:] = 255, 200


def kept(explainer, run, *, seed="0", dataset="own", images=IMAGES, **more):
    heatmaps = np.zeros((len(images), *images.shape[2:]), np.float32)
    heatmaps[:, 0, 0], heatmaps[:, 3, 5] = 4.0, -2.0
    shown = np.array([[0.6, -0.3, 0.1]] * len(images))
    arrays = {
        **{"heatmaps": heatmaps, "images": images, "parts": PARTS, "shown/objects": shown},
        **{"worth/objects": np.array([[2.0, -1.0], [1.0, np.nan], [0.0, 0.0]])},
        **{"curve/flip/x": np.array([0, 0.5, 1]), "curve/flip/morf": np.array([1, 0.25, 0])},
    }
    rows = {
        **{"image": range(3), "label": 0, "class": "cat </script>", "prediction": 1, "target": 1},
        **{"metric": "flip", "higher_is_better": True, "score": [0.5, np.nan, 0.25]},
        "file": ["a/one.png", "a/two.png", "b/two.png"],
    }
    tags = {
        "explainer": explainer,
        "model": "cnn",
        "seed": seed,
        "study": "mine",
        "study.ours": "x",
    }
    return Kept(
        run=run,
        tags={**tags, "dataset": dataset, "model_key": f"key {seed}"},
        params={"dataset.name": dataset, "model.name": "cnn", "explainer.name": explainer},
        scores=pd.DataFrame(rows),
        accuracy=0.9,
        seconds=0.1,
        arrays=lambda: {
            name: one for name, one in arrays.items() if name not in more.get("no", ())
        },
    )


class Store(Nowhere):
    def __init__(self, *runs):
        self.runs = list(runs)

    def kept(self, runs=None, condition=""):  # noqa: ARG002
        return self.runs


RUNS = [kept("lrp_z", "abcd1"), kept("gradient", "abcd2"), kept("lrp_z", "ffff3", seed="1")]


def shown(text):
    return json.loads(text.partition('id="view">')[2].partition("</script>")[0])


def test_networks_and_explainers_stand_under_the_images_that_they_share():
    other = kept("lrp_z", "eeee", dataset="other", images=255 - IMAGES)
    found = stored.settings([*RUNS, other])
    assert [one.name for one in found] == ["own", "other"]
    assert list(found[0].networks) == ["cnn seed 0", "cnn seed 1"]
    assert list(found[0].networks["cnn seed 0"].explained) == ["lrp_z", "gradient"]
    np.testing.assert_array_equal(found[0].parts[0][:, 3], [1, 1, 2, 2])
    np.testing.assert_array_equal(found[1].images, 255 - IMAGES)


def test_other_images_of_the_same_name_are_another_setting():
    found = stored.settings([RUNS[0], kept("gradient", "e", images=255 - IMAGES)])
    assert [one.name for one in found] == ["own", "own (2)"]


def test_the_page_holds_the_numbers_of_the_store():
    (one,) = shown(page.made(stored.settings(RUNS), "All <heatmaps>", 2))
    assert (one["count"], one["size"], one["files"]) == (2, [4, 6], ["a/one.png", "a/two.png"])
    (first, _) = one["networks"]
    assert first["worth"] == [[2.0, -1.0], [1.0, None]]
    assert first["told"][0] == "label 0 (cat </script>), said 1, explained 1"
    lrp = first["explained"][0]
    assert lrp["name"] == "lrp z"
    assert lrp["ends"] == pytest.approx([3.77] * 2, abs=0.01)  # between the two largest
    assert lrp["scores"] == {"flip": [0.5, None]}
    assert lrp["curves"] == {"flip": [[0.0, 0.5, 1.0], [1.0, 0.25, 0.0]]}


def test_a_study_a_run_or_all_are_chosen_and_others_are_refused():
    store = Store(*RUNS)
    assert (
        stored.chosen(store, "")
        == stored.chosen(store, "mine")
        == stored.chosen(store, "ours")
        == RUNS
    )
    assert stored.chosen(store, "abcd") == RUNS[:2]
    with pytest.raises(
        InputError, match=r"got yours; allowed: a study \(mine, ours\), the beginning"
    ):
        stored.chosen(store, "yours")
    with pytest.raises(InputError, match="store without explanations"):
        stored.chosen(Store(), "")
    with pytest.raises(InputError, match="runs without pictures"):
        stored.settings([kept("lrp", "a", no=["images"])])
    with pytest.raises(InputError, match="--images: got 0"):
        page.made(stored.settings(RUNS), "t", 0)


def test_more_than_a_browser_opens_is_refused(monkeypatch):
    monkeypatch.setattr(page, "MOST", 1000)
    with pytest.raises(InputError, match="one study instead of all, or fewer --images"):
        page.made(stored.settings(RUNS), "t", 3)


def test_it_is_served_on_loopback_to_nobody_else():
    with serving.server("<p>ä</p>", None) as one:
        assert one.server_address[0] == "127.0.0.1"
        threading.Thread(target=one.serve_forever, daemon=True).start()

        def asked(path, host):
            connection = HTTPConnection("127.0.0.1", one.server_port, timeout=10)
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            found = answer.status, answer.read().decode()
            connection.close()
            return found

        assert asked("/", "localhost") == (200, "<p>ä</p>")
        assert asked("/", "evil.example")[0] == 403
        assert asked("/../etc", "127.0.0.1")[0] == 404
        with pytest.raises(InputError, match="allowed: a free port, or none"):
            serving.server("", one.server_port)
        one.shutdown()


DRIVEN = """<script>
const said = id => $(id).textContent, found = { first: said("told"), wide: document.documentElement.scrollWidth };
const type = text => { $("image").value = text; $("image").onchange(); return [said("told").slice(0, 19), $("wrong").hidden]; };
found.typed = ["1", "one", "two.png", "b/two", "9"].map(type);
type("0");
const at = (canvas, x, y) => { const box = canvas.getBoundingClientRect(); canvas.onpointermove({ clientX: box.left + x * box.width, clientY: box.top + y * box.height }); };
at(document.querySelectorAll("#maps canvas")[1], 0.01, 0.01);
found.under = said("under");
found.row = document.querySelector("tr.under").textContent;
const svg = document.querySelector("#curves svg"), box = svg.getBoundingClientRect();
svg.onpointermove({ clientX: box.left + box.width / 2 });
found.curve = document.querySelector("#curves figure").textContent;
const paint = () => [...document.querySelectorAll("#maps canvas")[1].getContext("2d").getImageData(0, 0, 2, 1).data];
found.white = paint(); $("overlay").click(); found.over = paint();
$("methods").querySelector("input").click();
found.maps = document.querySelectorAll("#maps canvas").length;
document.body.dataset.found = JSON.stringify(found);
</script>"""  # noqa: E501


def test_a_person_finds_an_image_and_reads_pixels_parts_and_curves(browsed):
    seen = browsed(page.made(stored.settings(RUNS), "t", 3) + DRIVEN)
    assert seen["first"].startswith("Image 0 a/one.png: label 0 (cat </script>), said 1")
    assert [one[0] for one in seen["typed"][:2]] == ["Image 1 a/two.png: ", "Image 0 a/one.png: "]
    assert [one[1] for one in seen["typed"]] == [True, True, False, True, False]
    assert seen["typed"][3][0] == "Image 2 b/two.png: "
    assert seen["under"].startswith("pixel 0, 0, part 1: lrp z 3.7")
    assert seen["row"] == "part 167 %60 %60 %"
    assert "at 0.5:lrp z 0.25gradient 0.25" in seen["curve"]
    assert seen["white"] == [165, 15, 34, 255, 255, 255, 255, 255]
    assert seen["over"][:4] == [165, 15, 34, 255]
    assert seen["over"][4] < 255
    assert seen["maps"] == 2
    assert seen["wide"] <= 800
