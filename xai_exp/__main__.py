"""The command line: `python -m xai_exp dataset=counting explainer=lrp`.

Imports nothing heavy, so that --help and every error of the command line answer at once.
"""

import atexit
import os
import signal
import sys
import threading
import warnings
from contextlib import nullcontext

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from xai_exp import cli, errors, trust
from xai_exp.compute.loading import undisturbed
from xai_exp.config import InputError, config_folder
from xai_exp.show import progress
from xai_exp.trust import early

_PATIENCE = 1.0  # seconds until an end that is not under way is asked for again


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
def experiment(config: DictConfig) -> float | list[float] | None:
    """One experiment as composed by Hydra; the value that a sweep optimises."""
    try:
        return _work(config)
    except Exception as error:
        # Alone, a job ends here with its one line; in a sweep Hydra adds which job it was.
        if HydraConfig.get().mode == RunMode.RUN:
            _exit(error)
        raise


def _work(config: DictConfig) -> float | list[float]:
    first = "xai_exp.build" not in sys.modules
    if first:
        early.refuse(config)
    with undisturbed() if first else nullcontext():
        from xai_exp import build, pipeline

        made = build.experiment(config)
    return pipeline.run(made)


def _exit(error: Exception) -> None:
    """Leave with one line if the error is of the user's making."""
    try:
        line = errors.one_line(error, config_folder(), sys.argv[1:])
    except InputError as other:  # of several mistakes, met while the first one's line was made
        line = str(other)
    if line is not None:
        sys.exit(f"error: {line}")


class _Terminated(SystemExit):
    """What SIGTERM raises."""


def _terminated(*_: object) -> None:
    """End in order: what is being written is closed, locks are let go of.

    Libraries catch whatever comes, here and there, in destructors and while they import: an end
    that came to nothing is asked for again.
    """
    _ask_again(_PATIENCE)
    seen = sys.exception()
    while seen is not None and not isinstance(seen, _Terminated):
        seen = seen.__context__
    if seen is None:
        raise _Terminated(128 + signal.SIGTERM)


def _ask_again(after: float) -> None:
    """Come back to `_terminated` after so many seconds; 0: never again."""
    if hasattr(signal, "setitimer"):  # Windows has none, and sends no SIGTERM
        signal.signal(signal.SIGALRM, _terminated)
        signal.setitimer(signal.ITIMER_REAL, after)


def _flushed() -> None:
    """What was printed has arrived, or it is said here that it has not.

    Python itself would say so when it is too late for an exit code of ours.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _prepared() -> None:
    """What holds for every command."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Read when torch is loaded. Threads that wait actively take the processor from the very thread
    # they wait for when anything else runs on the machine: training then falls to a fourth, and two
    # at once to a fortieth. To look a thousand times before they sleep costs nothing then, and
    # spares a fifth of a training that is alone.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Hydra makes a warning of what a callback raises, and exit code 0 of a lost report.
    trust.guard()
    warnings.filterwarnings("error", message="Callback .* raised")
    signal.signal(signal.SIGTERM, _terminated)


def main() -> None:
    """Run the experiment; what the user got wrong becomes one line and exit code 1.

    Ctrl-C ends with 130, SIGTERM with 143, an output that nobody reads any more with 141.
    """
    _prepared()
    try:
        try:
            if not cli.main(sys.argv[1:]):
                words = sys.argv[2:] if sys.argv[1:2] == ["run"] else sys.argv[1:]
                sys.argv[1:] = errors.arranged(words, get_args_parser())
                experiment()
        finally:
            _ask_again(0)
            progress.stop()
            _flushed()
    except KeyboardInterrupt:
        sys.stderr.write(
            "interrupted; finished runs are kept, the same command goes on from here\n"
        )
        sys.exit(128 + signal.SIGINT)
    except SystemExit as stopped:
        if isinstance(stopped.__context__, BrokenPipeError):  # rich ends with 1 then
            stopped.code = 128 + signal.SIGPIPE
        raise
    except BrokenPipeError:
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        _exit(error)
        raise


def command() -> None:
    """`main` as a process of its own, which ends without taking apart what it has loaded.

    That would take a second and 130 MiB. What is to be done at the end is done before. In another's
    process (a notebook, a profiler, a debugger) it ends as anything else.
    """
    code: int | str | None = 0
    try:
        main()
    except SystemExit as stopped:
        code = stopped.code
    if not _is_alone(sys.orig_argv[1:]):
        sys.exit(code)
    # Waits for threads, and ends those of executors.
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # as Python says it
        sys.exit(code)
    os._exit(1 if isinstance(code, str) else code or 0)


def _is_alone(words: list[str]) -> bool:
    """Whether Python was started with these words for a command and nothing else."""
    if sys.flags.inspect or not words:  # somebody waits for a prompt
        return False
    own = os.path.basename(words[0]) == "xai-exp"  # noqa: PTH119
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    return own or any(name.partition(".")[0] == "xai_exp" for name in module)


if __name__ == "__main__":
    command()
