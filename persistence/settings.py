"""Settings of every process, read from `MASKTUNE_*` environment variables."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """No secret has a default; a missing one stops the process with the variable's name."""

    model_config = SettingsConfigDict(env_prefix="MASKTUNE_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(description="postgresql+psycopg://…")
    redis_url: SecretStr = Field(description="redis://… or redis+socket://…")
    home: Path = Field(default=Path(".masktune"), description="Folder of everything that runs locally.")
    storage_url: str = Field(default="", description="file:///… or s3://bucket/prefix; empty: <home>/objects.")
    log_level: str = "INFO"

    tenant_max_running: Annotated[int, Field(ge=0)] = 0
    tenant_max_intakes: Annotated[int, Field(ge=0)] = 1
    retain_resume_hours: Annotated[int, Field(ge=0)] = 7 * 24
    retain_jobs_days: Annotated[int, Field(ge=0)] = 0
    retain_unreferenced_hours: Annotated[int, Field(ge=1)] = 1

    upload_max_bytes: Annotated[int, Field(gt=0)] = 50 * 2**30
    upload_ttl_hours: Annotated[int, Field(gt=0)] = 48
    tenant_max_bytes: Annotated[int, Field(gt=0)] = 500 * 2**30
    tenant_max_datasets: Annotated[int, Field(gt=0)] = 1000
    tenant_max_jobs: Annotated[int, Field(gt=0)] = 200
    rate_limit_requests: Annotated[int, Field(ge=0)] = Field(
        default=3000, description="Most requests of one key in rate_limit_seconds; 0: no limit."
    )
    rate_limit_images: Annotated[int, Field(ge=0)] = Field(
        default=30_000, description="Most pictures that one key may ask for in rate_limit_seconds; 0: no limit."
    )
    rate_limit_anonymous: Annotated[int, Field(ge=0)] = Field(
        default=300, description="Most requests without a key from one address in rate_limit_seconds; 0: no limit."
    )
    event_streams_per_key: Annotated[int, Field(ge=1)] = Field(
        default=64, description="Most event streams that one key or browser may have open at one API process."
    )
    rate_limit_seconds: Annotated[int, Field(gt=0, le=86400)] = 60
    disk_headroom_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    dataset_max_images: Annotated[int, Field(gt=0)] = 2_000_000
    dataset_max_bytes: Annotated[int, Field(gt=0)] = 200 * 2**30
    image_max_pixels: Annotated[int, Field(gt=0)] = 50_000_000

    webhook_private_networks: str = Field(
        default="", description="Comma list of networks that webhooks may reach though they are not public."
    )

    devices: str = Field(default="auto", description="Comma list: cpu, cuda:0, …; auto: every GPU, else cpu.")
    standby_trainers: bool = Field(
        default=True, description="Keep a trainer with torch loaded for each free device: some 470 MiB each."
    )
    lease_seconds: Annotated[float, Field(gt=0)] = 30.0
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 1.0
    stop_grace_seconds: Annotated[float, Field(gt=0)] = 3.5
    shutdown_grace_seconds: Annotated[float, Field(gt=0)] = 30.0
    sweep_seconds: Annotated[float, Field(gt=0)] = 5.0
    cache_max_bytes: Annotated[int, Field(gt=0)] = 20 * 2**30
    intake_max_seconds: Annotated[float, Field(gt=0)] = 6 * 3600.0
    intake_max_memory_bytes: Annotated[int, Field(gt=0)] = 4 * 2**30

    @field_validator("database_url", "redis_url")
    @classmethod
    def _filled_in(cls, url: SecretStr) -> SecretStr:
        # Everybody knows the placeholder of .env.example; it must not become the password of a running service.
        if "replace-me" in url.get_secret_value():
            raise ValueError(
                "still holds the placeholder of .env.example: put in a secret made with openssl rand -hex 32"
            )
        return url

    @property
    def storage(self) -> str:
        """The object store's URL, with the default filled in."""
        return self.storage_url or (self.home.resolve() / "objects").as_uri()


@lru_cache
def get_settings() -> Settings:
    """The process's settings; raises `pydantic.ValidationError` naming each missing variable."""
    return Settings()
