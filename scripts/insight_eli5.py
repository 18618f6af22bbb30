"""Permutation importance by eli5 and by ours, of the same scenes: run where eli5 is installed.

    pip install --no-deps eli5 attrs tabulate six graphviz jinja2
    python scripts/insight_eli5.py

Writes insight_eli5.json, from which insight_page.py writes a line of docs/insight.md.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import torch
from eli5.permutation_importance import get_score_importances  # pyright: ignore

from xai_exp.compute.values import Question
from xai_exp.data.counting import Counting
from xai_exp.insight import Subject
from xai_exp.insight.parameters.importance import PermutationImportance, agreement
from xai_exp.insight.parameters.rendered import rendered
from xai_exp.models.whitebox import Counter
from xai_exp.training import Trainer
from xai_exp.types import Dataset

FOUND = Path(__file__).with_name("insight_eli5.json")
_SCENES, _REPEATS = 60, 10


def main() -> None:
    """Measure and write."""
    data = Counting(
        count=600, pixels=40, min_objects=1, max_objects=3, min_contrast=0.9, test_share=0.3
    )
    box = Counter(least=1)
    subject = Subject(
        network=box.build(data.channels, data.size, len(data.classes)).eval(),
        data=cast(Dataset, data),
        architecture=box,
        trainer=Trainer(),
        question=Question(),
        seed=0,
        device=torch.device("cpu"),
    )
    found = PermutationImportance(images=_SCENES, repeats=_REPEATS)(subject)
    ours = found.tables["permutation_importance"].set_index("parameter")
    model = rendered(subject, _SCENES)
    table = model.space.table()
    wanted = model.predict(table).argmax(1)

    def score(x: np.ndarray, y: np.ndarray) -> float:
        return agreement(model, x, y)

    _, falls = get_score_importances(score, table, wanted, n_iter=_REPEATS, random_state=1)
    theirs = np.array(falls)
    rows = {
        name: {
            "ours": [float(ours.loc[name, one]) for one in ("importance", "deviation")],
            "eli5": [float(theirs[:, k].mean()), float(theirs[:, k].std())],
        }
        for k, name in enumerate(model.space.names)
    }
    told = {"eli5": version("eli5"), "scenes": _SCENES, "repeats": _REPEATS, "rows": rows}
    FOUND.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
