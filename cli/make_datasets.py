"""`masktune datasets make`: archives from downloads in the user's hands. Nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import JsonOption
from cli.output import Output, size

app = typer.Typer(help="Make an archive on this machine, from a download of yours.", no_args_is_help=True)

Destination = Annotated[Path, typer.Argument(help="The archive to write.", dir_okay=False)]
Source = Annotated[Path, typer.Argument(help="The download: its folder, or its archive as it came.", exists=True)]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Decides which images go where.")]
Val = Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of the training images held out for validation.")]


@app.command("biased-mnist")
def make_biased_mnist(
    destination: Annotated[Path, typer.Argument(help="The archive to write.")] = Path("biased-mnist.zip"),
    seed: Annotated[int, typer.Option(min=0, help="Decides which digits go where.")] = 0,
    conflicting: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of training images whose cue contradicts their class.")
    ] = 0.01,
    conflicting_digits: Annotated[
        Literal["any", "nearest"],
        typer.Option(help="Which digits contradict: any, or the 4s and 5s first, as in the authors' code."),
    ] = "any",
    cue: Annotated[
        Literal["square", "two_squares", "background", "foreground"], typer.Option(help="The shortcut.")
    ] = "square",
    digits: Annotated[
        Path | None, typer.Option(help="Folder of MNIST idx files. Default: the 10,000 digits that come with it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Biased MNIST: digits 0–4 against 5–9, with a shortcut that nearly gives the class away."""
    from masktune_core.makers import biased_mnist

    made = biased_mnist.make_biased_mnist(
        destination,
        digits=digits or "bundled",
        seed=seed,
        conflicting=conflicting,
        conflicting_digits=conflicting_digits,
        cue=cue,
    )
    _wrote(made, json=json)


@app.command("waterbirds")
def make_waterbirds(
    source: Source, destination: Destination = Path("waterbirds.zip"), json: JsonOption = False
) -> None:
    """Waterbirds as WILDS ships it."""
    from masktune_core.makers import waterbirds

    _wrote(waterbirds.make_waterbirds(destination, source), json=json)


@app.command("celeba")
def make_celeba(
    source: Source,
    destination: Destination = Path("celeba.zip"),
    target: Annotated[str, typer.Option(help="The column that is the label.")] = "Blond_Hair",
    attribute: Annotated[str, typer.Option(help="The column that forms groups with it.")] = "Male",
    json: JsonOption = False,
) -> None:
    """CelebA, from Kaggle's CSV files or the original text files."""
    from masktune_core.makers import celeba

    _wrote(celeba.make_celeba(destination, source, target=target, attribute=attribute), json=json)


@app.command("backgrounds")
def make_backgrounds(
    challenge: Annotated[Path, typer.Argument(help="The Backgrounds Challenge: folder or archive.", exists=True)],
    training: Annotated[Path, typer.Argument(help="IN-9L or IN-9: folder or archive.", exists=True)],
    destination: Destination = Path("in9l.zip"),
    json: JsonOption = False,
) -> None:
    """ImageNet-9L with all eight test sets of the Backgrounds Challenge."""
    from masktune_core.makers import backgrounds

    _wrote(backgrounds.make_backgrounds(destination, challenge, training), json=json)


@app.command("cifar10")
def make_cifar10(
    source: Source,
    destination: Destination = Path("cifar10.zip"),
    val: Val = 0.2,
    seed: Seed = 0,
    json: JsonOption = False,
) -> None:
    """CIFAR-10, from cifar-10-python.tar.gz or a torchvision root."""
    from masktune_core.makers import cifar10

    _wrote(cifar10.make_cifar10(destination, source, val=val, seed=seed), json=json)


@app.command("svhn")
def make_svhn(
    source: Source,
    destination: Destination = Path("svhn.zip"),
    val: Val = 0.2,
    seed: Seed = 0,
    json: JsonOption = False,
) -> None:
    """SVHN's cropped digits, from a torchvision root: train_32x32.mat and test_32x32.mat."""
    from masktune_core.makers import svhn

    _wrote(svhn.make_svhn(destination, source, val=val, seed=seed), json=json)


@app.command("catsvsdogs")
def make_cats_vs_dogs(
    source: Source,
    destination: Destination = Path("catsvsdogs.zip"),
    val: Val = 0.2,
    test: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of each class held out for the test.")] = 0.2,
    seed: Seed = 0,
    json: JsonOption = False,
) -> None:
    """Cats vs Dogs, from Microsoft's or Kaggle's archive; files that are no whole images are left out."""
    from masktune_core.makers import cats_vs_dogs

    made = cats_vs_dogs.make_cats_vs_dogs(destination, source, test=test, val=val, seed=seed)
    if made.left_out:
        Output.make(json=json).say(f"left out, no whole images: {', '.join(made.left_out)}")
    _wrote(made.path, json=json)


def _wrote(path: Path, *, json: bool) -> None:
    bytes_ = path.stat().st_size
    Output.make(json=json).result({"path": str(path), "size": bytes_}, f"wrote {path} ({size(bytes_)})")
