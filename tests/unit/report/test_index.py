"""The list of all pages, and what the command line says of it."""

import base64
import io
import re
from threading import Thread

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from xai_exp.cli import main
from xai_exp.report.pages import browser, index
from xai_exp.studies import publish


def page(title, headline="", answers=()):
    metas = "".join(f'<meta name="answer" content="{one}">' for one in answers)
    return (
        f'<html><head><title>{title}</title><meta name="description" content="{headline}">{metas}'
        '</head><body><p>text</p><meta name="answer" content="refuted: not in the head"></body>'
    )


def test_every_page_is_linked_with_its_answers_the_named_studies_first(tmp_path):
    pages = {
        "mine": page("Mine &amp; yours"),
        "adoption": page("What it takes", "Of 6 trials 5 work."),
        "xaitris": page("XAI-TRIS"),
        "lrp_vs_sensitivity": page("LRP?", "Of 2 claims ...", ["supported: a", "not judged: b: c"]),
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text)
    path = index.write(tmp_path)
    text = path.read_text()
    links = re.findall(r'<a href="([^"]+)">', text)
    assert links == ["lrp_vs_sensitivity.html", "adoption.html", "xaitris.html", "mine.html"]
    first = index.entries(tmp_path)[0]
    assert first.claims == [("supported", "a"), ("not judged", "b: c")]
    assert (first.title, first.headline) == ("LRP?", "Of 2 claims ...")
    assert "Mine &amp; yours" in text
    assert '<li class="not-judged"><span class="badge">Not judged:</span> b: c' in text
    assert not re.search(r"https?://", text)
    assert index.write(tmp_path).read_text() == text


def test_a_page_s_picture_is_its_thumbnail_and_nothing_else_is(tmp_path):
    drawn = browser.thumbnail(
        [
            browser.Maps(
                setting="own",
                images=np.full((1, 8, 8), 100, np.uint8),
                masks=None,
                captions=["0"],
                models={"cnn": {"up": np.ones((1, 8, 8)), "down": -np.ones((1, 8, 8))}},
            )
        ]
    )
    for name, content in (("good", drawn), ("bad", "https://example.org/a.png")):
        meta = f'<meta name="thumbnail" content="{content}"></head>'
        (tmp_path / f"{name}.html").write_text(page(name).replace("</head>", meta))
    text = index.write(tmp_path).read_text()
    assert text.count("<img") == 1
    assert f'src="{drawn}"' in text
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))))
    assert pixels.shape == (64, 3 * 64 + 2 * 4, 3)
    seen = [pixels[9, 9 + 68 * place].tolist() for place in range(3)]
    assert seen == [[100, 100, 100], [165, 15, 34], [11, 74, 143]]


def test_a_page_waits_until_no_other_process_writes_it_and_is_linked(tmp_path):
    writer = Thread(target=publish.write, args=(tmp_path, "mine", page("Mine")))
    with FileLock(tmp_path / ".lock"):
        writer.start()
        writer.join(0.5)
        assert writer.is_alive()
        assert not (tmp_path / "mine.html").exists()
    writer.join()
    assert [one.title for one in index.entries(tmp_path)] == ["Mine"]
    assert 'href="mine.html"' in (tmp_path / "index.html").read_text()


def test_the_list_waits_until_no_other_process_writes_a_page(tmp_path):
    writer = Thread(target=index.write, args=(tmp_path,))
    with FileLock(tmp_path / ".lock"):
        (tmp_path / "mine.html").write_text("half of a")
        writer.start()
        writer.join(0.5)
        assert writer.is_alive()
        (tmp_path / "mine.html").write_text(page("Mine"))
    writer.join()
    assert ">Mine</a>" in (tmp_path / "index.html").read_text()


def test_the_list_is_written_by_itself_and_a_folder_without_pages_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"error: got no pages in .*; allowed: a folder with rep"):
        main(["report", "--index", "--out", str(tmp_path)])
    (tmp_path / "one.html").write_text(page("One"))
    main(["report", "--index", "--out", str(tmp_path)])
    assert "index.html" in capsys.readouterr().out
