"""Which bridge stands beside which of our methods, and what is known of a difference."""

from collections.abc import Callable

from bridges.other_rows import of_quantus, of_xplique
from bridges.removal_rows import of_dianna, of_grad_cam, of_lime, of_shap
from bridges.row import Row
from bridges.torch_rows import of_captum, of_zennit

ROWS: dict[str, Callable[[], list[Row]]] = {
    "captum": of_captum,
    "zennit": of_zennit,
    "shap": of_shap,
    "grad_cam": of_grad_cam,
    "lime": of_lime,
    "dianna": of_dianna,
    "xplique": of_xplique,
    "quantus": of_quantus,
}
