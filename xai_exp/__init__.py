"""xai_exp: which explanation of an image classifier can a scientist trust?

The Python API is here, each name loaded when it is first asked for; `import xai_exp as xe`, then
`xe.explain?` and `xe.explainers()`.
"""

import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False  # in place of importing typing, which takes as long as all of this

if TYPE_CHECKING:
    from xai_exp.api import Choices as Choices
    from xai_exp.api import Heatmaps as Heatmaps
    from xai_exp.api import InputError as InputError
    from xai_exp.api import Preprocessing as Preprocessing
    from xai_exp.api import Run as Run
    from xai_exp.api import Truth as Truth
    from xai_exp.api import dataset as dataset
    from xai_exp.api import datasets as datasets
    from xai_exp.api import describe as describe
    from xai_exp.api import explain as explain
    from xai_exp.api import explainers as explainers
    from xai_exp.api import load as load
    from xai_exp.api import metrics as metrics
    from xai_exp.api import models as models
    from xai_exp.api import run as run
    from xai_exp.api import score as score
    from xai_exp.api import train as train
    from xai_exp.api import worth as worth

__version__ = "0.1.0"

# Folders of the package whose names are lists, too: the folder, when called, gives the list.
_LISTS = ("explainers", "metrics", "models")
_NAMES = (
    *(
        "explain",
        "score",
        "dataset",
        "load",
        "train",
        "worth",
        "run",
        "describe",
        "datasets",
        *_LISTS,
    ),
    *("Heatmaps", "Preprocessing", "Choices", "Run", "Truth", "InputError"),
)


class _Listed(ModuleType):
    """A folder of the package that can be called for the list of its choices."""

    def __call__(self) -> object:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module("xai_exp.api"), name)()


class _Package(ModuleType):
    """The package; a folder that is also a list is made callable once it is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _LISTS and isinstance(value, ModuleType):
            value.__class__ = _Listed
        super().__setattr__(name, value)


def __getattr__(name: str) -> object:
    if name in _LISTS:
        return import_module(f"xai_exp.{name}")
    if name in _NAMES:
        return getattr(import_module("xai_exp.api"), name)
    raise AttributeError(f"module 'xai_exp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})


sys.modules[__name__].__class__ = _Package
