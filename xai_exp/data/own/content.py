"""What files hold, as one number: names and times may lie, bytes do not."""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from xai_exp.config import InputError

_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def readable(name: str | Path) -> str:
    r"""A file's name as text that any terminal, database and page can hold.

    Bytes that are not UTF-8 and signs that steer a terminal are written as escapes.

    >>> readable(os.fsdecode(b"caf\xe9"))
    'caf\\xe9'
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    text = unicodedata.normalize("NFC", text)
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def regular(path: Path) -> os.stat_result:
    """The status of a file that can be read to its end.

    Raises:
        InputError: for a broken link, and for pipes and devices, which may never end.
    """
    try:
        status = path.stat()
    except OSError as error:
        broken = path.is_symlink()
        what = "a broken link" if broken else f"a file that can't be reached ({error.strerror})"
        raise InputError(f"{readable(path)}: got {what}; allowed: a file") from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise InputError(f"{readable(path)}: got {kind}; allowed: a regular file")
    return status


def content(path: Path) -> str:
    """The SHA-256 of a file's bytes; within one process an untouched file is read once.

    Raises:
        InputError: for a file that can't be read.
    """
    status = regular(path)
    # The time of change can't be set by a program, unlike that of modification.
    touched = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return _hashed(path.absolute(), touched)


@cache
def _hashed(path: Path, touched: tuple[int, ...]) -> str:  # noqa: ARG001
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{readable(path)}: got a file that can't be read ({error.strerror}); allowed: one "
            "that may be"
        ) from error


def fingerprint(named: Iterable[tuple[str | Path, Path]]) -> str:
    """Sixteen hex digits of what files hold and are called, whatever order they are found in.

    Args:
        named: the name of each file within the data, by which it is sorted, and where it is.

    Raises:
        InputError: for a file that can't be read.
    """
    digest = hashlib.sha256()
    for name, path in sorted((os.fsencode(name), path) for name, path in named):
        digest.update(name + b"\0" + content(path).encode() + b"\0")
    return digest.hexdigest()[:16]
