"""The log of a run as a picture."""

import json
from pathlib import Path


def plot_log(log: Path, out: Path) -> None:
    """Loss and dev scores by epoch, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [row["loss"] for row in rows])
    left.set(xlabel="epoch", ylabel="training loss (nats)")
    for name in ("dev_emotion", "dev_emotion_hard", "dev_learn_score", "dev_learn_score_hard"):
        if name in rows[-1]:
            right.plot(epochs, [row[name] for row in rows], label=name.removeprefix("dev_").replace("_", " "))
    right.set(xlabel="epoch", ylabel="share right on dev")
    right.legend()
    figure.savefig(out, dpi=120)
    pyplot.close(figure)
