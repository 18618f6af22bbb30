"""A survey from its questions to what people said, with people whose preferences are known."""

import json
from collections import Counter

import numpy as np
import pytest
from scipy.special import expit

from xai_exp import cli
from xai_exp.config import InputError
from xai_exp.survey import analysis, answers, design, key, page, results

METHODS = ("exact truth", "good", "edges", "noise")
TRUE = dict(zip(METHODS, (1.2, 0.4, -0.5, -1.1), strict=True))
RULES = {"a": "It counts <red>.", "b": "It counts green.", "c": "It counts both."}


def material(mechanism="", images=12, seed=0):
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=(images, 5, 4)) for name in METHODS}
    skill = {name: rng.normal(TRUE[name], 0.1, images) for name in METHODS}
    cost = {name: -rows for name, rows in skill.items() if name != "noise"}
    return design.Material(
        mechanism=mechanism,
        images=rng.integers(0, 255, (images, 3, 5, 4), np.uint8),
        says=[f"{place % 3}" for place in range(images)],
        heatmaps=drawn,
        scores={"skill": skill, "cost": cost},
    )


@pytest.fixture(scope="module")
def pairs():
    materials = [material(), material(seed=1)]
    places = [(network, image) for network in range(2) for image in range(12)]
    return page.made(
        page.Asked(
            title="Which is <better>?",
            materials=materials,
            questions=design.pairs(METHODS, places, 36, seed=0),
            controls=["exact truth", "edges", "noise"],
            higher={"skill": True, "cost": False},
            truths=["skill"],
        )
    )


@pytest.fixture(scope="module")
def guesses():
    conditions = [design.NOTHING, "noise", "good"]
    return page.made(
        page.Asked(
            title="Which rule?",
            materials=[material(name, seed=place) for place, name in enumerate("abc")],
            questions=design.guesses(3, conditions, images=12, pictures=4, seed=0),
            controls=["noise"],
            placebo="noise",
            mechanisms=RULES,
        )
    )


def shown(text):
    return json.loads(text.partition('id="survey">')[2].partition("</script>")[0])


def people(found, count, seed=0, right=None):
    """Answers by true strengths, or right with a probability that hangs on what is shown."""
    rng = np.random.default_rng(seed)
    for rater in range(count):
        given = []
        for name, item in found.items.items():
            one, other = item.choices[0], item.choices[-1]
            if right is None:
                lead = TRUE[item.methods[one]] - TRUE[item.methods[other]]
                choice = one if rng.random() < expit(lead) else other
            else:
                wrong = [rule for rule in item.choices if rule != item.right]
                choice = item.right if rng.random() < right[item.condition] else rng.choice(wrong)
            given.append({"item": name, "answer": str(choice), "seconds": 2.5})
        yield {"survey": found.survey, "rater": f"r{rater}", "form": rater % found.forms} | {
            "answers": given
        }


def kept(folder, told):
    told = list(told)
    paths = [folder / f"{one['rater']}.json" for one in told]
    for path, one in zip(paths, told, strict=True):
        path.write_text(json.dumps(one))
    return paths


def test_the_page_is_blind_and_each_side_and_pair_is_shown_evenly(pairs):
    text, found = pairs
    data = shown(text)
    assert not any(name in text for name in METHODS)
    assert "Which is &lt;better&gt;?" in text
    first, second = data["forms"]
    assert [one["choices"] for one in first] == [one["choices"][::-1] for one in second]
    assert all(one["pictures"][0]["maps"] == one["choices"] for one in first)
    met = Counter(frozenset(item.methods.values()) for item in found.items.values())
    assert set(met.values()) == {6}
    asked = Counter((*sorted(i.methods.values()), i.network, i.image) for i in found.items.values())
    assert set(asked.values()) == {1}
    left = Counter(found.items[one["id"]].methods[one["choices"][0]] for one in first)
    assert max(left.values()) <= 13
    assert {name: len(one) for name, one in data["maps"].items()}


def test_over_the_forms_of_a_survey_of_rules_pictures_favour_no_condition(guesses):
    text, found = guesses
    data = shown(text)
    assert "noise" not in text
    assert data["names"] == RULES
    seen = Counter()
    for form in data["forms"]:
        for one in form:
            item = found.items[one["id"]]
            assert len(one["pictures"][0]["maps"]) == (item.condition != design.NOTHING)
            for picture in one["pictures"]:
                seen[item.network, item.condition, picture["picture"]] += 1
    assert set(seen.values()) == {1}
    assert len(seen) == 3 * 3 * 12


def test_the_truth_s_map_is_each_part_s_worth_over_its_pixels():
    parts = np.zeros((1, 3, 2, 2))
    parts[0, 0, 0], parts[0, 1, 1, 1] = 255, 255
    drawn = design.truth_map(np.array([[1.0, -0.5, np.nan]]), parts)
    np.testing.assert_allclose(drawn, [[[0.5, 0.5], [0, -0.5]]])


def test_known_preferences_are_recovered(pairs, tmp_path):
    """Of 8 surveys of four strengths 30 intervals of 32 are expected to hold the truth."""
    _, found = pairs
    held = []
    for seed in range(8):
        told = answers.read(kept(tmp_path, people(found, 12, seed)), found)
        methods, strengths = analysis.ranked(found, told)
        known = [strengths.strength(place) for place in range(len(methods))]
        both = zip(known, methods, strict=True)
        held += [one.low <= TRUE[name] <= one.high for one, name in both]
    assert sum(held) >= 28
    assert all(one.high - one.low < 1.1 for one in known)


def test_leads_hold_together(pairs, tmp_path):
    """Six leads of four methods: each at 1 - 0.05 / 6."""
    _, found = pairs
    said = analysis.preferred(found, answers.read(kept(tmp_path, people(found, 12)), found))
    one, other = METHODS[:2]
    places = [said.methods.index(name) for name in (one, other)]
    assert said.lead(one, other) == said.strengths.lead(*places, 1 - 0.05 / 6)
    assert said.lead(one, other).low < said.strengths.lead(*places).low
    assert said.strengths.by_picture.groups == len(
        {(i.network, i.image) for i in found.items.values()}
    )


def test_metrics_that_tell_what_people_prefer_are_said_to(pairs, tmp_path):
    _, found = pairs
    said = analysis.preferred(found, answers.read(kept(tmp_path, people(found, 12)), found))
    skill, cost = said.metrics["skill"], said.metrics["cost"]
    assert skill.order == cost.order == pytest.approx(1)
    assert skill.share.low > 0.6
    assert cost.share.n == 12 * 18  # noise has no cost
    assert said.alpha.low > 0.02
    assert said.left.low < 0.5 < said.left.high


def test_what_heatmaps_add_to_a_placebo_is_recovered(guesses, tmp_path):
    _, found = guesses
    right = {design.NOTHING: 0.4, "noise": 0.4, "good": 0.9}
    told = kept(tmp_path, people(found, 40, right=right))
    said = analysis.guessed(found, answers.read(told, found))
    assert said.chance == pytest.approx(1 / 3)
    assert said.effect["good"].low <= 0.5 <= said.effect["good"].high
    assert said.effect["good"].low > 0.2
    assert said.effect[design.NOTHING].low < 0 < said.effect[design.NOTHING].high
    _, table, headline = results.written(found, answers.read(told, found))
    assert "mechanism, against the placebo (noise): good" in headline
    assert len(table) == 3 + 2 + 1


def test_the_command_writes_a_page_and_a_table_and_a_sheet_says_the_same(pairs, tmp_path, capsys):
    _, found = pairs
    (tmp_path / "s.key.json").write_text(found.written())
    told = list(people(found, 5))
    first = kept(tmp_path, told[:4])
    lines = ["survey,rater,form,item,answer,seconds"] + [
        f"{found.survey},r4,0,{one['item']},{one['answer']},2.5" for one in told[4]["answers"]
    ]
    (tmp_path / "r4.csv").write_text("\n".join(lines))
    files = [str(one) for one in (*first, tmp_path / "r4.csv")]
    cli.survey([*files, "--key", str(tmp_path / "s.key.json")])
    said = capsys.readouterr().out
    assert "Of the methods people prefer good, clearly to " in said
    text = (tmp_path / "s-results.html").read_text()
    assert "5 people, 180 answers" in text
    assert '<p class="headline">Of the methods people prefer good, clearly' in (
        tmp_path / "index.html"
    ).read_text("utf-8")
    pictures = len({(one.network, one.image) for one in found.items.values()})
    assert f"allow for how the 5 raters and the {pictures} pictures differ" in text
    assert (tmp_path / "s-results.csv").read_text().count("\n") == 1 + 4 + 4 + 1 + 1 + 2


def test_what_always_wins_is_told_of(pairs, tmp_path):
    _, found = pairs
    told = list(people(found, 1))
    for one in told[0]["answers"]:
        names = found.items[one["item"]].methods
        best = [choice for choice, name in names.items() if name == "exact truth"]
        one["answer"] = (best or [one["answer"]])[0]
    text, _, _ = results.written(found, answers.read(kept(tmp_path, told), found))
    assert "Firth's penalty" in text
    assert "undefined, as nobody else answered" in text
    assert "How raters differ can't be told" in text


def changed(one, **change):
    return one | {"answers": [one["answers"][0] | change, *one["answers"][1:]]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: "not JSON", "something else than answers"),
        (lambda _: "[1]", "something else than answers"),
        (lambda one: one | {"survey": "0" * 16}, "answers to survey 0000000000000000; allowed: to"),
        (lambda one: one | {"answers": one["answers"][:-2]}, "missing: q035, q036; allowed: one"),
        (lambda one: one | {"answers": one["answers"][:1]}, "q006 and 30 more"),
        (lambda one: one | {"answers": [*one["answers"], one["answers"][0]]}, "twice: q001"),
        (lambda one: one | {"form": 2}, "form 2; allowed"),
        (lambda one: one | {"rater": "<b>"}, "rater '<b>'"),
        (lambda one: changed(one, answer="m"), "'m' for q001"),
        (lambda one: changed(one, item="q999"), "unknown: q999"),
        (lambda one: changed(one, seconds="x"), "something else"),
    ],
)
def test_broken_answers_are_refused_in_one_line(pairs, tmp_path, change, words):
    _, found = pairs
    (one,) = people(found, 1)
    path = tmp_path / "broken.json"
    made = change(one)
    path.write_text(made if isinstance(made, str) else json.dumps(made))
    with pytest.raises(InputError, match=r"^\S+broken.json: ") as told:
        answers.read([path], found)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_one_rater_counts_once_and_a_changed_key_is_no_key(pairs, tmp_path):
    _, found = pairs
    (path,) = kept(tmp_path, people(found, 1))
    with pytest.raises(InputError, match="got rater r0, of whom"):
        answers.read([path, path], found)
    with pytest.raises(InputError, match="got no answers"):
        answers.read([], found)
    written = tmp_path / "s.key.json"
    written.write_text(found.written())
    assert key.read(written) == found
    written.write_text(found.written().replace('"noise"', '"nice"'))
    with pytest.raises(InputError, match="which was changed"):
        key.read(written)
    for text in ("{}", "[]", "no"):
        written.write_text(text)
        with pytest.raises(InputError, match="no key of a survey"):
            key.read(written)
    with pytest.raises(InputError, match="can't be read"):
        key.read(tmp_path / "none")


@pytest.mark.parametrize(("images", "questions"), [(16, 56), (28, 56), (56, 56), (7, 196), (1, 28)])
def test_questions_are_about_as_many_pictures_as_there_are(images, questions):
    asked = design.pairs("abcdefgh", [(0, image) for image in range(images)], questions, seed=0)
    shown = Counter(one.image for one in asked)
    assert len(shown) >= min(images, questions) - 1
    assert max(shown.values()) <= questions // images + 2
    again = Counter((one.image, frozenset(one.methods)) for one in asked)
    assert set(again.values()) == {1}


def test_more_questions_than_there_are_pictures_for_are_refused():
    with pytest.raises(InputError, match="allowed: 3, so that each two methods meet, to 6"):
        design.pairs(("a", "b", "c"), [(0, 0), (0, 1)], 7, seed=0)
    with pytest.raises(InputError, match=r"survey.pictures: got 4 for 3 conditions and 11 images"):
        design.guesses(2, ["a", "b", "c"], images=11, pictures=4, seed=0)


DRIVEN = """<script>
const found = { files: [], names: [], asked: [] };
Blob = class { constructor(parts) { found.files.push(parts.join("")); } };
URL.createObjectURL = () => "data:,";
HTMLAnchorElement.prototype.click = function () { found.names.push(this.download); };
const key = name => dispatchEvent(new KeyboardEvent("keydown", { key: name }));
$("rater").value = "not allowed!"; $("begin").click();
found.wrong = !$("wrong").hidden && $("asking").hidden;
$("rater").value = "anna"; $("begin").click();
while (!$("asking").hidden && found.asked.length < 99) {
  found.asked.push($("where").textContent);
  if (found.asked.length === 3) {
    $("back").click(); found.back = $("where").textContent; key("2");
  }
  const [left, right] = $("choices").children;
  TRUE[right.dataset.choice] > TRUE[left.dataset.choice] ? key("ArrowRight") : left.click();
}
$("json").click(); $("csv").click();
found.copied = $("text").value === found.files[0];
document.body.dataset.found = JSON.stringify(found);
</script>"""


def test_a_person_s_clicks_come_back_as_a_file_that_the_command_reads(pairs, browsed, tmp_path):
    text, found = pairs
    strengths = {c: TRUE[name] for one in found.items.values() for c, name in one.methods.items()}
    seen = browsed(text + DRIVEN.replace("TRUE[", f"({json.dumps(strengths)})["))
    assert seen["wrong"]
    assert seen["back"] == "2 of 36"
    assert seen["copied"]
    assert seen["names"] == ["answers-anna.json", "answers-anna.csv"]
    paths = tmp_path / "a.json", tmp_path / "b.csv"
    for path, content in zip(paths, seen["files"], strict=True):
        path.write_text(content)
    (one,), (other,) = (answers.read([path], found) for path in paths)
    assert one == other
    assert one.rater == "anna"
    liked = {name: found.items[name].methods[choice] for name, choice in one.given.items()}
    best = {name: max(i.methods.values(), key=TRUE.get) for name, i in found.items.items()}
    assert sum(liked[name] != best[name] for name in best) <= 1  # the one that was gone back to
