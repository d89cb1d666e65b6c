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
    made = create_key(env, tenant=TENANT, name=NAME, scope="admin")
    write_private(home.key, made)
    return str(made["api_key"])


def create_key(
    env: Mapping[str, str], *, tenant: str, name: str, scope: str = "write", days: int | None = None
) -> dict[str, Any]:
    """Make a key in the database of `env`; the answer holds it under `api_key`, this one time."""
    ends = () if days is None else ("--days", str(days))
    return shown_once(admin(env, "create-key", "--tenant", tenant, "--name", name, "--scope", scope, *ends))


def rotate_key(env: Mapping[str, str], key_id: str, *, grace_hours: int) -> dict[str, Any]:
    """Make a key's successor; the answer holds it under `api_key`, this one time."""
    return shown_once(admin(env, "rotate-key", key_id, "--grace-hours", str(grace_hours)))


def shown_once(made: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a command that made a key, with the secret first. Raises `ServicesError` without one."""
    secret = next((made[field] for field in ("api_key", "key", "secret") if made.get(field)), None)
    if secret is None:
        raise ServicesError("python -m api.admin returned no key")
    return {"api_key": secret, **{name: value for name, value in made.items() if value != secret}}


def login_address(env: Mapping[str, str], url: str, *, tenant: str = TENANT) -> str:
    """An address below `url` that logs one browser in, once, within 15 minutes."""
    return url + str(admin(env, "login-link", "--tenant", tenant)["path"])


def admin(env: Mapping[str, str], *arguments: str) -> Any:
    """Run one of the API's administration commands and return its JSON answer."""
    printed = run_module(["api.admin", *arguments, "--json"], env).strip()
    return json.loads(printed.splitlines()[-1]) if printed else None
