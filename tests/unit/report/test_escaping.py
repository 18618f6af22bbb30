"""Names that people give stand on pages as text, whatever signs they have."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from xai_exp.report.pages import index
from xai_exp.report.pages.browser import Maps, data
from xai_exp.report.pages.page import Section, Study, render
from xai_exp.verdicts.claims import Better
from xai_exp.verdicts.verdict import answers

HOSTILE = ("</script><b>", "<!--<script>", "\"'&lt;", "$\\no{$", "[/x]{{7*7}}")


class Seen(HTMLParser):
    """Every element with its attributes' names, and what stands in scripts."""

    def __init__(self):
        super().__init__()
        self.elements, self.scripts, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, *sorted(name for name, _ in attrs)))
        self.inside = tag == "script"

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "script"

    def handle_data(self, text):
        if self.inside:
            self.scripts.append(text)


def seen(page):
    found = Seen()
    found.feed(page)
    return found


def page(name):
    rows = [
        {"setting": name, "model": f"m{model}", "architecture": name, "seed": model}
        | {"accuracy": 1.0, "explainer": explainer, "image": image, "metric": metric}
        | {"higher_is_better": True, "reason": "" if image else name}
        | {"score": float(model * factor + image) if image else np.nan}
        for model in range(2)
        for explainer, factor in ((f"{name}1", 1), ("other", 2))
        for image in range(3)
        for metric in (f"{name}m", "plain")
    ]
    scores = pd.DataFrame(rows)
    claims = [Better(text=name, better=f"{name}1", worse="other", metrics=("plain",), source=name)]
    pixels = np.zeros((2, 4, 4), np.uint8)
    maps = Maps(
        setting=name,
        images=pixels,
        masks=None,
        captions=[name, name],
        models={name: {f"{name}1": pixels.astype(float) + 1}},
    )
    line = {f"{name}1": np.arange(3.0), "other": np.ones(3)}
    study = Study(
        title=name,
        scores=scores,
        verdicts=answers(claims, scores),
        commands=[name],
        versions={name: name},
        curves={f"{name}: {name}": (np.arange(3.0), line)},
        maps=[maps],
        pairs=[(f"{name}m", "plain")],
        extras=[Section("t", "<p>x</p>")],
        skipped=[(name, name, name)],
        broken=[(name, name, name)],
        poor=pd.DataFrame([{"dataset": name, "model": name, "seed": 0, "accuracy": 0.5}]),
        least_accuracy=0.9,
    )
    return render(study), maps


@pytest.fixture(scope="module")
def hostile():
    """All at once: a page takes seconds."""
    return page("".join(HOSTILE))


def test_a_name_makes_no_element_no_attribute_and_no_script(hostile):
    name = "".join(HOSTILE)
    (made, maps), harmless = hostile, seen(page("name")[0])
    found = seen(made)
    assert found.elements == harmless.elements
    assert len(found.scripts) == len(harmless.scripts)
    told = json.loads(next(text for text in found.scripts if text.startswith("[{")))
    assert told[0]["name"] == name
    assert told[0]["captions"] == [name, name]
    assert "<" not in data([maps])


def test_the_index_shows_names_of_pages_as_text(tmp_path, hostile):
    (tmp_path / "page.html").write_text(hostile[0])
    (tmp_path / "<b>'.html").write_text("<title>t</title>")
    elements = {one[0] for one in seen(index.write(tmp_path).read_text()).elements}
    assert "b" not in elements
