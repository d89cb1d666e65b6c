"""`masktune run`: the core on a local archive, without any service."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.changes import parse_changes, resolve
from cli.comparison import comparison_table, from_metrics
from cli.errors import CliError, UsageError
from cli.intake_options import CelebaAttribute, CelebaTarget, SplitSeed, given
from cli.options import JsonOption
from cli.output import Output
from cli.progress import RunDisplay
from cli.signals import StopSignals
from cli.waiting import problem_lines

if TYPE_CHECKING:
    from masktune_core.config import JobConfig
    from masktune_core.data.dataset import Dataset
    from masktune_core.distributed import World


_WORK = "work"
"""Folder of resume points and masks, beside the results; it goes once the run is complete."""


class RunInterrupted(CliError):
    exit_code = 130


def run(
    data: Annotated[
        Path, typer.Option("--data", help="Archive: zip, tar, tar.gz or tar.zst.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for what the run makes.", file_okay=False)],
    preset: Annotated[str | None, typer.Option(help="biased_mnist, waterbirds, celeba, …")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change of a field, such as erm.epochs=5; may be repeated.")
    ] = None,
    split_seed: SplitSeed = None,
    celeba_target: CelebaTarget = None,
    celeba_attribute: CelebaAttribute = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from where an interrupted run stopped.")] = False,
    json: JsonOption = False,
) -> None:
    """Run MaskTune here, in this process. Ctrl-C leaves a resume point behind.

    On several GPUs: torchrun --nproc-per-node 2 -m cli run …, with the same options.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as a worker's trainer has it, and before torch is imported
    output = Output.make(json=json)
    config = resolve(preset, parse_changes(settings or []))
    options = given(split_seed, celeba_target, celeba_attribute)
    out.mkdir(parents=True, exist_ok=True)

    from masktune_core.distributed import process_group

    with process_group() as world:
        if not world.leads:
            output = Output.quiet()
        _run(config, data, out, options, resume=resume, output=output, world=world)


def _run(
    config: JobConfig,
    data: Path,
    out: Path,
    options: Mapping[str, Any],
    *,
    resume: bool,
    output: Output,
    world: World,
) -> None:
    """What each of `torchrun`'s processes does; the first one prepares the folder, and reports."""
    work = out / _WORK
    dataset = open_dataset(data, out, config.data.group_by, output, options) if world.leads else None
    point = newest_resume_point(work) if resume else None
    if resume and point is None:
        raise UsageError(f"there is no resume point under {out}; leave out --resume to start from the beginning")
    if point is None and world.leads:
        shutil.rmtree(work, ignore_errors=True)  # another run's points must not be taken for this one's
    normalised = Path(world.hear(str(dataset.path) if dataset else ""))
    dataset = dataset or open_dataset(normalised, out, config.data.group_by, output)

    from cli.run_callbacks import RunCallbacks
    from masktune_core import pipeline
    from masktune_core.errors import Interrupted

    with StopSignals() as signals, signals.shielded(), RunDisplay(output.human) as display:
        # Shielded: Ctrl-C is not an exception here, the run is asked to stop and writes a resume point.
        callbacks = RunCallbacks(display, lambda: signals.received is not None)
        try:
            result = pipeline.run(config, dataset, callbacks=callbacks, resume=point, work_dir=work)
        except Interrupted as error:
            signals.received = None
            raise RunInterrupted(f"interrupted; go on with the same command and --resume ({error})") from error
    if not world.leads:
        return
    metrics = [asdict(metric) for metric in result.metrics]
    comparison = from_metrics(metrics)
    files = {name: str(path.replace(out / name)) for name, path in result.artifacts.items()}
    shutil.rmtree(work)
    output.result({"metrics": metrics, **comparison.as_json(), "artifacts": files}, comparison_table(comparison))
    if not output.json:
        output.say(f"everything lies in {out}")


def open_dataset(
    source: Path, out: Path, group_by: str | None, output: Output, options: Mapping[str, Any] | None = None
) -> Dataset:
    """The archive as it is if it is normalised already, else its normalised form beside the results.

    `options`: what it leaves open, as in `IntakeOptions`; a normalised one leaves nothing, so then they are an error.
    """
    from masktune_core.data.archive import read_index
    from masktune_core.data.dataset import Dataset
    from masktune_core.errors import ArchiveError

    try:
        read_index(source)
    except ArchiveError:
        normalised = normalise_archive(source, out / "dataset.zip", output, options)
        return Dataset.open(normalised, group_by=group_by)
    if options:
        raise UsageError(
            f"{source} is normalised already, with splits and classes of its own: leave out --split-seed and "
            "--celeba-…, or give the archive that it was made from"
        )
    return Dataset.open(source, group_by=group_by)


def normalise_archive(
    source: Path, destination: Path, output: Output, options: Mapping[str, Any] | None = None
) -> Path:
    """Check every image of a user's archive and write the normalised form. Raises `CliError` with every finding."""
    from masktune_core.errors import ArchiveError
    from masktune_core.intake import IntakeOptions, normalise

    output.say(f"  checking every image of {source.name} …")
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        read_as = IntakeOptions.model_validate(options or {})
        report = normalise(source, destination, filename=source.name, options=read_as)
    except ArchiveError as error:
        found = {"problems": [asdict(problem) for problem in error.problems], "problem_count": error.total}
        raise CliError("\n".join([f"{source} cannot be used", *problem_lines(found)])) from error
    for line in problem_lines({"problems": [asdict(p) for p in report.problems], "problem_count": report.total}):
        output.say(line)
    return destination


def newest_resume_point(work: Path) -> Path | None:
    """Their names count up, so the last name is the newest."""
    return max((work / "resume").glob("point-*.resume"), default=None)
