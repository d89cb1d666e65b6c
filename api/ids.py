"""Ids in paths. A malformed one names nothing, so it answers 404 like an unknown one."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path

_EXAMPLE = "01985f2e-7c1a-7b3e-9a41-2f6d8c0b5e77"
EXAMPLE_ID = _EXAMPLE

DatasetId = Annotated[UUID, Path(description="Id of a data set.", examples=[_EXAMPLE])]
CheckpointId = Annotated[UUID, Path(description="Id of a checkpoint.", examples=[_EXAMPLE])]
JobId = Annotated[UUID, Path(description="Id of a job.", examples=[_EXAMPLE])]
KeyId = Annotated[UUID, Path(description="Id of an API key.", examples=[_EXAMPLE])]
WebhookId = Annotated[UUID, Path(description="Id of a webhook.", examples=[_EXAMPLE])]
DeliveryId = Annotated[UUID, Path(description="Id of a delivery of a webhook.", examples=[_EXAMPLE])]
ImageIndex = Annotated[int, Path(ge=0, le=2**31 - 1, description="Number of an image in its data set.", examples=[0])]
SampleIndex = Annotated[
    int, Path(ge=0, le=2**31 - 1, description="Number of the image in the job's data set.", examples=[0])
]
