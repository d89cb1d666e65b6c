"""Presets and the configuration's schema over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Security

from api.auth import authenticate
from api.errors import ApiError
from api.presets.schemas import PresetList, PresetRead
from api.problems import responses
from masktune_core.config import PRESETS, JobConfig

PresetName = Annotated[str, Path(description="Name of a preset.", examples=["biased_mnist"])]

router = APIRouter(prefix="/v1", tags=["configuration"], dependencies=[Security(authenticate, scopes=["read"])])


@router.get("/presets", summary="List presets", responses=responses())
def list_presets() -> PresetList:
    """Configurations of the paper's experiments, to start from."""
    return PresetList(data=[PresetRead(name=name, config=config) for name, config in PRESETS.items()])


@router.get("/presets/{preset_name}", summary="Get a preset", responses=responses("preset_not_found"))
def get_preset(preset_name: PresetName) -> PresetRead:
    """One preset, resolved."""
    if preset_name not in PRESETS:
        raise ApiError("preset_not_found", f"No preset {preset_name[:100]!r}: use one of {', '.join(PRESETS)}.")
    return PresetRead(name=preset_name, config=PRESETS[preset_name])


@router.get(
    "/config-schema",
    summary="Get the configuration's schema",
    responses={
        200: {
            "description": "JSON Schema (draft 2020-12) of a complete configuration.",
            "content": {"application/json": {"example": {"title": "JobConfig", "type": "object", "properties": {}}}},
        },
        **responses(),
    },
)
def get_config_schema() -> dict[str, Any]:
    """Every field of a job's `config`, with its description, unit, bounds and default."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **JobConfig.model_json_schema()}
