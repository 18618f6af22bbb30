"""Jobs of Slurm by submitit: each is waited for as long as Slurm knows it to be under way."""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

from xai_exp.config import InputError
from xai_exp.sweeping import held

GONE = "GONE"
_OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "TIMEOUT", GONE),
)
_COMMON = (  # to submitit's executors of all kinds
    *("name", "timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node"),
    "mem_gb",
)
_OFTEN, _SELDOM = 1.0, 5.0  # seconds between looks for a result, and at the state
_GRACE = 20.0  # seconds a job may be over without a result: files come late, jobs are queued again


@dataclass(frozen=True)
class Listening:
    """A job's function; signals that came while the job imported are answered as it begins."""

    function: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:  # noqa: ANN401
        """Run it, unless the job is preempted."""
        held.let_in()
        return self.function(*given)


def job(params: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """What a job runs, Hydra's launcher by submitit with these settings.

    Raises:
        InputError: where that is not installed.
    """
    try:
        from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher
    except ImportError as error:
        raise InputError(
            "hydra/launcher: got one of Slurm, which needs hydra-submitit-launcher; allowed: "
            "pip install 'xai-exp[slurm]', or another launcher"
        ) from error
    return SlurmLauncher(**params)


def submitted(made: Any, batch: Sequence[Sequence[str]], first: int) -> list[Any]:  # noqa: ANN401
    """The jobs of one array, one for each list of words.

    Raises:
        InputError: where there is no Slurm, or it refuses what the settings ask for.
    """
    import submitit
    from submitit.core.utils import FailedJobError

    told = dict(made.params)
    folder, times = told.pop("submitit_folder"), told.pop("max_num_timeout")
    named = {(key if key in _COMMON else f"slurm_{key}"): value for key, value in told.items()}
    state = Singleton.get_state()
    given = [
        (list(words), "hydra.sweep.dir", first + n, f"job_id_for_{first + n}", state)
        for n, words in enumerate(batch)
    ]
    try:
        executor = submitit.AutoExecutor(
            cluster="slurm", folder=folder, slurm_max_num_timeout=times, slurm_python=_python()
        )
        executor.update_parameters(**named)
        return list(executor.map_array(made, *zip(*given, strict=True)))
    except (RuntimeError, OSError, FailedJobError) as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(
            f"hydra/launcher: got no job from Slurm ({said}); allowed: settings that this cluster "
            "grants (hydra.launcher.partition=, ...), or hydra/launcher=submitit_local"
        ) from error


def _python() -> str:
    """How a job's Python is started, as words of a shell."""
    return shlex.join([sys.executable, "-IS", held.__file__, sys.executable])


def ended(one: Any) -> JobReturn:  # noqa: ANN401
    """What a job came to, waited for; how Slurm ended it, if it left no result."""
    since, looked, state = None, 0.0, ""
    while not _there(one.paths):
        now = time.monotonic()
        if now - looked > _SELDOM:
            looked, state = now, state_of(one.job_id)
            since = (since or now) if state in _OVER else None
        if since is not None and now - since > _GRACE:
            return _failed(f"job {one.job_id} ended as {state} without a result", one)
        time.sleep(_OFTEN)
    try:
        return one.result()
    except Exception as error:
        return _failed(f"job {one.job_id}: {error}", one)


def _there(paths: Any) -> bool:  # noqa: ANN401
    """Whether a result is there; a touched folder has a network disk look again."""
    with suppress(OSError):
        paths.folder.chmod(paths.folder.stat().st_mode)
    return paths.result_pickle.exists()


def state_of(identity: str) -> str:
    """Slurm's word for a job: RUNNING, CANCELLED, ...; GONE: it is not known any more.

    By accounting, where there is some, else by the controller, which forgets a job some minutes
    after its end. Empty while nobody can be asked.
    """
    told = _asked("sacct", "-n", "-X", "-P", "-o", "State", "-j", identity)
    if told is not None and (words := told.stdout.split()) and not told.returncode:
        return words[0]
    told = _asked("scontrol", "--oneliner", "show", "job", identity)
    if told is None:
        return ""
    if "Invalid job id" in told.stderr:
        return GONE
    found = re.search(r"\bJobState=(\w+)", told.stdout)
    return found[1] if found else ""


def _asked(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _failed(why: str, one: Any) -> JobReturn:  # noqa: ANN401
    found = JobReturn(status=JobStatus.FAILED)
    found.return_value = RuntimeError(f"Slurm: {why}; its log: {one.paths.stderr}")
    return found
