"""A decision tree that says from scene parameters what the network will answer."""

import re
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.tree import DecisionTreeClassifier, export_text, plot_tree

from xai_exp.config import InputError, Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.insight.parameters.rendered import rendered
from xai_exp.insight.parameters.space import Space


@configured
class TreeSurrogate:
    r"""A tree from scene parameters to the network's answer (Craven and Shavlik 1996).

    The scenes are drawn again with every parameter of another scene, each independently of the
    others, so that the tree can't mistake what goes along with a cause for the cause. It learns
    half of them, and the other half tells its fidelity: the share of answers that
    it foresees, in 0..1, HIGHER is better; beside it `chance`, the share of the most frequent
    answer, and `skill` = (fidelity - chance) / (1 - chance), 0 for a tree that knows nothing. A
    tree of low skill explains nothing, however simple it is to read.

    Args:
        images: scenes, the first of the test split.
        depth: of the tree at most.
        leaf: scenes in a leaf at least.
    """

    shows: ClassVar[str] = "a tree that imitates the network, from scene parameters"
    images: Annotated[int, Range(20)] = 1000
    depth: Annotated[int, Range(1, 12)] = 4
    leaf: Annotated[int, Range(1)] = 5

    def __call__(self, subject: Subject) -> Finding:
        """The tree and how well it imitates.

        Raises:
            InputError: when the network says one class of every scene.
        """
        model = rendered(subject, self.images)
        space, table = model.space, model.space.table()
        columns = space.ordered()
        source = np.random.default_rng(subject.seed)
        shuffled = table.copy()
        for one in columns:
            shuffled[:, one] = source.permutation(table[:, one])
        said = model.predict(shuffled).argmax(1)
        table = _read(space, shuffled)[:, columns]
        names = [space.names[one] for one in columns]
        if len(np.unique(said)) < 2:
            raise InputError(
                f"tree_surrogate: got a network that says {subject.data.classes[said[0]]} of every "
                "scene; allowed: one with several answers"
            )
        half = len(table) // 2
        tree = DecisionTreeClassifier(
            max_depth=self.depth, min_samples_leaf=self.leaf, random_state=subject.seed
        )
        tree.fit(table[:half], said[:half])
        fidelity = float((tree.predict(table[half:]) == said[half:]).mean())
        chance = float(np.bincount(said[half:]).max() / len(said[half:]))
        skill = (fidelity - chance) / (1 - chance) if chance < 1 else float("nan")
        classes = [subject.data.classes[int(one)] for one in tree.classes_]
        rows = pd.DataFrame({"parameter": names, "importance": tree.feature_importances_})
        root = names[int(tree.feature_importances_.argmax())]
        rules = export_text(tree, feature_names=names, class_names=classes)
        return Finding(
            figures={"tree_surrogate": partial(_drawn, tree, names, classes)},
            tables={
                "tree_surrogate": rows,
                "tree_rules": pd.DataFrame({"rule": rules.splitlines()}),
            },
            numbers={"fidelity": fidelity, "chance": chance, "skill": skill},
            lines=(
                f"a tree that asks most for {root} foresees {100 * fidelity:.0f} % of the answers "
                f"on unseen scenes (always the same answer: {100 * chance:.0f} %)",
            ),
        )


def _read(space: Space, table: np.ndarray) -> np.ndarray:
    """What the scenes are like in the end: a parameter may have moved another one."""
    return Space(scene=space.drawn(table), parameters=space.parameters).table()


def _drawn(tree: DecisionTreeClassifier, names: list[str], classes: list[str]) -> Figure:
    leaves, depth = tree.get_n_leaves(), tree.get_depth()
    figure = Figure(figsize=(max(5.0, 1.15 * leaves), 1.1 * (depth + 1)), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    look = {"impurity": False, "filled": True, "rounded": True, "precision": 2, "fontsize": 7}
    plot_tree(tree, ax=axes, feature_names=names, class_names=classes, label="all", **look)
    for words in axes.texts:  # the counts of ten classes are a line nobody reads
        text = re.sub(r"value = \[[^]]*\]\n", "", words.get_text())
        words.set_text(text.replace("class = ", "says ").replace("samples = ", "scenes: "))
    return figure
