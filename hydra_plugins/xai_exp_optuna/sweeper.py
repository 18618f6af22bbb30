"""`hydra/sweeper: optuna`: what can be set, and the way to the sweep itself in xai_exp.sweeping."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class OptunaConf:
    """The keys of `hydra.sweeper`; `xai_exp.sweeping.plan.Plan` says what each means."""

    _target_: str = "hydra_plugins.xai_exp_optuna.sweeper.OptunaSweeper"
    space: dict[str, Any] = field(default_factory=dict)
    trials: int = 20
    n_jobs: int = 1
    sampler: str = "tpe"
    direction: Any = "maximize"
    pruner: str = "none"
    storage: str | None = None
    seed: int = 0
    max_failure_rate: float = 0.25
    retry_failed: bool = False


ConfigStore.instance().store(
    group="hydra/sweeper", name="optuna", node=OptunaConf, provider="xai_exp"
)


class OptunaSweeper(Sweeper):
    """Proposes configurations by Optuna and runs them through whatever launcher is chosen."""

    def __init__(self, **keys: Any) -> None:  # noqa: ANN401
        self.keys = keys

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher, for jobs that note their own results."""
        from xai_exp.sweeping.job import Noted

        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=Noted(task_function), config=config
        )

    def sweep(self, arguments: list[str]) -> Any:  # noqa: ANN401
        """Run the study to its end, or go on with it."""
        from hydra.utils import instantiate

        from xai_exp import trust
        from xai_exp.sweeping.objectives import refuse_wrong_directions
        from xai_exp.sweeping.running import sweep

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        if "objective" in self.config:
            metrics = {
                name: instantiate(trust.checked(one, f"metric.{name}"))
                for name, one in (self.config.metric or {}).items()
            }
            refuse_wrong_directions(self.config.objective, self.keys["direction"], metrics)
        return sweep(self.keys, arguments, self.config, self.hydra_context, self.launcher)
