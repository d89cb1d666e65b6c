"""Loss and accuracy by epoch: ERM training first, then each round of finetuning, on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from api.web.charts.axes import axis
from api.web.charts.lines import Band, Series, legend, line_chart
from api.web.formats import percent
from masktune_core.config import JobConfig
from persistence.tables import Metric

_STAGES = ("training_erm", "finetuning")


@dataclass(frozen=True, slots=True)
class Curves:
    """Two charts, and what their colours mean."""

    loss: Markup
    accuracy: Markup
    legend: Markup


def curves(metrics: Sequence[Metric], config: JobConfig, *, from_checkpoint: bool) -> Curves:
    """The charts of a job's training metrics so far."""
    erm_epochs = 0 if from_checkpoint else config.erm.epochs
    seen = [metric.epoch for metric in metrics if metric.stage == "training_erm"]
    tuned = any(metric.stage == "finetuning" for metric in metrics)
    # Early stopping may have ended ERM training before its last planned epoch.
    offset = max(seen, default=0) if tuned else erm_epochs
    last = offset + config.masking.iterations * config.finetune.epochs
    across = axis(1, max(last, 2), most=8, whole=True)
    bands = _bands(offset, config) if tuned or from_checkpoint else []

    def points(name: str, split: str) -> list[tuple[float, float]]:
        found = [
            (_place(metric, offset, config.finetune.epochs), metric.value)
            for metric in metrics
            if metric.stage in _STAGES and (metric.name, metric.split) == (name, split) and metric.value is not None
        ]
        return sorted(found)

    loss = [Series("training", "train", points("loss", "train"))]
    accuracy = [
        Series("training", "train", points("accuracy", "train")),
        Series("validation", "val", points("accuracy", "val")),
    ]
    lowest = min((y for line in accuracy for _, y in line.points), default=0.0)
    few = last <= 40
    return Curves(
        loss=line_chart(loss, title="Loss", x_label="epoch", x=across, bands=bands, dots=few),
        accuracy=line_chart(
            accuracy,
            title="Accuracy",
            x_label="epoch",
            x=across,
            y=axis(max(0.0, lowest - 0.02), 1.0),
            bands=bands,
            y_text=lambda value: percent(value, 0 if lowest < 0.9 else 1),
            dots=few,
        ),
        legend=legend(accuracy),
    )


def _bands(offset: int, config: JobConfig) -> list[Band]:
    """Where each round's finetuning lies."""
    epochs, number = config.finetune.epochs, config.masking.iterations
    starts = [offset + 0.5 + nth * epochs for nth in range(number)]
    if number == 1:
        return [Band(starts[0], starts[0] + epochs, "finetuning")]
    return [Band(start, start + epochs, f"finetuning {nth}", str(nth)) for nth, start in enumerate(starts, 1)]


def _place(metric: Metric, offset: int, finetune_epochs: int) -> float:
    if metric.stage == "training_erm":
        return metric.epoch
    return offset + (metric.iteration - 1) * finetune_epochs + metric.epoch
