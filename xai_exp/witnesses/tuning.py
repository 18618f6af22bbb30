"""A copy of a network, trained on from its weights until its first two logits use the plants.

All layers are trained: with a frozen backbone B keeps half of A's worth. What is trained is the
difference of the first two of the network's own logits, so that no layer has to be replaced:
cross entropy for `distract`, squared error for `worth`.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.types import Images, Scores
from xai_exp.witnesses.looks import Pasted
from xai_exp.witnesses.planting import Design, Planted, planted, value_due

LEAST_ACCURACY, LEAST_R2 = 0.95, 0.8
_ENOUGH = {"distract": 0.995, "worth": 0.97}  # where training may end before its last step
_LOOK_EVERY = 25  # steps


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long a copy is trained.

    Args:
        steps: of the longest attempt.
        batch: pictures in a step.
        learning_rates: the largest of AdamW's, after a tenth of the steps.
    """

    steps: int = 400
    batch: int = 32
    learning_rates: tuple[float, ...] = (3e-3, 1e-3)

    @property
    def attempts(self) -> tuple[tuple[int, float], ...]:
        """Steps and learning rate of each attempt; a copy that is not certified has the next.

        Most copies are certified after half of the steps.
        """
        whole = [(self.steps, rate) for rate in self.learning_rates]
        return ((max(1, self.steps // 2), self.learning_rates[0]), *whole)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is planted, and how pictures are drawn for it.

    Args:
        design: distract or worth.
        pasted: the look.
        order: which kind plays which role.
    """

    design: Design
    pasted: Pasted
    order: tuple[int, ...]

    def drawn(
        self, pictures: Images, generator: torch.Generator, *, telling: bool = False
    ) -> Planted:
        """These pictures with plants."""
        return planted(pictures, self.pasted, self.design, self.order, generator, telling=telling)


def tuned(
    network: nn.Module,
    plan: Plan,
    train: Images,
    held_out: Planted,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> tuple[nn.Module, float]:
    """The trained copy, in evaluation mode, and how good it is on the held-out pictures.

    Args:
        network: with two outputs or more; it is left as it was.
        plan: what is planted.
        train: pictures without plants.
        held_out: others, with plants.
        steps: at most.
        batch: pictures in a step.
        learning_rate: the largest.
        seed: of the plants that are drawn, and of dropout.

    Returns:
        The copy, and its accuracy (distract) or R2 (worth).

    Raises:
        InputError: for a network that can't be trained, or whose loss is no number.
    """
    model = copy.deepcopy(network).requires_grad_(True)
    if not any(True for _ in model.parameters()):
        raise InputError("plants: got a network without weights that can be trained")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.1)
    loss_of = _LOSSES[plan.design]
    with torch.random.fork_rng([train.device] if train.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for step in range(1, steps + 1):
            model.train()
            rows = torch.randint(len(train), (batch,), generator=generator)
            scenes = plan.drawn(train[rows.to(train.device)], generator)
            loss = loss_of(difference(model(scenes.render())), value_due(scenes, plan.design))
            if not bool(loss.isfinite()):
                raise InputError(f"plants: got a loss of {loss.item()} after {step} steps")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            last = step == steps
            if not last and step % _LOOK_EVERY == 0 and step >= steps // 2:
                last = goodness(model, held_out, plan.design) >= _ENOUGH[plan.design]
            if last:
                break
    model.eval().requires_grad_(False)
    return model, goodness(model, held_out, plan.design)


def difference(logits: Tensor) -> Scores:
    """The value that plants decide: the second logit minus the first."""
    return logits[:, 1] - logits[:, 0]


def goodness(model: nn.Module, scenes: Planted, design: Design) -> float:
    """Accuracy (distract) or R2 (worth) on pictures with plants."""
    with ops.evaluating(model), torch.no_grad():
        said = difference(ops.logits(model, scenes.render())).double()
    due = value_due(scenes, design).double()
    if design == "distract":
        return float(((said > 0) == (due > 0.5)).double().mean())
    return float(1 - (said - due).square().mean() / (due - due.mean()).square().mean())


def _cross_entropy(said: Tensor, due: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(said, due)


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "distract": _cross_entropy,
    "worth": functional.mse_loss,
}
