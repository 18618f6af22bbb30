"""Write docs/gallery.md: every explainer on one picture, with its skill against exact truth.

python scripts/gallery_page.py [--store FOLDER] [--class NAME]

The network and the picture are those of scripts/readme_picture.py: the default cnn on
settlements_small (seed 0), the first test picture of its class; nothing is chosen by its looks.
Heatmaps are measured from the border, where the method has a reference.
"""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from readme_picture import asked

import xai_exp as xe
from xai_exp.report.figures.gallery import _QUANTILE, _RELEVANCE

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURES = ROOT / "docs" / "gallery.md", ROOT / "docs" / "images" / "gallery"
ALL = ROOT / "conf" / "explainer" / "all.yaml"
SIDE = 128  # pixels of a picture on the page
REFERENCES = 64  # images of the training split, for methods that compare with some

_HEAD = """<!-- made by scripts/gallery_page.py: change that -->
# Every explainer on one picture

One network (the default `cnn` on `settlements_small`, seed 0, {right}), one picture (the first
test picture of {name} land), its answer *{said}* explained by {count} methods with their default
fields, from the image's border where a method has a reference. **Red speaks for the class, blue
against it, white is zero**; each heatmap has a scale of its own. The number is the skill against
the exact truth on this picture (1: the truth, 0: equal shares of all parts, which know no network).
One picture is no verdict: that is in [findings](findings.md). A heatmap leads to its method.

"""


def main() -> None:
    """Train or find, explain, draw, write."""
    one = asked(__doc__)
    scenes = one.scenes
    known: Any = one.data.train.images(list(range(REFERENCES)))
    names = re.findall(r"^  - ([a-z]\w+)$", ALL.read_text("utf-8"), re.M)
    maps = xe.explain(one.network, scenes, names, reference="border", references=known)
    rows: Any = xe.score(maps, ["part_skill"]).set_index("explainer")["score"]
    skills = {name: float(rows[name]) for name in maps}
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    picture(scenes.render()[0].numpy()).save(PICTURES / "the_picture.png", optimize=True)
    heat(one.exact).save(PICTURES / "the_truth.png", optimize=True)
    for name in maps:
        heat(maps[name][0].numpy()).save(PICTURES / f"{name}.png", optimize=True)
    said = one.data.classes[int(maps.predictions[0])]
    head = _HEAD.format(
        right="right here" if said == one.name else "wrong here",
        name=one.name,
        said=said,
        count=len(maps),
    )
    PAGE.write_text(head + cells(skills) + skipped(maps.skipped), "utf-8")


def cells(skills: dict[str, float]) -> str:
    """A linked picture a method, from the nearest to the truth to the farthest."""
    lines = [_cell("the picture", "the_picture", ""), _cell("the exact truth", "the_truth", "")]
    order = sorted(skills, key=lambda name: (math.isnan(skills[name]), -skills[name]))
    for name in order:
        said = "no skill" if math.isnan(skills[name]) else f"{skills[name]:.2f}"
        lines.append(_cell(name.replace("_", " "), name, f"explainers.md#{name}", said))
    return '<div class="gallery" markdown>\n\n' + "\n".join(lines) + "\n\n</div>\n"


def _cell(words: str, name: str, link: str, said: str = "") -> str:
    image = f"![{words}](images/gallery/{name}.png)"
    under = f"<br>{words}" + (f"<br>**{said}**" if said else "")
    return f"[{image}{under}]({link})" if link else f"<span>{image}{under}</span>"


def skipped(why: Any) -> str:  # noqa: ANN401
    """Which methods don't explain this network."""
    lines = [f"- `{name}`: {' '.join(str(words).split())}" for name, words in why.items()]
    return "\nNot on this network:\n\n" + "\n".join(lines) + "\n" if lines else ""


def picture(image: np.ndarray) -> Image.Image:
    """The image itself, larger."""
    values = (255 * image.transpose(1, 2, 0).clip(0, 1)).round().astype(np.uint8)
    plain = Image.fromarray(values if values.shape[2] == 3 else values[:, :, 0])
    return plain.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def heat(values: np.ndarray) -> Image.Image:
    """Red for the class, blue against it, on a scale of its own."""
    end = float(np.quantile(np.abs(values), _QUANTILE)) or float(np.abs(values).max()) or 1.0
    colours = _RELEVANCE((values / end + 1) / 2, bytes=True)[..., :3]
    return Image.fromarray(colours).resize((SIDE, SIDE), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
