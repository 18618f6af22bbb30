"""Other places than MLflow where results are kept: what each run was, and its scores, written once.

These trackers write and never find: with them nothing is reused, and studies have no report.
"""

from xai_exp.tracking.beside.csv_files import Csv
from xai_exp.tracking.beside.tensorboard import TensorBoard
from xai_exp.tracking.beside.wandb import WandB

__all__ = ["Csv", "TensorBoard", "WandB"]
