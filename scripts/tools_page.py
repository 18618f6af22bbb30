"""docs/tools.md from scripts/tools.json, which scripts/tools_table.py measures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xai_exp.studies import tools_report as told

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tools.md"
HEAD = """# Tools side by side

Written by `scripts/tools_page.py` from scripts/tools.json, which `make tools` measures: every tool in an
environment of its own, pinned, on the same networks and images. `python -m xai_exp experiment=tools`
shows the same and puts bridges through the metrics. A tool's class is an explainer by
`explainer=bridge/captum explainer.captum.method=DeepLift`; what is called how here stands in
[aliases](aliases.md).

## The answer

{answer}

## What we advise

{advice}

*Never seen wrong* means that a heatmap is what its definition says, not that it tells the truth: skill says
that. Whoever takes a tool that hooks modules writes each ReLU as a module of its own, merges batch norms,
and checks that a heatmap of DeepLIFT or integrated gradients sums to f(x) - f(x').

## The tools

*Lines* are those of scripts/tools/heatmaps, without the one that gives the network. *Released* is the
newest file in what pip downloads. *Installs* names the Pythons that it was tried on: 3.11 beside the
project's own packages, others (`scripts/tools_pythons.py`) in an environment with nothing else in it, from
which it is imported once; one that is not named was not tried, and
what stood in the way is below (on 3.6 and 3.7 the pip that comes with them, elsewhere uv). *Skill* is that of its best method against exact Shapley values of
parts, on a trained network (typed_counting_small, 12 images): 1 is the truth, 0 no better than equal
shares. *Silently wrong* counts trials, of those that answer.

{tools}

What stood in the way:

{hindrances}

## Methods on networks

*cnn* has batch norm and max pooling, *functional* is the same function with ReLUs that are called;
*resnet18* is a quarter wide, *mobilenet* torchvision's mobilenet_v3_small (gates), *vit* a small one.
**works**: it passes every check there is; **answers**: nothing to hold it against; **stops**: with an
error; **WRONG**: an answer without a word that breaks a law: another heatmap for the same function, a
sum that misses what the method promises by more than 1 % of the largest output, values that are not finite or all zero, or
another method than the one of that name (more than 1 % from ours, which the tests hold to its paper).

{methods}

## What is wrong, in words

- Integrated gradients have 32 points, as one would choose them: what their sum is off by is a matter of
  points, and captum says it only when asked (`return_convergence_delta`). Ours goes to 1024 points here, and
  a run says what is still missing (`completeness_gap`).
- Hooks on modules do not see a function: guided backpropagation of captum and zennit becomes the plain
  gradient, DeepLIFT loses its sum. shap's DeepExplainer checks sums, but allows 0.01 whatever the outputs.
- *merged* is zennit with its canoniser SequentialMergeBatchNorm. Residual sums need another one, which it
  has for torchvision's classes and not for one's own.
- pytorch-grad-cam has 1e-6 in a denominator of GradCAM++, which counts where gradients are small.
- The bridges take the last convolution's map. In a transformer that is the patches' embedding, where ours
  reads the last tokens, so that these are not compared there.

{words}

## Time, memory, equality, truth

On *cnn*, a heatmap of 48x48 pixels, one core: milliseconds of a processor, and the most memory that torch's tensors
take up at once. *Apart* is the largest difference to ours as a share of the largest value.

{costs}
"""


def keep(name: str, found: Mapping[str, Any]) -> None:
    """Add one tool's."""
    every = {**told.kept(), name: found}
    told.KEPT.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n", "utf-8")


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(told.kept()), "utf-8")
    print(PAGE.relative_to(ROOT))


def page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    return HEAD.format(
        answer=told.answer(found),
        advice=told.advice(found),
        tools=table(told.TOOL_HEADS, told.tool_rows(found)),
        hindrances="\n".join(told.hindrances(found)) or "Nothing.",
        methods=table(told.METHOD_HEADS, told.method_rows(found)),
        words="\n".join(told.words(found)) or "Nothing.",
        costs=table(told.COST_HEADS, told.cost_rows(found)),
    )


def table(heads: Sequence[str], rows: Iterator[list[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
