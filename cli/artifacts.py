"""Files that a job made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.client import Client
from cli.errors import CliError, UsageError
from cli.output import Output
from cli.transfer import transfer_bar


def list_artifacts(client: Client, job_id: str) -> dict[str, dict[str, Any]]:
    """By name."""
    return {artifact["name"]: artifact for artifact in client.rows(f"/v1/jobs/{job_id}/artifacts")}


def named_artifact(artifacts: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The artifact of that name; raises `UsageError` with the names that there are."""
    if name not in artifacts:
        raise UsageError(f"the job has no artifact {name!r}, only: {', '.join(artifacts) or 'none yet'}")
    return artifacts[name]


def download_artifact(client: Client, job_id: str, artifact: dict[str, Any], folder: Path, output: Output) -> Path:
    """Fetch one artifact into `folder`, verified against the SHA-256 that the service announced; returns its path."""
    name = str(artifact["name"])
    if Path(name).name != name:
        raise CliError(f"the service names an artifact {name!r}, which is not a plain file name")
    destination = folder / name
    with transfer_bar(output.human, name) as advance:
        path = f"/v1/jobs/{job_id}/artifacts/{name}"
        client.download(path, destination, sha256=artifact["sha256"], advance=advance)
    return destination
