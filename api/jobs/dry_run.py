"""What would become of a submission: why it would fail, what is not known yet, what it would take. Nothing is created.

What a worker alone can tell is not checked but named: whether it reaches the weight hub, has a GPU, and has memory for
a batch; and of timm's networks that are not tested (`docs/architectures.md`), where they can be explained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.errors import ApiError
from api.jobs import footprint
from api.jobs.schemas import JobCreate
from api.jobs.submission import check_checkpoint, check_dataset, check_network, check_splits, checked_config
from api.readiness import require_checkpoint, require_dataset
from masktune_core.config import JobConfig
from masktune_core.config_fit import unknowns
from persistence import checkpoints, datasets, images, quotas
from persistence.errors import NotFound, QuotaExceeded
from persistence.paces import learned, work_of
from persistence.settings import Settings
from persistence.tables import Dataset, Job


class Reason(BaseModel):
    """One reason why the job would be refused, or would fail."""

    code: str = Field(description="Stable name.", examples=["unknown_attribute"])
    pointer: str = Field(
        description="JSON pointer (RFC 6901) into the body; empty for the whole.", examples=["/config/data/group_by"]
    )
    detail: str = Field(description="What is wrong.", examples=["data set … has no attribute 'place': use square"])


class Unchecked(BaseModel):
    """Something that only a worker can tell, once the job runs."""

    pointer: str = Field(
        description="JSON pointer (RFC 6901) to the field that it depends on.", examples=["/config/model/pretrained"]
    )
    detail: str = Field(
        description="What is not known.", examples=["whether the worker can fetch the weights resnet50.tv_in1k"]
    )


class Advice(BaseModel):
    """What the data set's report warns of."""

    code: str = Field(description="Stable name.", examples=["group_empty"])
    where: str = Field(description="The split or attribute.", examples=["test"])
    message: str = Field(description="For people.", examples=["no image is in the group 'cow · sea'"])


class Estimate(BaseModel):
    """What the job would take; null where nobody can tell."""

    seconds: float | None = Field(description="Running time.", examples=[42.0])
    basis: Literal["earlier_jobs", "rough"] | None = Field(
        description="`earlier_jobs`: as jobs with the same network and input size went; `rough`: an order, for a CPU.",
        examples=["earlier_jobs"],
    )
    images: dict[str, int] = Field(
        description="Images that pass through each stage.", examples=[{"training_erm": 30000, "masking": 6000}]
    )
    host_memory_bytes: int = Field(description="Main memory of the training process.", examples=[757_000_000])
    device_memory_bytes: int | None = Field(description="Memory of the device it trains on.", examples=[45_000_000])
    disk_bytes: int | None = Field(description="Disk of the worker.", examples=[12_000_000])


class DryRunRead(BaseModel):
    """What would become of this submission."""

    would_run: bool = Field(description="Whether nothing speaks against it.", examples=[True])
    config: JobConfig | None = Field(description="The whole configuration, resolved; null when it is not valid.")
    reasons: list[Reason] = Field(description="Every reason why it would fail that can be known without running it.")
    unchecked: list[Unchecked] = Field(description="What it could still fail by; shows when it runs.")
    warnings: list[Advice] = Field(description="What the data set's report warns of.")
    estimate: Estimate | None = Field(description="What it would take; null without a configuration and a data set.")


class _Reasons:
    """Collects reasons, from checks that raise the first one they find."""

    def __init__(self) -> None:
        self.found: list[Reason] = []

    def add(self, code: str, pointer: str, detail: str) -> None:
        self.found.append(Reason(code=code, pointer=pointer, detail=detail))

    def tried(self, pointer: str, check: Callable[[], Any]) -> Any:
        """What the check returns; None, and its reasons, if it raises."""
        try:
            return check()
        except ApiError as error:
            for problem in error.extras.get("errors") or [{}]:
                self.add(
                    error.code if error.code != "invalid_config" else problem.get("code", error.code),
                    problem.get("pointer", pointer),
                    problem.get("detail", error.detail),
                )
        except NotFound as error:
            self.add(f"{error.kind}_not_found", pointer, f"{error}")
        except QuotaExceeded as error:
            self.add("too_many_jobs", pointer, f"{error}")
        return None


def rehearse(session: Session, settings: Settings, tenant_id: UUID, body: JobCreate) -> DryRunRead:
    """Everything that a submission, and the first minute of the job, would find fault with, as far as is known here."""
    reasons = _Reasons()
    config = reasons.tried("/config", lambda: checked_config(body.preset, body.config))
    dataset = reasons.tried("/dataset_id", lambda: require_dataset(datasets.get(session, tenant_id, body.dataset_id)))
    checkpoint = None
    if body.checkpoint_id is not None:
        wanted = body.checkpoint_id
        checkpoint = reasons.tried(
            "/checkpoint_id", lambda: require_checkpoint(checkpoints.get(session, tenant_id, wanted))
        )
    skips_erm = body.checkpoint_id is not None
    if config is not None:
        reasons.tried("/config", lambda: check_network(config))
    if config is not None and dataset is not None:
        reasons.tried("/config", lambda: check_dataset(config, dataset))
        reasons.tried("/config", lambda: check_splits(config, dataset, skips_erm=skips_erm))
        if checkpoint is not None:
            reasons.tried("/checkpoint_id", lambda: check_checkpoint(config, dataset, checkpoint))
    reasons.tried("", lambda: quotas.require(session, settings, tenant_id, "jobs"))
    estimate = None if config is None or dataset is None else _estimate(session, config, dataset, body)
    report = dataset.report if dataset is not None and dataset.report is not None else {}
    return DryRunRead(
        would_run=not reasons.found,
        config=config,
        reasons=reasons.found,
        unchecked=[] if config is None else _unchecked(config, skips_erm=skips_erm),
        warnings=[Advice(**warning) for warning in report.get("warnings", [])],
        estimate=estimate,
    )


def _unchecked(config: JobConfig, *, skips_erm: bool) -> list[Unchecked]:
    found = unknowns(config, skips_erm=skips_erm)
    return [Unchecked(pointer=f"/config/{each.field.replace('.', '/')}", detail=each.message) for each in found]


def _estimate(session: Session, config: JobConfig, dataset: Dataset, body: JobCreate) -> Estimate | None:
    # A job that is never added to the session: the forecasts take one.
    job = Job(config=config.model_dump(mode="json"), starts_from_checkpoint=body.checkpoint_id is not None)
    work = work_of(job, dataset)
    if work is None:
        return None
    counts = work.images
    pace = learned(session, [work]).get(work.kind, {})
    seconds: float | None
    basis: Literal["earlier_jobs", "rough"] | None
    if all(stage in pace or not count for stage, count in counts.items()):
        seconds = pace.get("preparing", 0.0) + sum(count * pace.get(stage, 0.0) for stage, count in counts.items())
        basis = "earlier_jobs"
    else:
        seconds = footprint.rough_seconds(
            config,
            trained=counts["training_erm"] + counts["finetuning"],
            explained=counts["masking"],
            evaluated=counts["evaluating"],
        )
        basis = None if seconds is None else "rough"
    pixels = images.pixels(session, dataset.id)
    return Estimate(
        seconds=seconds,
        basis=basis,
        images=dict(counts),
        host_memory_bytes=footprint.host_bytes(config, 3 * sum(pixels.values())),
        device_memory_bytes=footprint.device_bytes(config),
        disk_bytes=footprint.disk_bytes(
            config, archive_bytes=dataset.archive_size or 0, train_pixels=pixels.get("train", 0)
        ),
    )
