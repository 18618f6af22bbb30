"""Which trial comes next, and what became of the last ones."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from xai_exp.config import InputError
from xai_exp.sweeping.fits import Fits, anything
from xai_exp.sweeping.job import ERROR, PRUNED, VALUES
from xai_exp.sweeping.plan import Plan
from xai_exp.sweeping.space import Varied, grid, replicas, suggest

AGAIN, SAME, MISFIT = "again", "same_as", "does_not_fit"
_DRAWS = 200  # proposals in a row that were all run before: the space holds nothing new
_STUCK = 5  # such proposals after which the sampler has settled, and random ones are drawn
_MISFITS = 60  # proposals in a row that do not fit: (nearly) none does
_INTERRUPTED = "interrupted: put back"


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The trials of one study.

    `fits` says why a proposal can't be run at all; such ones are no trials. `misfits` are theirs,
    by what they proposed.
    """

    study: optuna.Study
    storage: optuna.storages.BaseStorage
    plan: Plan
    space: Sequence[Varied]
    fits: Fits = anything
    misfits: dict[str, str] = field(default_factory=dict)

    def recover(self) -> int:
        """Deal with trials that a killed process left running; how many were put back.

        One whose job had noted its result is finished; any other is put back with the same
        parameters, once, whatever moment this process is killed at.
        """
        back = 0
        trials = self.study.get_trials(deepcopy=False)
        known = {trial.user_attrs.get(AGAIN) for trial in trials}
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                back += self._recovered(trial, known, _same(trial, trials))
        if self.plan.retry_failed:
            for trial in self._finished(TrialState.FAIL):
                if trial.number not in known:
                    self.study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
        return back

    def _recovered(self, trial: FrozenTrial, known: set[Any], same: int | None) -> int:
        noted = trial.user_attrs
        if VALUES in noted or PRUNED in noted or ERROR in noted:
            self.tell(trial.number, noted.get(VALUES), noted.get(ERROR, ""))
            return 0
        if same is not None and AGAIN not in noted:
            self._leave_out(trial.number, same)
            return 0
        params = _params(trial)
        if params and trial.number not in known:
            self.study.enqueue_trial(params, user_attrs={AGAIN: trial.number})
        self._fail(trial.number, _INTERRUPTED)
        return int(bool(params))

    def fill(self) -> None:
        """Queue what is due beyond what the sampler proposes: a grid's points, replicas."""
        trials = self.study.get_trials(deepcopy=False)
        known = {_text(_params(trial)) for trial in trials}
        due: Iterator[dict[str, Any]] = iter(())
        if self.plan.sampler == "grid":
            due = grid(self.space)
        else:
            done = [trial.params for trial in self._finished(TrialState.COMPLETE)]
            due = (other for params in done for other in replicas(self.space, params))
        room = self.left() - sum(trial.state == TrialState.WAITING for trial in trials)
        for params in due:
            if room > 0 and _text(params) not in known:
                self.study.enqueue_trial(params)
                known.add(_text(params))
                room -= 1

    def left(self) -> int:
        """How many trials are still to be run to an end."""
        return self.plan.trials - len(self._finished())

    def ask(self, count: int) -> dict[int, dict[str, Any]]:
        """Up to `count` trials that were not run before, by number; fewer if the space ends."""
        self.fill()
        asked: dict[int, dict[str, Any]] = {}
        for _ in range(min(count, self.left())):
            found = self._new()
            if found is None:
                break
            asked[found.number] = found.params
        return asked

    def _new(self) -> optuna.Trial | None:
        usual = self.study.sampler
        try:
            return self._drawn()
        finally:
            self.study.sampler = usual

    def _drawn(self) -> optuna.Trial | None:
        misfits = 0
        for draw in range(_DRAWS):
            trials = self.study.get_trials(deepcopy=False)
            if self.plan.sampler == "grid" and not _waiting(trials):
                self.fill()
                trials = self.study.get_trials(deepcopy=False)
                if not _waiting(trials):
                    return None
            before = {_text(t.params): t.number for t in trials if _counts(t)}
            if draw == _STUCK:
                seed = self.plan.seed + 100_003 * len(trials)
                self.study.sampler = optuna.samplers.RandomSampler(seed=seed)
            trial = self.study.ask()
            suggest(self.space, trial)
            same = before.get(_text(trial.params))
            if same is not None and AGAIN not in trial.user_attrs:
                self._leave_out(trial.number, same)
            elif why := self._misfit(trial.params):
                self._note(trial.number, MISFIT, why)
                self._fail(trial.number, f"not run: {why}")
                misfits += 1
                if misfits == _MISFITS and self.plan.sampler != "grid":
                    return None
            else:
                return trial
        return None

    def _misfit(self, params: dict[str, Any]) -> str:
        """Why these can't be run, asked once; empty if they can."""
        key = _text(params)
        if key not in self.misfits:
            self.misfits[key] = self.fits(params)
        return self.misfits[key]

    def _leave_out(self, number: int, same: int) -> None:
        """Close a proposal that was run before."""
        self._note(number, SAME, same)
        self._fail(number, f"not run: the same as trial {same}")

    def tell(self, number: int, values: Sequence[float] | None, error: str) -> None:
        """Close a trial: with its values, with its error, or (neither) as pruned."""
        if error:
            self._fail(number, error)
        elif values is None:
            self.study.tell(number, state=TrialState.PRUNED)
        elif len(values) != len(self.plan.directions):
            raise InputError(
                f"sweep: got {len(values)} objectives from a job; allowed: "
                f"{len(self.plan.directions)}, one for each direction"
            )
        elif not all(math.isfinite(value) for value in values):
            self._fail(number, f"the objective is {values}")
        else:
            self.study.tell(number, list(values))

    def refuse_if_hopeless(self) -> None:
        """End the sweep once too many trials have failed.

        Raises:
            InputError: with the last error.
        """
        failed = self._finished(TrialState.FAIL)
        again = {trial.user_attrs.get(AGAIN) for trial in self.study.get_trials(deepcopy=False)}
        failed = [trial for trial in failed if trial.number not in again]
        if len(failed) > self._most_failures():
            done = len(self._finished(TrialState.COMPLETE))
            report = f"python -m xai_exp stability study={self.plan.study}"
            raise InputError(
                f"sweep {self.plan.study}: {len(failed)} of {self.plan.trials} trials failed; "
                f"allowed: max_failure_rate {self.plan.max_failure_rate:g}; the last error: "
                f"{failed[-1].user_attrs.get(ERROR)}"
                + (f"; on the {done} that are finished reports: {report}" if done > 1 else "")
            )

    def _most_failures(self) -> float:
        """How many may fail: of a short sweep one, unless none may."""
        rate = self.plan.max_failure_rate
        return max(1.0, rate * self.plan.trials) if rate else 0.0

    def _finished(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials that were run to an end, one way or another."""
        ends = states or (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        trials = self.study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get(AGAIN) for trial in trials}
        return [t for t in trials if t.state in ends and _counts(t) and t.number not in again]

    def _fail(self, number: int, error: str) -> None:
        self._note(number, ERROR, error)
        self.study.tell(number, state=TrialState.FAIL)

    def _note(self, number: int, key: str, value: Any) -> None:  # noqa: ANN401
        study = self.storage.get_study_id_from_name(self.plan.study)
        trial = self.storage.get_trial_id_from_study_id_trial_number(study, number)
        self.storage.set_trial_user_attr(trial, key, value)


def _waiting(trials: Sequence[FrozenTrial]) -> bool:
    return any(trial.state == TrialState.WAITING for trial in trials)


def _counts(trial: FrozenTrial) -> bool:
    """Whether this trial was, or is being, run."""
    if trial.state == TrialState.WAITING or {SAME, MISFIT} & set(trial.user_attrs):
        return False
    return trial.user_attrs.get(ERROR) != _INTERRUPTED


def _same(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int | None:
    """An earlier or waiting trial with the parameters of this one, which a kill left half drawn."""
    mine = _text(_params(trial))
    for other in trials:
        due = other.state == TrialState.WAITING or (other.number < trial.number and _counts(other))
        if other.number != trial.number and due and _text(_params(other)) == mine:
            return other.number
    return None


def _params(trial: FrozenTrial) -> dict[str, Any]:
    """What is known of a trial's parameters, those it was queued with included."""
    return trial.system_attrs.get("fixed_params", {}) | trial.params


def _text(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
