"""The live display of a run: one bar per stage on a terminal, one line per stage and epoch elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

STAGE_NAMES: dict[str, str] = {
    "preparing": "Preparing",
    "training_erm": "Training (ERM)",
    "masking": "Masking",
    "finetuning": "Finetuning",
    "evaluating": "Evaluating",
}


class RunDisplay:
    """Shows what it is told; enter it as a context manager. Everything is optional, so nothing depends on the order."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._tasks: dict[tuple[str, int], TaskID] = {}
        self._current: tuple[str, int] | None = None
        self._bars = Progress(
            TextColumn("  {task.description:<18}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not self._live,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def stage(self, stage: str, iteration: int) -> None:
        """A stage begins: the one before it is complete."""
        key = (stage, iteration)
        if key == self._current:
            return
        self.complete()
        self._current = key
        name = STAGE_NAMES.get(stage, stage) + (f", round {iteration}" if iteration > 1 else "")
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(name, total=1.0, note="")
        if not self._live:
            self._line(name)

    def progress(self, snapshot: Mapping[str, Any]) -> None:
        """Fields as in `masktune_core.callbacks.Progress`. One that is late, of a stage that is over, is passed by."""
        key = (str(snapshot["stage"]), int(snapshot["iteration"]))
        if key not in self._tasks:
            self.stage(*key)
        if key != self._current:
            return
        epoch, epochs = int(snapshot["epoch"]), max(1, int(snapshot["epochs"]))
        share = (epoch - 1 + int(snapshot["step"]) / max(1, int(snapshot["steps"]))) / epochs
        self._bars.update(self._tasks[key], completed=min(1.0, share), note=_note(snapshot))

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Fields as in `masktune_core.callbacks.EpochRecord`."""
        if not self._live:
            self._line(f"  {_note(record)}, {float(record['seconds']):.1f} s")

    def warning(self, message: str) -> None:
        self._line(f"warning: {message}")

    def complete(self) -> None:
        """The current stage is done."""
        if self._current is not None:
            self._bars.update(self._tasks[self._current], completed=1.0)

    def note(self, message: str) -> None:
        """Something worth a line of its own, above the bars."""
        self._line(message)

    def _line(self, message: str) -> None:
        self._console.print(Text(f"  {message}"), soft_wrap=True)


def _note(fields: Mapping[str, Any]) -> str:
    parts = []
    if int(fields.get("epochs") or 1) > 1 or fields.get("loss") is not None:
        parts.append(f"epoch {fields['epoch']}/{fields['epochs']}")
    if fields.get("loss") is not None:
        parts.append(f"loss {fields['loss']:.3f}")
    if fields.get("accuracy") is not None:
        parts.append(f"accuracy {100 * fields['accuracy']:.1f} %")
    if fields.get("val_accuracy") is not None:
        parts.append(f"validation {100 * fields['val_accuracy']:.1f} %")
    if fields.get("images_per_second"):
        parts.append(f"{fields['images_per_second']:,.0f} images/s")
    return ", ".join(parts)


def show_event(display: RunDisplay, kind: str, data: Mapping[str, Any]) -> None:
    """Show one event of a job on the service."""
    match kind:
        case "job.stage":
            display.stage(str(data["stage"]), int(data.get("iteration") or 0))
        case "progress":
            if data.get("stage"):
                display.progress(data)
        case "job.epoch":
            display.epoch(data)
        case "job.warning":
            display.warning(f"{data.get('message')} [{data.get('code')}]")
        case "job.started":
            display.note(f"attempt {data.get('attempt')} on {data.get('device')}")
        case "job.retrying":
            wait = f" in {data['delay_seconds']:.0f} s" if data.get("delay_seconds") else ""
            display.note(f"trying again{wait}: {(data.get('error') or {}).get('message')}")
        case "job.paused":
            display.note("paused")
        case "job.resume_requested":
            display.note(f"resumed after it was {data.get('from')}")
        case "job.resumed":
            display.note(f"going on from {data.get('stage')}, epoch {data.get('epoch')}")
        case "job.succeeded":
            display.complete()
        case _:
            pass
