"""Figures of a page: as the page's style colours them, readable on a phone, the same every time."""

import html
import re
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from xai_exp.report.figures import ink, plots, stability, validity
from xai_exp.report.figures.svg import svg
from xai_exp.report.pages import document
from xai_exp.statistics import Ranking

PHONE = 358  # pixels that a figure has where the screen has 390
LONG = "lrp_sequential_preset_a_flat"
NAMES = [LONG, "lrp", "sensitivity", *(f"explainer_{place}" for place in range(21))]


def critical_difference(count=24):
    return plots.critical_difference(Ranking(np.arange(count) + 1.5, 0.001, 6.5, 12), NAMES[:count])


def agreement(count):
    names = [f"parameter_randomisation_independent_{place}" for place in range(count)]
    table = np.cos(np.arange(count)[:, None] - np.arange(count))
    table[0, 1] = np.nan
    return plots.agreement(table, names)


def lines(draw=plots.curves):
    x, y = np.linspace(0, 1, 5), {name: np.arange(5.0) + n for n, name in enumerate(NAMES)}
    return draw(x, y)


def graded(count=40):
    rows = {"metric": [f"parameter_randomisation_independent_{place}" for place in range(count)]}
    for kind in ("within", "means"):
        rows |= {f"{kind}{end}": np.full(count, 0.5) for end in ("", "_low", "_high")}
    return validity.chart(pd.DataFrame(rows), truth="part_shapley")


def choices():
    rows = [(e, c, 0.5, 0.1, 0.01) for e in NAMES[:8] for c in ("pooling", "normalisation")]
    columns = ["explainer", "choice", "share", "expected", "p"]
    return stability.variance(pd.DataFrame(rows, columns=columns))


def accuracy():
    likeness = {name: np.linspace(0, 1, 9) for name in NAMES[:8]}
    return stability.against_accuracy(likeness, np.linspace(0.9, 1, 9))


FIGURES = {
    "ranks": critical_difference,
    "few metrics": lambda: agreement(4),
    "metrics": lambda: agreement(18),
    "many metrics": lambda: agreement(48),
    "curves": lines,
    "pair": lambda: lines(lambda x, y: plots.against(dict.fromkeys(y, x), y, names=("a", "b"))),
    "validity": graded,
    "choices": choices,
    "accuracy": accuracy,
    "similarity": lambda: stability.matrix(np.eye(24), [f"m{n // 2}" for n in range(24)]),
}


@pytest.fixture(scope="module", params=FIGURES)
def drawn(request):
    return svg(FIGURES[request.param](), "what it shows")


def test_no_word_of_a_figure_is_too_small_on_a_phone(drawn):
    wide = float(re.search(r'viewBox="0 0 ([\d.]+)', drawn)[1])
    sizes = {float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", drawn)}
    assert sizes
    assert min(sizes) * PHONE / wide >= 7.3
    assert max(sizes) * PHONE / wide >= 9


def test_a_figure_has_no_paper_of_its_own_and_takes_its_colours_from_the_page(drawn):
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn))
    on_cells = {"#fefefe", "#111111"}
    assert colours - on_cells - {"none"} <= {f"var({name})" for name in ink.VARIABLES.values()}
    assert "var(--ink)" in colours
    assert not re.search(r"background|<style|<rect(?![^>]*/></clipPath>)", drawn)


def test_no_figure_refers_to_anything_outside_it_or_shares_a_name_with_another(drawn):
    assert not re.search(r"https?:", drawn)
    named = set(re.findall(r' id="([^"]+)"', drawn))
    assert named == set(re.findall(r'(?:href="|url\()#([^")]+)', drawn))
    other = svg(lines(), "something else")
    assert not named & set(re.findall(r' id="([^"]+)"', other))


def test_a_figure_is_the_same_text_every_time():
    assert svg(lines(), "one") == svg(lines(), "one")
    assert svg(lines(), "one") != svg(lines(), "other")
    assert svg(critical_difference(5), "one") != svg(critical_difference(6), "one")


def test_what_a_figure_shows_is_said_to_those_who_do_not_see_it():
    made = svg(lines(), 'a "b" <c>')
    assert made.startswith("<svg viewBox=")
    assert 'role="img" aria-label="a &quot;b&quot; &lt;c&gt;"' in made


def themes():
    style = resources.files("xai_exp.report").joinpath("style.css").read_text("utf-8")
    light, dark = re.findall(r":root \{([^}]*--ink[^}]*)\}", style)
    return [dict(re.findall(r"(--\w+): (#[0-9a-f]+)", text)) for text in (light, dark)]


def contrast(one, other):
    """As WCAG has it."""

    def light(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = np.array([int(digits[n : n + 2], 16) for n in (0, 2, 4)]) / 255
        linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    values = sorted((light(one), light(other)))
    return values[1] / values[0]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_a_figure_stands_out_from_the_paper_in_the_light_and_in_the_dark(theme):
    colours = themes()[theme]
    for colour, name in ink.VARIABLES.items():
        least = 7 if colour == ink.INK else 3
        assert contrast(colours[name], colours["--paper"]) >= least, name


def test_a_figure_has_the_same_series_on_a_light_page_as_in_tracking():
    light = themes()[0]
    for colour in ink.SERIES:
        assert light[ink.VARIABLES[colour]] == colour


def test_twenty_lines_look_different():
    looks = {tuple(ink.series(place).values()) for place in range(20)}
    assert len(looks) == 20


def test_methods_that_do_not_differ_are_joined_by_a_bar_over_their_rows():
    ranking = Ranking(np.array([3.0, 1.0, 2.0]), 0.01, 1.2, 9)
    (axes,) = plots.critical_difference(ranking, ["worst", "best", "middle"]).axes
    labels = [label.get_text().split()[0] for label in axes.get_yticklabels()]
    assert labels == ["critical", "best", "middle", "worst"]
    bars = [line for line in axes.lines if line.get_color() == ink.RED]
    assert [np.round(bar.get_ydata()).tolist() for bar in bars] == [[0, 1], [1, 2]]
    assert [len({*bar.get_xdata()}) for bar in bars] == [1, 1]


PROBE = """
<script>
const box = one => one.getBoundingClientRect();
const beside = (a, b) => a.right < b.left + 1 || a.bottom < b.top + 2;
const apart = (a, b) => beside(a, b) || beside(b, a);
const over = (a, b) => a.left < b.left - 1 || a.top < b.top - 1;
const cut = (a, b) => over(a, b) || a.right > b.right + 1 || a.bottom > b.bottom + 1;
const seen = frame => {
  const page = frame.contentDocument, look = one => frame.contentWindow.getComputedStyle(one);
  const found = { wide: page.documentElement.scrollWidth, cut: [], meet: [], drawn: 0 };
  for (const svg of page.querySelectorAll("figure svg")) {
    const texts = [...svg.querySelectorAll("text")].map(one => [one.textContent, box(one)])
      .filter(([text]) => text.trim() !== "*"); // which is smaller than its line
    texts.forEach(([text, one], place) => {
      if (cut(one, box(svg))) found.cut.push(text);
      for (const [other, two] of texts.slice(place + 1))
        if (!apart(one, two)) found.meet.push([text, other]);
    });
    found.drawn += texts.length > 0;
  }
  found.ink = look(page.querySelector("figure svg text")).fill;
  found.line = look(page.querySelector("figure svg [style*='--s1']")).stroke;
  return { ...found, paper: look(page.body).backgroundColor };
};
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(seen);
  document.body.dataset.found = JSON.stringify(found);
};
</script>
"""


@pytest.fixture(scope="module")
def seen(browsed):
    """What a browser makes of all figures on a phone in the light and in the dark."""
    drawn = [f"<figure>{svg(draw(), name)}</figure>" for name, draw in FIGURES.items()]
    page = document.filled(
        "stability.html", title="t", summary="s", sections=[], figures={}, likeness=[]
    ).replace("<main>", "<main>" + "".join(drawn))
    frames = [
        f'<iframe style="width:390px;height:800px;border:0;color-scheme:{scheme}" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        for scheme in ("light", "dark")
    ]
    return browsed("<!DOCTYPE html>" + "".join(frames) + PROBE)


def test_on_a_phone_nothing_scrolls_no_word_is_cut_and_none_meets_another(seen):
    for one in seen:
        assert one["drawn"] == len(FIGURES)
        assert one["wide"] <= 390
        assert one["cut"] == []
        assert one["meet"] == []


def test_in_the_dark_figures_are_as_light_as_the_page_s_words(seen):
    for shown, colours in zip(seen, themes(), strict=True):
        for part, name in (("ink", "--ink"), ("line", "--s1"), ("paper", "--paper")):
            digits = [int(found) for found in re.findall(r"\d+", shown[part])]
            assert contrast("#{:02x}{:02x}{:02x}".format(*digits), colours[name]) < 1.01
