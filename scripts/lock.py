"""Pin the newest versions that fit together: `make lock`.

Writes constraints.txt, one file for every Python from 3.11 on, with names and versions only. A
lock file of the usual kind holds the addresses of the registry that made it, which no one else
wants.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = (
    *("--extra", "dev", "--universal", "--python-version", "3.11", "--upgrade"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
)


def main() -> None:
    """Run uv's resolver from an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries = Path(folder) / "bin"
        subprocess.run([binaries / "pip", "install", "--quiet", "uv"], check=True)
        command = [binaries / "uv", "pip", "compile", "pyproject.toml", *OPTIONS]
        subprocess.run([*command, "-o", "constraints.txt"], check=True, cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
