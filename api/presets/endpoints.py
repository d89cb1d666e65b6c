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
    return PresetList(data=[_shown(name) for name in PRESETS])


@router.get("/presets/{preset_name}", summary="Get a preset", responses=responses("preset_not_found"))
def get_preset(preset_name: PresetName) -> PresetRead:
    """One preset, resolved."""
    if preset_name not in PRESETS:
        raise ApiError("preset_not_found", f"No preset {preset_name[:100]!r}: use one of {', '.join(PRESETS)}.")
    return _shown(preset_name)


def _shown(name: str) -> PresetRead:
    config = PRESETS[name]
    return PresetRead(name=name, config=config, pretrained_weights=config.model.weights)


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
