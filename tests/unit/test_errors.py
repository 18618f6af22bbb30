"""What the user gets wrong is one line that says what it was, what it got and what is allowed."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from xai_exp import cli, errors
from xai_exp.compute import machine
from xai_exp.config import InputError

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
_OTHERS = (ValueError, TypeError, OSError)  # what Hydra chokes with
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

# Each list of arguments is a command of its own, run in the process that imported torch before.
_COMMANDS = """
import contextlib, io, json, runpy, sys
for arguments in json.loads(sys.argv[1]):
    sys.argv, code = ["xai_exp", *arguments], 0
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(None):
        try:
            runpy.run_module("xai_exp", run_name="__main__")
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, said.getvalue()]))
"""


@pytest.fixture
def check(begun):
    """Every command ends with the one line that begins as given and contains the rest."""

    def check(folder, cases, common=("tracking=off", "models=models", "trainer=quick")):
        asked = json.dumps([[*shlex.split(arguments), *common] for arguments, _ in cases])
        process = begun(folder, asked, code=_COMMANDS, environment={"COLUMNS": "200"})
        out, err = process.communicate()
        assert process.returncode == 0, err[-3000:]
        found = [json.loads(line) for line in out.splitlines()]
        for (arguments, (start, *rest)), (said, stderr) in zip(cases, found, strict=True):
            assert isinstance(said, str), (arguments, said, stderr)
            assert said.startswith(f"error: {start}"), (arguments, said)
            assert "allowed: " in said
            assert "\n" not in said
            assert not stderr, (arguments, stderr)
            for word in rest:
                assert word in said, (arguments, said)

    return check


def test_names_that_do_not_exist_are_answered_with_those_that_do(tmp_path, check):
    check(
        tmp_path,
        [
            ("datset=digits", ("unknown key: got 'datset'", "(did you mean dataset?)")),
            ("dataset=cunting", ("unknown dataset: got 'cunting'", "mean counting?", "mnist")),
            ("explainer=lpr", ("unknown explainer: got 'lpr'", "lrp_z", "(all ", "--help)")),
            ("dataset.cout=300", ("unknown key of dataset: got 'cout'", "mean count?", "pixels")),
            ("sed=1", ("unknown key: got 'sed'", "(did you mean seed?)")),
            ("+dataset.cout=300", ("unknown key of dataset: got 'cout'", "mean count?")),
            ("+model.widht=3", ("unknown key of model: got 'widht'", "mean width?")),
            ("+trainer.foo.bar=3", ("unknown key of trainer: got 'foo'", "learning_rate")),
            ("explainer=lrp +explainer.lrp.rul=z", ("unknown key of explainer.lrp", "rule")),
            ("model=cnn_with", ("model: got 'cnn_with', a folder", "allowed: cnn_with/")),
            (
                "experiment=granularity hydra.callbacks.report.titel=a",
                ("unknown key of hydra.callbacks.report: got 'titel'", "mean title?"),
            ),
            ("tracking.experiment=3 ++dataset._target_=0", ("dataset._target_: got 0",)),
            ("model=/dev/full", ("unknown model: got '/dev/full'", "lenet5")),
            ("metric=../quick", ("unknown metric: got '../quick'", "mean quick?")),
            ("~dataset", ("dataset: got nothing", "dataset=NAME", "conf/dataset")),
            ("model=torchvision model.name=resnet19", ("model: Torchvision.name", "resnet18")),
        ],
    )


def test_values_of_the_wrong_type_or_out_of_range_are_named(tmp_path, check):
    check(
        tmp_path,
        [
            ("dataset.count=many", ("dataset: Counting.count: got 'many'", "a whole number >= 30")),
            ("dataset.shape=star", ("dataset: Counting.shape: got 'star'", "disc, square")),
            ("dataset.min_contrast=2", ("dataset: Counting.min_contrast: got 2.0", "<= 0.9")),
            ("model.kernel=4", ("model: CNN.kernel: got 4", "an odd number")),
            ("trainer.learning_rate=-1", ("trainer: Trainer.learning_rate: got -1.0", "> 0")),
            ("trainer.precision=16", ("trainer: Trainer.precision: got 16", "auto, 32, bf16")),
            ("seed=-1", ("seed: got -1", "a whole number >= 0")),
            ("target=guess", ("target: got 'guess'", "predicted, label")),
            ("device=tpu9", ("device: got 'tpu9'", "auto, cpu")),
            ("explainer=lrp explainer.lrp.rule=q", ("explainer.lrp: LRP.rule: got 'q'", "epsilon")),
            (
                "dataset.max_objects=90 dataset.count=60",
                ("dataset: Counting.max_objects: got 90", "fit without overlap"),
            ),
        ],
    )


def test_groups_objectives_and_places_that_can_not_be_are_named_before_work_begins(tmp_path, check):
    check(
        tmp_path,
        [
            ("dataset=null", ("dataset: got null, which is no name", "dataset=NAME")),
            ("dataset=3", ("dataset: got 3, which is no name",)),
            ("dataset=[digits,counting]", ("dataset: got a list", "one name")),
            ("dataset@foo=digits", ("dataset: got another place", "dataset=NAME")),
            ("+foo@dataset=digits", ("unknown group: got 'foo'", "dataset")),
            ("experiment=", ("unknown experiment: got ''", "shortcut")),
            ("metric={a:1}", ("metric: got no name", "road")),
            ("dataset=digits explainer=lrp objective=acc", ("objective: got acc", "accuracy")),
            (
                "dataset=digits explainer=lrp objective=lrp/x",
                ("objective: got lrp/x", "one of lrp"),
            ),
            ("dataset=digits objective=[]", ("objective: got none",)),
            ("sweep=architectures dataset=digits objective=x", ("objective: got x", "parameters")),
            ("dataset=digits hydra.run.dir=/proc/x", ("/proc/x: No such file",)),
            ("dataset=digits images=2 --nope", ("got options", "unrecognized arguments: --nope")),
            ("-sc", ("-sc: got nothing to do", "install=bash")),
        ],
    )
    assert not list(tmp_path.rglob("*.pt"))


def test_places_that_are_not_there_or_have_no_name_are_refused_and_nothing_is_made(tmp_path, check):
    check(
        tmp_path,
        [
            ("report --name ../../x", ("--name: got '../../x'",)),
            ("report --name ''", ("--name: got ''",)),
            ("report --root nowhere", ("--root: got nowhere, where there are no runs",)),
            ("report --root ''", ("--root: got ''",)),
            ("report --out ''", ("--out: got ''",)),
            ("report --least-accuracy nan", ("--least-accuracy: got nan",)),
            ("report --least-accuracy x", ("got options", "invalid float value")),
            ("report --nope", ("got options", "--nope")),
            ("report --index --out nowhere", ("got no pages in nowhere",)),
            ("stability study=x root=nowhere", ("root: got nowhere",)),
            ("stability study=../x", ("study: got '../x'",)),
            ("stability study=x least_accuracy=nan", ("least_accuracy: got nan",)),
            ("dataset=digits tracking=off models=", ("models: got ''",)),
            ("dataset=digits tracking.root=", ("tracking: tracking.root: got ''",)),
            ("dataset=digits 'tracking.uri=\" \"'", ("tracking: tracking.uri: got ' '",)),
            ("doctor --root nowhere", ("--root: got nowhere",)),
            ("doctor --root ''", ("--root: got ''",)),
            ("ui --port abc", ("got options", "invalid int value")),
        ],
        common=(),
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "study=${oc.env:NOPE_OF_NONE}",
            "study: got what can't be resolved (KeyError raised while",
        ),
        ("images=${images}", "images: got what can't be resolved (Recursive interpolation"),
        ("images=${nope}", "images: got what can't be resolved (Interpolation key 'nope'"),
        ("hydra/launcher=nope", "unknown hydra/launcher: got 'nope'; allowed: basic, "),
        ("=3", "got a word that begins with =; allowed: GROUP=NAME"),
        ("metric=[nan]", "metric: got [nan], which is no name; allowed: metric=NAME with one of"),
        ("model=/etc", "unknown model: got '/etc'; allowed: cnn, "),
        ("model=../dataset", "unknown model: got '../dataset'; allowed: cnn, "),
        ("explainer=lrp/", "unknown explainer: got 'lrp' (did you mean"),
        ("~model model.width=2", "model.width: got a key of model, which ~model leaves out; "),
        (
            "sweep=seeds seed=1,2 hydra.sweeper.trails=3",
            "unknown key of hydra.sweeper: got 'trails' (did you mean trials?)",
        ),
        (
            "sweep=seeds hydra.sweeper.space.seed=[1,2]",
            "hydra.sweeper.space.seed: got [1,2], where there is something of another kind",
        ),
    ],
)
def test_what_the_configuration_itself_can_not_take_is_said_with_what_it_can(words, said):
    def resolved():
        config = compose("config", words.split(), return_hydra_config=True)
        OmegaConf.select(config, words.partition("=")[0])

    GlobalHydra.instance().clear()
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises((HydraException, OmegaConfBaseException, *_OTHERS)) as caught,
    ):
        resolved()
    line = errors.one_line(caught.value, CONF, words.split())
    assert line is not None
    assert line.startswith(said)
    assert "; allowed: " in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-m --info", "got --multirun and --info; allowed: one of them"),
        ("--cfg job --info all seed=1", "got --cfg and --info; allowed: one of them"),
    ],
)
def test_options_that_exclude_one_another_are_named(words, said):
    with pytest.raises(InputError) as caught:
        errors.arranged(words.split(), get_args_parser())
    assert str(caught.value) == said


@pytest.mark.parametrize("words", [["--resolve"], ["--package", "x"]])
def test_what_says_how_to_show_is_refused_where_nothing_is_shown(words):
    with pytest.raises(InputError, match="got it alone; allowed: with --cfg job"):
        errors.arranged(words, get_args_parser())
    assert errors.arranged([*words, "--cfg", "job"], get_args_parser())


def test_a_processor_has_no_number():
    with pytest.raises(InputError, match="device: got 'cpu:1'; allowed: one of auto, cpu"):
        machine.device("cpu:1")


def test_to_try_several_may_be_asked_for_anywhere():
    for words in (["-m", "a=1", "b=2"], ["a=1", "-m", "b=2"], ["a=1", "b=2", "--multirun"]):
        found = errors.arranged(words, get_args_parser())
        assert get_args_parser().parse_args(found).multirun
        assert get_args_parser().parse_args(found).overrides == ["a=1", "b=2"]
    assert errors.arranged(["a=1", "--cfg", "job"], get_args_parser()) == ["a=1", "--cfg", "job"]


def test_data_that_do_not_fit_or_are_not_there_are_named(tmp_path, check):
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16)).save(path)
    (tmp_path / "data" / "b" / "3.png").write_bytes(b"broken")
    check(
        tmp_path,
        [
            ("dataset=digits model.depth=5", ("model cnn: got depth 5", "8x8", "at most 3")),
            ("dataset=digits model=lenet5", ("model lenet5: got images of 8x8", "12x12")),
            ("dataset=digits model=vgg model.stages=4", ("model vgg: got 4 stages", "8x8")),
            ("dataset=image_folder", ("dataset.root: got nothing", "dataset.root=VALUE")),
            ("dataset=image_folder dataset.root=gone", ("dataset: ImageFolder.root: got gone",)),
            ("dataset=image_folder dataset.root=data", ("data/b/3.png: got a file that can't",)),
            (
                "dataset=mnist dataset.root=gone dataset.download=false",
                ("mnist: got no file train-images-idx3-ubyte[.gz] under gone", "dataset.root"),
            ),
            (
                "dataset=digits trainer.learning_rate=1e20",
                ("training: got a loss of ", "trainer.learning_rate below 1e+20"),
            ),
        ],
    )


def test_the_command_itself_ends_with_the_line_on_stderr_and_exit_code_1(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "xai_exp", "dataset=digits", "tracking=off", "images=none"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: images: got 'none'; allowed: a whole number >= 1",
    ]
    assert not done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--help", "dataset: counting"),
        ("dataset=cunting", "error: unknown "),
        ("sed=1", "error: unknown "),
        *((f"{name} --help", f"usage: python -m xai_exp {name}") for name in sorted(cli.COMMANDS)),
        ("explain", "error: got options that can't be read"),
        ("stability", "error: got nothing; allowed: study=NAME"),
    ],
)
def test_help_and_mistakes_of_the_command_line_are_answered_without_importing_anything_heavy(
    words, wanted
):
    code = (
        "import runpy, sys; heavy = ('torch', 'pytorch_lightning', 'mlflow', 'pandas', 'sklearn')\n"
        f"sys.argv = {['xai_exp', *words.split()]}\n"
        "try: runpy.run_module('xai_exp', run_name='__main__')\n"
        "except SystemExit as end: print(end.code)\n"
        "print('heavy:', [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert wanted in done.stdout
    assert "Raises" not in done.stdout


def test_the_cause_far_down_the_chain_is_what_the_user_sees():
    error = RuntimeError("outer")
    error.__cause__ = ValueError("middle")
    error.__cause__.__context__ = InputError("x: got 1;\n allowed: 2")
    assert errors.one_line(error, CONF, []) == "x: got 1; allowed: 2"


@pytest.mark.parametrize(
    "value",
    [
        "a[1]",
        "a=b",
        "~/x",
        "café",
        "a(1)",
        "{x",
        "a,b",
        "a#b",
        'x"[y',
        "it's=",
        "C:\\[x]\\",
        'a\\"[b',
    ],
)
def test_a_value_that_hydra_takes_for_something_else_is_answered_with_one_that_it_reads(value):
    def composed(argument):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", ["dataset=image_folder", argument]).dataset.root

    with pytest.raises(HydraException) as caught:
        composed(f"dataset.root={value}")
    said = errors.one_line(caught.value, CONF, [f"dataset.root={value}"])
    assert said.startswith(f"dataset.root: got {value}, which can't be read; allowed: ")
    (argument,) = shlex.split(said.partition("quote it: ")[2])
    assert composed(argument) == value


def test_an_argument_without_a_value_is_one_line():
    said = errors.one_line(OverrideParseException("(", "no viable alternative"), CONF, ["("])
    assert said == "got '(', which can't be read; allowed: GROUP=NAME or KEY=VALUE"


def test_an_error_of_the_program_itself_is_not_taken_for_the_user_s():
    assert errors.one_line(RuntimeError("a bug"), CONF, []) is None
    looped = RuntimeError("a")
    looped.__cause__ = ValueError("b")
    looped.__cause__.__cause__ = looped
    assert errors.one_line(looped, CONF, []) is None


def test_an_interpolation_without_a_value_is_one_line():
    with pytest.raises(Exception, match="nowhere") as caught:
        OmegaConf.to_container(OmegaConf.create({"a": "${nowhere}"}), resolve=True)
    said = errors.one_line(caught.value, CONF, [])
    assert "nowhere" in said
    assert "\n" not in said


def test_a_name_far_from_every_other_gets_no_guess():
    assert errors.unknown("model", "zzz", ["vgg", "cnn"]) == (
        "unknown model: got 'zzz'; allowed: cnn, vgg"
    )
