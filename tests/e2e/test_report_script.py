"""What the script of a page does, in a browser without a window where there is one."""

import re

import numpy as np
import pytest

from xai_exp.report import tables
from xai_exp.report.pages import document
from xai_exp.report.pages.browser import Maps, data

PROBE = """
<script>
const found = {}, table = document.querySelector("table");
const first = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
const head = table.tHead.rows[0].cells[1];
head.click(); found.up = first(); head.click(); found.down = first();
found.csv = spreadsheet(table);
const red = () => [...document.querySelectorAll("canvas")].map(
  one => [...one.getContext("2d").getImageData(0, 0, 1, 1).data.slice(0, 3)]);
const choose = (id, place) => {
  const select = document.getElementById(id);
  select.selectedIndex = place; select.dispatchEvent(new Event("change"));
};
found.maps = red(); choose("image", 1); found.next = red(); choose("model", 1); found.other = red();
const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
const place = { clientX: box.right - 1, clientY: box.top + 1 };
canvas.dispatchEvent(new PointerEvent("pointermove", place));
found.under = document.getElementById("under").textContent;
dispatchEvent(new Event("beforeprint"));
found.open = document.querySelector("details").open;
found.parts = [...document.querySelectorAll(".printed table")].map(
  one => [...one.rows[1].cells].map(cell => cell.textContent));
dispatchEvent(new Event("afterprint"));
const left = document.querySelectorAll(".printed, .apart").length;
found.after = [left, document.querySelector("details").open];
document.body.dataset.found = JSON.stringify(found);
</script>
"""


@pytest.fixture(scope="module")
def found(browsed) -> dict:
    few = tables.table(
        ["name", "score"],
        [
            [tables.cell(name), tables.estimate(value, low, high)]
            for name, value, low, high in (
                ('a "b", c', 10.0, 9.0, 11.0),
                ("small", 2.0, 1.0, 3.0),
                ("none", 3.0, np.nan, np.nan),
            )
        ],
        name="few",
    )
    many = tables.table(
        ["name", *(f"a metric {place}" for place in range(40))],
        [[tables.cell("row"), *(tables.cell(str(place)) for place in range(40))]],
        name="many",
    )
    heat = np.array([[[1.0, 0.5], [0, 0]], [[-1.0, 0.25], [0, 0]]])
    maps = Maps(
        setting="s",
        images=np.array([[[255, 0], [0, 0]], [[51, 102], [0, 0]]], np.uint8),
        masks=None,
        captions=["one", "two"],
        models={"m0": {"lrp": heat}, "m1": {"lrp": -heat}},
    )
    browser = (
        '<select id="setting"></select><select id="model"></select><select id="image"></select>'
        f'<p id="methods"></p><div class="maps" id="maps"></div><p id="under"></p>'
        f'<script type="application/json" id="data">{data([maps])}</script>'
    )
    page = document.filled(
        "stability.html", title="t", summary="s", sections=[], figures={}, likeness=[]
    )
    page = page.replace("<main>", f"<main>{few}<details>{many}</details>{browser}")
    return browsed(page.replace("</body>", f"{PROBE}</body>"))


def test_a_click_sorts_by_number_and_the_next_one_turns_the_order(found):
    assert found["up"] == ["small", "none", 'a "b", c']
    assert found["down"] == ['a "b", c', "none", "small"]


def test_a_number_and_its_interval_are_columns_of_their_own_in_a_spreadsheet(found):
    assert found["csv"] == [
        ["name", "score", "score (low)", "score (high)"],
        ['a "b", c', "10", "9", "11"],
        ["none", "3", "", ""],
        ["small", "2", "1", "3"],
    ]


def test_the_choice_of_image_and_model_changes_the_heatmaps(found):
    red, blue = [165, 15, 34], [11, 74, 143]
    assert found["maps"] == [[255] * 3, red]
    assert found["next"] == [[51] * 3, blue]
    assert found["other"] == [[51] * 3, red]


def test_the_values_under_the_pointer_are_those_of_its_pixel(found):
    at, image, heat = re.fullmatch(r"pixel (1, 0): image (.*) · lrp (.*)", found["under"]).groups()
    assert (at, image) == ("1, 0", "0.40")
    assert float(heat) == pytest.approx(-0.25, abs=0.01)


def test_a_table_wider_than_the_paper_is_printed_in_parts_with_its_names_and_folds_again(found):
    assert found["open"]
    assert len(found["parts"]) > 1
    assert all(part[0] == "row" for part in found["parts"])
    assert [cell for part in found["parts"] for cell in part[1:]] == [str(n) for n in range(40)]
    assert found["after"] == [0, False]
