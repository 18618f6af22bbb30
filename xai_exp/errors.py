"""What the user got wrong, in one line: what it was, what it got, what is allowed."""

import argparse
import difflib
import errno
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xai_exp.config import InputError

_CHOICE = re.compile(r"[^\W\d].*")
_NO_NAMES = ("null", "true", "false")
_MANY = ("-m", "--multirun")
_NEAREST, _MANY_NAMES = 5, 30  # names that a line holds; beyond, only the nearest
_COMPLETION = re.compile(r"(install|uninstall|query)=")
_PLACE = "a place that can be read and written to"
_SYSTEM = {
    errno.ENOSPC: "a disk with room; the same command goes on from here",
    errno.EDQUOT: "a disk with room; the same command goes on from here",
    errno.ENOENT: "a file or a folder that can be there",
    errno.EFBIG: "a file system that takes files of this size",
    errno.EROFS: _PLACE,
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.EIO: "a disk that is whole",
    errno.ENOTDIR: "a folder where a folder is meant",
    errno.EEXIST: "a folder where a folder is meant",
    errno.EISDIR: "a file where a file is meant",
    errno.ENAMETOOLONG: "a shorter name",
    errno.ELOOP: "a link that leads somewhere",
    errno.EMFILE: "more open files: ulimit -n",
}
_DATABASE = re.compile(
    "database or disk is full|attempt to write a readonly database|disk I/O error"
    "|unable to open database file|database disk image is malformed|file is not a database"
)
_ELSEWHERE = re.compile(r"Could not (?:override|delete from config)[:.]? ?'([^'@:]+)@")
_NO_GROUP = re.compile(r"config group '([^']+)' does not exist")
_UNKNOWN_KEY = re.compile(r"Could not (?:override|delete from config)[:.]? ?'([^'@:]+)")
_UNKNOWN_CHOICE = re.compile(r"Could not (?:find|load) '([^']+)/([^'/]*)'")
_NO_PLACE = re.compile(r"Path not found (.+?)//")
_NO_CHOICE = re.compile(r"Key '(\w+)' is not in struct")
_AMBIGUOUS = re.compile(r"Ambiguous value for argument '(.*)'\n")
_UNRESOLVED = re.compile(
    "Interpolation key '[^']*' not found|Recursive interpolation|Unsupported interpolation type .+"
    "|Environment variable '[^']*' not found|.*while resolving interpolation.*"
)
_FULL_KEY = re.compile(r"full_key: (\S+)")
_OTHER_KIND = re.compile(r"Error merging override \+*([^\s=]+)=(.*)")
_MODES = ("run", "multirun", "cfg", "info", "shell_completion")
_NOT_CHOSEN = "Config group override must be"
_PATH = re.compile(r"[\w-]+(/[\w-]+)*")
_MISSING = re.compile(r"Missing mandatory value: (\S+)")


class Arguments(argparse.ArgumentParser):
    """A command's options; what can't be read is one line, not a dump of the usage."""

    def error(self, message: str) -> NoReturn:
        """Refuse.

        Raises:
            InputError: always.
        """
        raise InputError(f"got options that can't be read ({message}); allowed: {self.prog} -h")


def arranged(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """An experiment's command line as Hydra reads it: `-m` may stand anywhere.

    Raises:
        InputError: for an option that there is not.
    """
    many = [word for word in words if word in _MANY]
    found = [*(word for word in words if word not in _MANY), *many[:1]]

    def refuse(message: str) -> NoReturn:
        raise InputError(
            f"got options that can't be read ({message}); allowed: those of python -m xai_exp "
            "--hydra-help, with all GROUP=NAME and KEY=VALUE together"
        )

    parser.error = refuse
    given = parser.parse_args(found)
    modes = [f"--{name.replace('_', '-')}" for name in _MODES if getattr(given, name)]
    if len(modes) > 1:
        raise InputError(f"got {' and '.join(modes)}; allowed: one of them")
    alone = [word for word in ("resolve", "package") if getattr(given, word)]
    if alone and not (given.cfg or given.help):
        raise InputError(f"--{alone[0]}: got it alone; allowed: with --cfg job")
    if given.shell_completion and not _COMPLETION.search(" ".join(given.overrides)):
        raise InputError("-sc: got nothing to do; allowed: -sc install=bash, or uninstall=bash")
    return found


def one_line(error: BaseException, conf: Path, arguments: Sequence[str]) -> str | None:
    """The line for the user, or None if the error is not of the user's making."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, InputError):
            return " ".join(str(link).split())
    lines = (_of_composing(link, conf, arguments) or _from_system(link) for link in chain)
    return next((line for line in lines if line), None)


def _of_composing(link: BaseException, conf: Path, arguments: Sequence[str]) -> str | None:
    """The line for what Hydra and OmegaConf say of the configuration, None for anything else."""
    if isinstance(link, OverrideParseException):
        return _unreadable(str(link.override))
    if isinstance(link, HydraException | OmegaConfBaseException):
        return _from_hydra(str(link), conf, arguments)
    said = str(link)
    if isinstance(link, OSError) and (found := _NO_PLACE.match(said)):
        # Hydra looks for the neighbours of a choice in a folder that its name leads out to.
        pairs = [word.lstrip("+").partition("=") for word in arguments]
        given = [value for key, _, value in pairs if key == found[1]]
        return unknown(found[1], (given or ["/"])[-1], _choices(conf, found[1]))
    # A number in a list of names is found by what chokes on it.
    no_name = isinstance(link, TypeError) and _arose_in(link, "defaults_list.py")
    if no_name or (isinstance(link, ValueError) and said.startswith(_NOT_CHOSEN)):
        return _without_choice(arguments, conf)
    return None


def _arose_in(error: BaseException, file: str) -> bool:
    """Whether the last of our way to an error is a function of this file."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return step is not None and Path(step.tb_frame.f_code.co_filename).name == file


def in_a_line(error: BaseException) -> str:
    r"""What kind of an error it is and what it says, in one line.

    >>> in_a_line(ValueError("of 3\n  and more"))
    'ValueError: of 3 and more'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())


def _without_choice(arguments: Sequence[str], conf: Path) -> str:
    """The line for a group that is given something else than the name of a choice."""
    pairs = [word.lstrip("+").partition("=") for word in arguments if "=" in word]
    named = [pair for pair in pairs if pair[0] == "hydra" or (conf / pair[0]).is_dir()]
    if any(not key for key, *_ in pairs):
        return "got a word that begins with =; allowed: GROUP=NAME or KEY=VALUE"
    wrong = [pair for pair in named if not _CHOICE.fullmatch(pair[2]) or pair[2] in _NO_NAMES]
    group, _, value = wrong[-1] if wrong else ("GROUP", "", "")
    found = f"{value}, which is no name" if value else "no name"
    return f"{group}: got {found}; allowed: {group}=NAME with one of conf/{group}"


def _from_system(error: BaseException) -> str:
    """The line for what the system refuses; empty for an error of another kind."""
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        name = str(error.filename) if error.filename else "standard output"
        return f"{name}: {os.strerror(error.errno)}; allowed: {_SYSTEM[error.errno]}"
    found = _DATABASE.search(str(error))
    if found and type(error).__module__.startswith(("sqlalchemy", "sqlite3", "mlflow")):
        return f"tracking: {found[0]}; allowed: a place with room that can be written to"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _from_hydra(message: str, conf: Path, arguments: Sequence[str]) -> str:
    several = _AMBIGUOUS.search(message)
    if several:
        if line := _of_a_sweep(conf, arguments):
            return line
        return _unreadable(several.group(1), "one value, or -m to try each of several, or ")
    missing = _MISSING.search(message)
    if missing:
        return (
            f"{missing.group(1)}: got nothing; allowed: {missing.group(1)}=VALUE, it has no default"
        )
    unresolved = _UNRESOLVED.search(message)
    if unresolved:
        where = _FULL_KEY.search(message)
        return (
            f"{where[1] if where else 'the configuration'}: got what can't be resolved "
            f"({unresolved[0]}); allowed: a value, or ${{KEY}} of a key that there is"
        )
    other = _OTHER_KIND.search(message)
    if other:
        return (
            f"{other[1]}: got {other[2]}, where there is something of another kind; allowed: a "
            "value of that kind (python -m xai_exp --cfg all)"
        )
    line = _of_group(message, conf)
    key = _UNKNOWN_KEY.search(message)
    if key and not line:
        return _unknown_key(key.group(1), conf, arguments)
    return line or f"{' '.join(message.split())}; allowed: what python -m xai_exp --help tells of"


def _of_a_sweep(conf: Path, arguments: Sequence[str]) -> str:
    """What is wrong in a sweep beside its lists of values; empty if nothing is.

    Hydra takes a sweep that it can't compose for a single run, and then its lists for the mistake.
    """
    words = [a for a in arguments if "=" in a and "," not in a and not a.startswith("-")]
    if not any(word.startswith("sweep=") for word in words):
        return ""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        try:
            compose("config", overrides=words, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            return _from_hydra(str(error), conf, words)
    return ""


def _of_group(message: str, conf: Path) -> str:
    """The line for a group or a choice of it that is named wrongly; empty for other mistakes."""
    choice = _UNKNOWN_CHOICE.search(message)
    if choice:
        group, name = _within(*choice.groups())
        inside = [f"{name}/{one}" for one in _choices(conf, f"{group}/{name}")]
        if _PATH.fullmatch(name) and inside:
            return f"{group}: got {name!r}, a folder of choices; allowed: {', '.join(inside)}"
        return unknown(group, name, _choices(conf, group))
    elsewhere = _ELSEWHERE.search(message)
    if elsewhere:
        group = elsewhere.group(1)
        return f"{group}: got another place for it, with an @; allowed: {group}=NAME"
    group = _NO_GROUP.search(message)
    if group:
        return unknown(
            "group", group.group(1), [one.name for one in conf.iterdir() if one.is_dir()]
        )
    none = _NO_CHOICE.search(message) or _UNKNOWN_KEY.search(message)
    if none and (conf / none.group(1)).is_dir():
        names = ", ".join(_choices(conf, none.group(1)))
        return f"{none.group(1)}: got no name; allowed: {none.group(1)}=NAME with one of {names}"
    return ""


def _within(group: str, name: str) -> tuple[str, str]:
    """The group, and the choice as it was typed where its slashes lead out of the group."""
    if not name and "/" in group:
        group, _, name = group.rpartition("/")
    whole = f"{group}/{name}"
    out = re.search(r"/(?=/|\.\.)", whole)
    return (whole[: out.start()], whole[out.end() :]) if out else (group, name)


def _choices(conf: Path, group: str) -> list[str]:
    """The names of a group: ours are files, Hydra's own (hydra/launcher) are in its store."""
    if (conf / group).is_dir():
        return sorted(path.stem for path in (conf / group).glob("*.yaml"))
    try:
        return sorted(name.removesuffix(".yaml") for name in ConfigStore.instance().list(group))
    except OSError:  # there is no such group either
        return []


def _unreadable(argument: str, others: str = "") -> str:
    """The line for a value that Hydra's grammar takes for something else, with one that it reads.

    The inner quotes are Hydra's, the outer ones the shell's.
    """
    key, sign, value = argument.partition("=")
    if not sign:
        return f"got {argument!r}, which can't be read; allowed: GROUP=NAME or KEY=VALUE"
    inner = re.sub(r'(\\*)"', r'\1\1\\"', value)
    inner += "\\" * (len(inner) - len(inner.rstrip("\\")))
    quoted = shlex.quote(f'{key}="{inner}"')
    return f"{key}: got {value}, which can't be read; allowed: {others}quote it: {quoted}"


def unknown(kind: str, name: str, allowed: Sequence[str]) -> str:
    """The line for a name that does not exist, with those that do: the nearest five of many.

    >>> unknown("explainer", "lpr", ["gradient", "lrp"])
    "unknown explainer: got 'lpr' (did you mean lrp?); allowed: gradient, lrp"
    >>> unknown("key of tracking", "root", [])
    "unknown key of tracking: got 'root'; allowed: none"
    """
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown {kind}: got {name!r}{hint}; allowed: {_listed(name, allowed)}"


def _listed(name: str, allowed: Sequence[str]) -> str:
    """All names if they are few, else the nearest and where all of them stand."""
    if len(allowed) <= _MANY_NAMES:
        return ", ".join(sorted(allowed)) or "none"
    near = difflib.get_close_matches(name, allowed, n=_NEAREST, cutoff=0)
    return f"{', '.join(near)} ... (all {len(allowed)}: python -m xai_exp --help)"


def _unknown_key(key: str, conf: Path, arguments: Sequence[str]) -> str:
    """The line for a key that the configuration does not have."""
    parent, _, name = key.rpartition(".")
    if (group := key.split(".")[0]) and f"~{group}" in arguments:
        return f"{key}: got a key of {group}, which ~{group} leaves out; allowed: one of the two"
    node = OmegaConf.select(_without(key, conf, arguments), parent) if parent else None
    if isinstance(node, DictConfig):
        return unknown(f"key of {parent}", name, [str(k) for k in node if k != "_target_"])
    groups = [path.name for path in conf.iterdir() if path.is_dir()]
    top = [str(k) for k in _without(key, conf, arguments)]
    return unknown("key", key, sorted({*groups, *top}))


def _without(key: str, conf: Path, arguments: Sequence[str]) -> DictConfig:
    """The configuration that the other arguments compose, for naming the keys it has."""
    bad = key.split(".")[0]
    names = [a for a in arguments if "=" in a and not a.startswith("-")]
    kept = [a for a in names if a.lstrip("+~").split("=")[0] != key and "," not in a]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        try:
            return compose("config", overrides=kept, return_hydra_config=bad == "hydra")
        except HydraException:
            return compose("config", overrides=[a for a in kept if a.startswith(f"{bad}=")])
