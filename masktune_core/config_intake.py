"""How an archive is read where its layout leaves a choice. Import from `masktune_core.config`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from masktune_core.config_parts import Frozen

# As long as the name of an attribute may be; and not what neither a table nor Postgres can hold.
Column = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[^\x00-\x1f\x7f]+$")]


class CelebaOptions(Frozen):
    """Which two of CelebA's 40 columns are used; the paper holds hair against gender."""

    target: Column = Field(
        default="Blond_Hair", description="The column that is the label.", examples=["Smiling", "Blond_Hair"]
    )
    attribute: Column = Field(
        default="Male", description="The column that forms groups with the label.", examples=["Young", "Male"]
    )

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.target == self.attribute:
            raise ValueError(f"target and attribute are both {self.target}: take two different columns")
        return self


class IntakeOptions(Frozen):
    """What a data set's own files do not say."""

    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Draws the splits that an archive does not have: all of class folders and of Cats vs Dogs, "
        "validation of CIFAR-10 and SVHN. The same seed always draws the same.",
        examples=[0],
    )
    celeba: CelebaOptions = Field(
        default=CelebaOptions(), description="Label and attribute of CelebA; other data sets do not look at it."
    )
