"""The data folder: everything that runs locally lives in it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cli.errors import UsageError

HOME_VARIABLE = "MASKTUNE_HOME"


@dataclass(frozen=True, slots=True)
class RunningServices:
    """What `services.json` says of the services over a data folder, while they run."""

    url: str
    pid: int
    database_url: str
    command: str
    """What runs them: `up`, which others may use, or `demo`, which stops them when it is done."""
    pids: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Home:
    """Paths inside one data folder."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "services.lock"

    @property
    def services(self) -> Path:
        return self.path / "services.json"

    @property
    def key(self) -> Path:
        return self.path / "demo-key.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def demo(self) -> Path:
        return self.path / "demo"

    def read_services(self) -> RunningServices | None:
        """None when the file is missing, half-written or of another version."""
        try:
            return RunningServices(**json.loads(self.services.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write_services(self, services: RunningServices) -> None:
        write_private(self.services, asdict(services))

    def read_key(self) -> str | None:
        """The API key that `up` or `demo` made for this data folder."""
        try:
            value = json.loads(self.key.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return value.get("api_key") if isinstance(value, dict) else None


def resolve_home(path: Path | None = None) -> Home:
    """The given folder, else MASKTUNE_HOME, else `.masktune` in the current folder."""
    chosen = path or Path(os.environ.get(HOME_VARIABLE) or ".masktune")
    chosen = chosen.expanduser().resolve()
    if chosen.exists() and not chosen.is_dir():
        raise UsageError(f"the data folder {chosen} is a file; set {HOME_VARIABLE} to a folder")
    return Home(chosen)


def write_private(path: Path, value: Any) -> None:
    """Replace a JSON file in one step, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f"{path.name}.{os.getpid()}.new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    staged.replace(path)
