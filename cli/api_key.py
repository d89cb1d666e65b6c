"""The API key of a data folder: made once, kept in `demo-key.json`, made again when the database does not know it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cli.database import run_module
from cli.errors import ServicesError
from cli.home import Home, write_private

TENANT = "local"
NAME = "this data folder"


def ensure_key(home: Home, env: Mapping[str, str], accepted: Callable[[str], bool]) -> str:
    """The data folder's key. `accepted` waits for the API and asks whether it knows a key."""
    # A key that does not exist yet is made while the API still starts.
    key = home.read_key() or _renew(home, env)
    return key if accepted(key) else _renew(home, env)


def _renew(home: Home, env: Mapping[str, str]) -> str:
    made = create_key(env, tenant=TENANT, name=NAME)
    write_private(home.key, made)
    return str(made["api_key"])


def create_key(env: Mapping[str, str], *, tenant: str, name: str) -> dict[str, Any]:
    """Make a key in the database of `env`; the answer holds it under `api_key`, this one time."""
    made = admin(env, "create-key", "--tenant", tenant, "--name", name)
    secret = next((made[field] for field in ("api_key", "key", "secret") if made.get(field)), None)
    if secret is None:
        raise ServicesError("python -m api.admin create-key returned no key")
    return {"api_key": secret, **{name: value for name, value in made.items() if value != secret}}


def admin(env: Mapping[str, str], *arguments: str) -> Any:
    """Run one of the API's administration commands and return its JSON answer."""
    printed = run_module(["api.admin", *arguments, "--json"], env).strip()
    return json.loads(printed.splitlines()[-1]) if printed else None
