"""Keys of runs from before files moved: keys said then where a class lives, and now its name.

What was trained and scored before is still found, as long as nothing that decides it has changed
since: no class has a newer version, and no field that was added has another value than its first.
"""

from collections.abc import Mapping
from pydoc import locate
from typing import Any

from xai_exp.config import identity, without_added

SCORING_VERSION = 3  # one for all explainers and metrics


def unchanged(things: Any) -> bool:  # noqa: ANN401
    """Whether no class in these, nor any that they hold, has changed its results since."""
    return _first(identity(things))


def _first(told: Any) -> bool:  # noqa: ANN401
    if isinstance(told, Mapping):
        return all(_first(value) for value in told.values())
    if isinstance(told, tuple):
        return told[1] == 1 and _first(told[2])
    return all(_first(one) for one in told) if isinstance(told, list) else True


def described(node: Any) -> Any:  # noqa: ANN401
    """A node of a plain configuration as it was written before files moved."""
    if isinstance(node, list):
        return [described(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    target = node.get("_target_")
    kind = locate(target) if isinstance(target, str) else None
    kept = without_added(kind, node) if isinstance(kind, type) else node
    told = {key: described(value) for key, value in kept.items()}
    return {**told, "_target_": _path(kind)} if isinstance(kind, type) else told


def _path(kind: type) -> str:
    module = kind.__module__.removeprefix("xai_exp.")
    return f"xai_exp.{_MODULES.get(module, module)}.{kind.__name__}"


_MODULES = {
    "explainers.lrp.excitation": "explainers.modified",
    "removal.imputers": "imputers",
    "explainers.gradients.gradients": "explainers.gradients",
    "explainers.gradients.averaged": "explainers.averaged",
    "explainers.gradients.expected": "explainers.expected",
    "explainers.gradients.paths": "explainers.paths",
    "explainers.gradients.baselines": "explainers.baselines",
    "explainers.backward.engine": "explainers.backward",
    "explainers.backward.rules": "explainers.backward_rules",
    "explainers.backward.calls": "explainers.calls",
    "explainers.backward.functions": "explainers.functions",
    "explainers.backward.layer": "explainers.layer",
    "explainers.lrp.propagation": "explainers.propagation",
    "explainers.backward.guards": "explainers.guards",
    "explainers.lrp.lrp": "explainers.lrp",
    "explainers.lrp.composed": "explainers.lrp_composed",
    "explainers.lrp.composites": "explainers.lrp_composites",
    "explainers.lrp.numbers": "explainers.lrp_numbers",
    "explainers.lrp.rules": "explainers.lrp_rules",
    "explainers.lrp.deep_taylor": "explainers.deep_taylor",
    "explainers.lrp.pattern": "explainers.pattern",
    "explainers.lrp.attention": "explainers.attention",
    "explainers.lrp.attention_rules": "explainers.attention_rules",
    "explainers.deeplift.deeplift": "explainers.deeplift",
    "explainers.deeplift.reveal_cancel": "explainers.deeplift_reveal_cancel",
    "explainers.deeplift.shap": "explainers.deeplift_shap",
    "explainers.activation.maps": "explainers.activation_maps",
    "explainers.activation.feature_map": "explainers.feature_map",
    "explainers.activation.full_grad": "explainers.full_grad",
    "explainers.perturbation.removal": "explainers.removal",
    "explainers.perturbation.windows": "explainers.perturbation",
    "explainers.perturbation.players": "explainers.players",
    "explainers.perturbation.lime": "explainers.lime",
    "explainers.perturbation.shapley": "explainers.shapley",
    "explainers.perturbation.partition": "explainers.partition",
    "explainers.perturbation.masks": "explainers.masks",
    "metrics.faithfulness.correlation": "metrics.correlation",
    "metrics.faithfulness.curves": "metrics.curves",
    "metrics.faithfulness.infidelity": "metrics.infidelity",
    "metrics.faithfulness.monotonicity": "metrics.monotonicity",
    "metrics.faithfulness.removal": "metrics.removal",
    "metrics.faithfulness.road": "metrics.road",
    "metrics.faithfulness.shading": "metrics.shading",
    "metrics.faithfulness.sufficiency": "metrics.sufficiency",
    "metrics.faithfulness.superpixels": "metrics.superpixels",
    "metrics.localisation.masks": "metrics.localisation",
    "metrics.localisation.overlap": "metrics.overlap",
    "metrics.localisation.focus": "metrics.focus",
    "metrics.localisation.regions": "metrics.regions",
    "metrics.robustness.continuity": "metrics.robustness",
    "metrics.robustness.relative_stability": "metrics.relative_stability",
    "metrics.robustness.equivariance": "metrics.equivariance",
    "metrics.robustness.invariance": "metrics.invariance",
    "metrics.truth.measures": "metrics.truth",
    "metrics.truth.parts": "metrics.parts",
    "metrics.truth.likeness": "metrics.part_likeness",
    "metrics.truth.people": "metrics.people",
}
