"""A page says when it was made, how to cite it, where its tables are, and whether it is a trial."""

from datetime import date
from pathlib import Path

from xai_exp.config import config_folder
from xai_exp.report import glossary
from xai_exp.report.pages import cite, index

PAGE = "<head><title>t</title><!-- date --></head><!-- banner --><p>x</p><!-- cite -->"
MADE = cite.Made("my-study", "Which? <b>", "0.1.0", "a" * 40, date(2026, 1, 2))


def test_the_page_is_dated_cited_and_links_its_tables():
    page = cite.filled(PAGE, MADE)
    assert '<meta name="date" content="2026-01-02">' in page
    assert '<a href="my-study.csv">' in page
    assert '<a href="my-study.parquet">' in page
    assert "@misc{xai_exp_my_study," in page
    assert "commit aaaaaaaaaaaa" in page
    assert "<b>" not in page
    assert "<!--" not in page
    assert "banner" not in page


def test_a_trial_and_a_smaller_study_have_a_banner():
    assert "size=tiny" in cite.filled(PAGE, MADE._replace(name="study-tiny"))
    assert "study.html" in cite.filled(PAGE, MADE._replace(name="study-smaller"))


def test_the_index_says_the_day(tmp_path: Path):
    (tmp_path / "a.html").write_text(cite.filled(PAGE, MADE))
    (tmp_path / "b.html").write_text("<head><title>older</title></head>")
    assert [one.day for one in index.entries(tmp_path)] == ["2026-01-02", ""]
    written = index.write(tmp_path)
    assert written is not None
    assert written.read_text().count("2026-01-02") == 1


def test_every_metric_of_the_configuration_has_a_meaning():
    lists = {"all", "axioms", "faithfulness", "funny_birds", "localisation", "quick"}
    lists |= {"randomisation", "robustness", "truth"}
    names = {path.stem for path in (config_folder() / "metric").glob("*.yaml")} - lists
    assert [name for name in sorted(names) if not glossary.meaning(name)] == []
    assert glossary.told(["road (steps=3)", "unheard_of"])[0][0] == "road"
