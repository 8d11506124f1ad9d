"""Where the project's files are."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
EVAL_DATA = ROOT / "eval_data"
TRAIN_DATA = ROOT / "train_data"
