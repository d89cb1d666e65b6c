"""The paper's result on Biased MNIST (section 4.1): ERM, MaskTune and the random mask, on both test sets.

`python -m benchmarks.biased_mnist --digits FOLDER --out runs.jsonl` runs the plan on a full MNIST in IDX files, appends
one JSON line per run, leaves out runs that the file already has, and prints the tables of `docs/results.md`. As a part
of `python -m benchmarks` it makes one run on the 10,000 digits that ship with the project.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.table import Row
from masktune_core.config import JobConfig, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.evaluation import Evaluation
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import ConflictingDigits, make_biased_mnist
from masktune_core.makers.cues import Cue
from masktune_core.pipeline import run as run_pipeline

TESTS = ("test:original", "test:biased")
ERM_EPOCHS = 3


@dataclass(frozen=True, slots=True)
class Setting:
    """One run: which data, and what differs from the `biased_mnist` preset. `seed` decides data and training."""

    seed: int = 0
    conflicting: float = 0.01
    conflicting_digits: ConflictingDigits = "any"
    cue: Cue = "square"
    strategy: Literal["masktune", "random_mask"] = "masktune"
    k: float = 2.0
    iterations: int = 1
    cumulative: bool = False
    erm_epochs: int = ERM_EPOCHS


@dataclass(frozen=True, slots=True)
class Experiment:
    """Settings that differ in the seed alone; `name` and `model` are its row of the table."""

    name: str
    setting: dict[str, Any]
    seeds: int = 2
    model: str = "MaskTune"


SPREAD: dict[ConflictingDigits, str] = {"any": "any digits", "nearest": "4s and 5s"}
MAIN = tuple(
    Experiment(f"1 % conflicting, {SPREAD[digits]}", {"conflicting_digits": digits, "strategy": strategy}, 5, model)
    for digits in SPREAD
    for strategy, model in (("masktune", "MaskTune"), ("random_mask", "random mask"))
)
_CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("5 % conflicting, ", {"conflicting": 0.05}),
    ("20 % conflicting, ", {"conflicting": 0.2}),
    ("two iterations, masks replaced, ", {"iterations": 2}),
    ("two iterations, masks added up, ", {"iterations": 2, "cumulative": True}),
    ("k = 1, ", {"k": 1.0}),
    ("k = 3, ", {"k": 3.0}),
    ("two squares, ", {"cue": "two_squares"}),
    ("two squares, two iterations, masks replaced, ", {"cue": "two_squares", "iterations": 2}),
    ("two squares, two iterations, masks added up, ", {"cue": "two_squares", "iterations": 2, "cumulative": True}),
    ("background colour, ", {"cue": "background"}),
    ("foreground colour, ", {"cue": "foreground"}),
)
VARIANTS = (
    Experiment("0 % conflicting", {"conflicting": 0.0}),
    *(
        Experiment(f"{change}{SPREAD[digits]}", {"conflicting_digits": digits, **setting})
        for change, setting in _CHANGES
        for digits in SPREAD
    ),
)


def run(quick: bool) -> list[Row]:
    """One run on the bundled digits; the accuracy after MaskTune against that of ERM, on the biased test set."""
    with tempfile.TemporaryDirectory() as folder:
        done = run_setting(Setting(erm_epochs=1 if quick else 5), None, Path(folder), train=1000 if quick else None)
    return [
        Row(
            name=f"Biased MNIST, 10,000 digits, seed 0, {split}",
            measured=100 * done["after"][split],
            baseline=100 * done["erm"][split],
            ratio=done["after"][split] / max(done["erm"][split], 1e-9),
            unit="%",
            note="accuracy after MaskTune; baseline: ERM",
        )
        for split in TESTS
    ]


def run_setting(setting: Setting, digits: Path | None, folder: Path, *, train: int | None = None) -> dict[str, Any]:
    """Make the data unless `folder` has it, run the pipeline, and return setting, accuracies and seconds."""
    archive = folder / f"{setting.cue}-{setting.conflicting}-{setting.conflicting_digits}-{setting.seed}.zip"
    if not archive.exists():
        made = make_biased_mnist(
            folder / "made.zip",
            digits=digits or "bundled",
            seed=setting.seed,
            conflicting=setting.conflicting,
            conflicting_digits=setting.conflicting_digits,
            cue=setting.cue,
            train=train,
        )
        normalise(made, archive)
    start = time.perf_counter()
    with Dataset.open(archive) as dataset, tempfile.TemporaryDirectory(dir=folder) as work:
        result = run_pipeline(_config(setting), dataset, work_dir=Path(work))
    return {
        "setting": asdict(setting),
        "erm": _accuracies(result.erm),
        "after": _accuracies(result.masktune),
        "rounds": [_accuracies(evaluation) for evaluation in result.rounds],
        "warnings": [code for code, _ in result.warnings],
        "device": result.manifest["device_name"],
        "seconds": round(time.perf_counter() - start, 1),
    }


def _config(setting: Setting) -> JobConfig:
    masking = {
        "strategy": setting.strategy,
        "k": setting.k,
        "iterations": setting.iterations,
        "cumulative": setting.cumulative,
    }
    return resolve_config(
        "biased_mnist", {"seed": setting.seed, "erm": {"epochs": setting.erm_epochs}, "masking": masking}
    )


def _accuracies(evaluation: Evaluation) -> dict[str, float]:
    return {name: split.accuracy for name, split in evaluation.splits.items()}


def plan(experiments: Sequence[Experiment], seeds: int | None, erm_epochs: int) -> list[Setting]:
    """Every run of the experiments, seed by seed, so that a plan cut short has a little of everything."""
    numbers = [min(experiment.seeds, seeds or experiment.seeds) for experiment in experiments]
    return [
        Setting(seed=seed, erm_epochs=erm_epochs, **experiment.setting)
        for seed in range(max(numbers, default=0))
        for experiment, number in zip(experiments, numbers, strict=True)
        if seed < number
    ]


def tables(done: Iterable[dict[str, Any]]) -> str:
    """The Markdown tables of all runs at hand: mean ± sample standard deviation over seeds, in percent."""
    runs = {json.dumps(run["setting"], sort_keys=True): run for run in done}.values()
    lines = [
        "| data and settings | model | original test | biased test | seeds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for experiment in (*MAIN, *VARIANTS):
        wanted = asdict(Setting(**experiment.setting))
        found = [run for run in runs if _alike(run["setting"], wanted)]
        if not found:
            continue
        models = [("ERM", "erm"), (experiment.model, "after")]
        if experiment.setting.get("strategy") == "random_mask":
            models = models[1:]  # the same ERM model as MaskTune's
        for model, key in models:
            cells = [_mean(run[key][split] for run in found) for split in TESTS]
            lines.append(f"| {experiment.name} | {model} | {' | '.join(cells)} | {len(found)} |")
    return "\n".join(lines)


def _alike(setting: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(setting[name] == value for name, value in wanted.items() if name not in {"seed", "erm_epochs"})


def _mean(values: Iterable[float]) -> str:
    percent = [100 * value for value in values]
    return f"{statistics.mean(percent):.1f}" + (f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else "")


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing of the plan, and print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.biased_mnist", description="Reproduce the paper.")
    parser.add_argument("--digits", type=Path, help="folder of a full MNIST in IDX files; default: bundled digits")
    parser.add_argument("--out", type=Path, default=Path("biased-mnist.jsonl"), help="one line per run, appended")
    parser.add_argument("--part", choices=("main", "variants", "all"), default="all")
    parser.add_argument("--seeds", type=int, help="at most so many seeds per row")
    parser.add_argument("--erm-epochs", type=int, default=ERM_EPOCHS)
    parser.add_argument("--table", action="store_true", help="run nothing, print the tables of --out")
    options = parser.parse_args(arguments)

    experiments = {"main": MAIN, "variants": VARIANTS, "all": (*MAIN, *VARIANTS)}[options.part]
    settings = [] if options.table else plan(experiments, options.seeds, options.erm_epochs)
    have = [run["setting"] for run in _read(options.out)]
    with tempfile.TemporaryDirectory() as folder:
        for setting in settings:
            if asdict(setting) in have:
                continue
            done = run_setting(setting, options.digits, Path(folder))
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done) + "\n")
            print(json.dumps({key: done[key] for key in ("setting", "erm", "after", "seconds")}), file=sys.stderr)
    print(tables(_read(options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
