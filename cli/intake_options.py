"""Options for what an archive leaves open, as the commands that read one take them."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli.errors import UsageError
from masktune_core.config import IntakeOptions

SplitSeed = Annotated[
    int | None,
    typer.Option(
        "--split-seed", min=0, max=2**31 - 1, help="Draws the splits that the archive does not have. Default: 0."
    ),
]
CelebaTarget = Annotated[
    str | None, typer.Option("--celeba-target", help="The column of CelebA that is the label. Default: Blond_Hair.")
]
CelebaAttribute = Annotated[
    str | None,
    typer.Option("--celeba-attribute", help="The column of CelebA that forms groups with it. Default: Male."),
]


def given(seed: int | None, target: str | None, attribute: str | None) -> dict[str, Any]:
    """The options that were given, as in a request body; raises `UsageError` for what they may not be."""
    celeba = {name: value for name, value in (("target", target), ("attribute", attribute)) if value is not None}
    options: dict[str, Any] = {} if seed is None else {"seed": seed}
    if celeba:
        options["celeba"] = celeba
    try:
        IntakeOptions.model_validate(options)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise UsageError("\n".join(["the options of the data set are not valid", *lines])) from error
    return options
