"""`hydra/launcher: slurm_cpu` and `slurm_gpu`: each trial is a job of Slurm, by submitit.

Hydra's own `submitit_slurm` asks accounting alone how jobs are doing, waits without end where there
is none, and gives a whole batch up for one job that was cancelled. Here each job comes to an end of
its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class SlurmConf:
    """The keys of `hydra.launcher`, which are submitit's; null: as the cluster has it.

    A job that is preempted, or at its limit of time, is queued again up to `max_num_timeout` times
    and goes on where its checkpoint is; the signal for it comes `signal_delay_s` before the limit.
    """

    _target_: str = "hydra_plugins.xai_exp_slurm.launcher.SlurmLauncher"
    submitit_folder: str = "${hydra.sweep.dir}/.submitit/%j"
    name: str = "${hydra.job.name}"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = 240
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int | None = 2
    gpus_per_node: int | None = None
    mem_gb: int | None = 8
    array_parallelism: int = 64
    signal_delay_s: int = 120
    max_num_timeout: int = 10
    setup: list[str] | None = field(
        default_factory=lambda: ["export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK"]
    )
    additional_parameters: dict[str, Any] = field(default_factory=lambda: {"requeue": True})


@dataclass
class SlurmGPUConf(SlurmConf):
    """One GPU for each job."""

    cpus_per_task: int | None = 4
    gpus_per_node: int | None = 1
    mem_gb: int | None = 32


for _name, _node in (("slurm_cpu", SlurmConf), ("slurm_gpu", SlurmGPUConf)):
    ConfigStore.instance().store(group="hydra/launcher", name=_name, node=_node, provider="xai_exp")


class SlurmLauncher(Launcher):
    """Submits a batch as one array and waits for each of its jobs, whatever becomes of it."""

    def __init__(self, **params: Any) -> None:  # noqa: ANN401
        self.params = params

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make what a job runs.

        Raises:
            InputError: without the extra `slurm`.
        """
        from xai_exp.sweeping import slurm

        self.folder = Path(str(config.hydra.sweep.dir))
        self.job = slurm.job(self.params)
        listening = slurm.Listening(task_function)
        self.job.setup(hydra_context=hydra_context, task_function=listening, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the batch; a job that Slurm ended is a failed one that says how it was ended.

        Raises:
            InputError: where Slurm can't be asked.
        """
        from xai_exp.sweeping import slurm

        self.folder.mkdir(parents=True, exist_ok=True)
        jobs = slurm.submitted(self.job, job_overrides, initial_job_idx)
        return [slurm.ended(job) for job in jobs]
