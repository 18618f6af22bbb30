"""Every shape that more than one module names, and a few plain words."""

from collections.abc import Callable, Sequence
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Images = Float[Tensor, "batch channel height width"]
Labels = Int[Tensor, " batch"]
Levels = Float[Tensor, "batch channel 1 1"]
Logits = Float[Tensor, "batch class"]
Heatmaps = Float[Tensor, "batch height width"]
Scores = Float[Tensor, " batch"]
Parts = Float[Tensor, "batch part height width"]
Keep = Bool[Tensor, "batch part"]
Curves = Float[Tensor, "batch step"]
StepLogits = Float[Tensor, "batch step target"]
Index = Int[Tensor, " batch"]
Positions = Int[Tensor, " batch"] | Sequence[int]
Keys = Int[Tensor, " batch"]
Rows = Float[Tensor, "batch count"]
Order = Int[Tensor, "batch count"]
Blocks = Float[Tensor, "batch rows columns"]
Masks = Bool[Tensor, "batch height width"]
Samples = Float[Tensor, "batch sample"]
Copies = Float[Tensor, "copy channel height width"]
StepMasks = Bool[Tensor, "batch step height width"]
Places = Int[Tensor, "batch height width"]
Segments = Int[Tensor, "batch height width"]
Counts = Int[Tensor, " step"]
Flags = Bool[Tensor, " batch"]
Vertices = Float[Tensor, "shape vertex 2"]
Planes = Float[Tensor, "batch height width"]
Layers = Float[Tensor, "batch part channel height width"]
Cells = Int[Tensor, "batch height width"]
Players = Int[Tensor, "batch part"]
Unions = Int[Tensor, "batch player"]
Effects = Float[Tensor, "batch part"]
Subsets = Bool[Tensor, "batch_or_one subset part"]
PartMasks = Bool[Tensor, "batch part height width"]
PartPeaks = Int[Tensor, "batch part"]

Precision = Literal["float32", "bfloat16"]
Value = Literal["centred", "pair", "log_odds", "probability", "logit"]
Nested = Callable[[slice, Counts], Copies]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


Readout = Callable[[Tensor, Tensor], Tensor]  # what a game is about: (outputs, targets) -> scores
