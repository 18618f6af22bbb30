"""What a page tells its reader to do is found, and what comes of it compared."""

import re
import sys
from pathlib import Path

import pytest

from scripts.follow import rules, steps, walk
from scripts.follow.compare import difference
from scripts.follow.place import Came, Place, over
from scripts.follow.steps import Step

ROOT = Path(__file__).resolve().parents[3]
PAGE = """# A page

Call `make run`, see `pipeline.py`.

```python xai_exp/mine.py
x = 1
```

```bash
python -m xai_exp dataset=digits \\
  explainer=lrp   # explains
cat out.txt
```

```python
y = 2
```

A table by `python -m xai_exp dataset=counting`:

```text
┏━━━━━┳━━━━━┓
┃ a   ┃ b   ┃
```

```text
no command
```
"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path / "page.md"


def test_steps_are_found_in_the_page_s_order_with_their_lines(page):
    found = steps.steps(page)
    lines = PAGE.splitlines()
    assert [one.kind for one in found] == [
        *(steps.INLINE, steps.FILE, steps.COMMAND, steps.COMMAND),
        *(steps.PYTHON, steps.INLINE, steps.OUTPUT),
    ]
    assert found[2].text == "python -m xai_exp dataset=digits explainer=lrp"
    assert found[1].place == "xai_exp/mine.py"
    assert found[-1].command == "python -m xai_exp dataset=counting"
    assert [lines[one.line - 1].split()[0] for one in found] == [
        *("Call", "x", "python", "cat", "y", "A", "┏━━━━━┳━━━━━┓"),
    ]


def test_outputs_differ_by_words_and_not_by_numbers_times_or_names_of_runs():
    quoted = "│ lrp │ 0.50 │ 0.4 .. 0.6 │\nrun 3fa9c21e took 12 s\ntest accuracy 99.80 %"
    same = "noise\n│ lrp      │ -1.5e3 │ 1 .. 2 │\nrun 12ab34cd took 7 s\nx\ntest accuracy 7 %"
    assert difference(quoted, same) is None
    assert "lrp" in str(difference(quoted, same.replace("lrp", "sobel")))
    turned = "\n".join(reversed(same.splitlines()))
    assert difference(quoted, turned) is not None


def test_each_rule_has_a_reason_and_each_way_is_known():
    for rule in rules._rules():
        re.compile(rule["command"])
        assert rule["how"] in {rules.RUN, rules.SKIP, rules.LOOK, rules.SERVE, rules.ADD}
        assert rule.get("reason") or rule["how"] == rules.RUN
        assert (rule["how"] == rules.ADD) == ("words" in rule)


@pytest.mark.parametrize(
    ("command", "how", "words"),
    [
        ("make test", rules.LOOK, ""),
        ("python -m xai_exp experiment=exact_truth", rules.ADD, "size=tiny"),
        ("python -m xai_exp dataset=counting explainer=lrp", rules.RUN, ""),
        ("python -m xai_exp view", rules.SERVE, ""),
        ("python -m xai_exp.check dataset=image_folder ...", rules.SKIP, ""),
    ],
)
def test_what_can_t_be_run_is_left_out_by_a_rule(command, how, words):
    step = Step(kind=steps.COMMAND, line=1, text=command)
    found = rules.way("README.md", step, brief=False)
    assert (found.how, found.words) == (how, words)
    named = Step(kind=steps.INLINE, line=1, text=command)
    assert rules.way("README.md", named, brief=False).how in {rules.LOOK, rules.SKIP}


def test_no_page_names_a_target_or_a_script_that_is_not_there():
    """The quick half of `make follow`: what is only looked at."""
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for step in steps.steps(page):
            if step.kind in {steps.COMMAND, steps.INLINE} and step.text.startswith("make "):
                named = {one for one in step.text.split()[1:] if "=" not in one}
                assert named <= targets, f"{page.name}:{step.line}: {step.text}"
            looked = walk._test(step.text, ROOT) if step.kind != steps.OUTPUT else None
            assert looked != "", f"{page.name}:{step.line}: {step.text}"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    folder = tmp_path_factory.mktemp("follow") / "page"
    folder.mkdir()
    over(folder / ".venv", Path(sys.executable))
    return Place(folder, Path(sys.executable), limit=20)


def test_a_page_s_environment_sees_the_packages_and_installs_nothing_among_them(there):
    asked = "import sys, sysconfig, numpy; print(sys.prefix, sysconfig.get_path('purelib'))"
    came = there.run(f'python -c "{asked}"')
    prefix, packages = came.text.split()
    assert prefix == str(there.folder / ".venv")
    assert packages.startswith(prefix)
    assert not (there.folder / ".venv").is_symlink()


def test_commands_and_python_share_the_page_s_folder(there):
    assert there.run("echo 3 > told.txt").code == 0
    assert there.python_block("x = int(open('told.txt').read())", "page:1").code == 0
    assert there.python_block("print(x + 1)", "page:2") == Came(0, "4\n")
    failed = there.python_block("x +\n", "page:3")
    there.close()
    assert failed.code == 1
    assert "page:3" in failed.text


def test_a_command_that_fails_or_lasts_too_long_is_told_of(there):
    assert there.run("echo no; exit 3") == Came(3, "no\n")
    assert there.run("sleep 30", within=0.2).code is None


def test_a_server_is_ended_once_it_says_where_it_listens(there):
    assert there.serve("bash -c 'exit 3'").code == 3
    shown = "import time; print('http://localhost:1/', flush=True); time.sleep(60)"
    assert there.serve(f'python -c "{shown}"').code == 0
