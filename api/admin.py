"""Keys, logins and limits on the command line.

`python -m api.admin create-key | list-keys | rotate-key | revoke-key | login-link | set-quota | list-tenants`

Works on the database of `MASKTUNE_DATABASE_URL`; whoever can reach it may make keys.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from persistence import api_keys, login_links, quotas, tenants, turns
from persistence.database import make_engine, session_factory, transaction
from persistence.errors import Conflict, NotFound
from persistence.scopes import SCOPES
from persistence.settings import get_settings
from persistence.tables import ApiKey, Tenant


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    chosen = _parser().parse_args(arguments)
    engine = make_engine(get_settings().database_url.get_secret_value())
    try:
        with transaction(session_factory(engine)) as session:
            answer = _COMMANDS[chosen.command](session, chosen)
    except (NotFound, Conflict) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        engine.dispose()
    # Only now, after the commit: a secret that was printed must work.
    sys.stdout.write(json.dumps(answer) + "\n" if chosen.json else _plain(answer))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.admin", description="Manage API keys and logins.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create-key", help="make a key; its secret is shown this one time")
    create.add_argument("--tenant", required=True, type=_name, help="whose things the key may see; made if new")
    create.add_argument("--name", required=True, type=_name, help="what the key is for")
    create.add_argument("--scope", choices=SCOPES, default="write", help="admin may also manage keys; default: write")
    create.add_argument("--days", type=_days, help="refuse the key after so many days; default: never")
    listing = commands.add_parser("list-keys", help="show all keys, without their secrets")
    listing.add_argument("--tenant", type=_name, help="only this tenant's")
    rotate = commands.add_parser("rotate-key", help="make a successor; the old key works a while longer")
    rotate.add_argument("id", type=UUID, help="the old key's id")
    rotate.add_argument("--grace-hours", type=_hours, default=24, help="how long the old key still works; default: 24")
    revoke = commands.add_parser("revoke-key", help="refuse a key from now on")
    revoke.add_argument("id", type=UUID, help="the key's id")
    link = commands.add_parser("login-link", help="make an address that logs one browser in, once, within 15 minutes")
    link.add_argument("--tenant", required=True, type=_name, help="whose things the browser may see; made if new")
    quota = commands.add_parser("set-quota", help="limit a tenant; what is left out becomes the settings' limit")
    quota.add_argument("--tenant", required=True, type=_name, help="made if new")
    quota.add_argument("--bytes", type=_bytes, help="bytes that it may keep")
    quota.add_argument("--datasets", type=_count, help="data sets that it may have")
    quota.add_argument("--jobs", type=_count, help="jobs that may be unfinished: queued, running or paused")
    quota.add_argument("--running", type=_count, help="jobs that may run at the same time; 0: any number")
    listed = commands.add_parser("list-tenants", help="show every tenant, its limits and what it uses of them")
    for command in (quota, listed, create, listing, rotate, revoke, link):
        command.add_argument("--json", action="store_true", help="print one line of JSON")
    return parser


def _name(text: str) -> str:
    if not 1 <= len(text) <= 100 or not text.isprintable():
        raise argparse.ArgumentTypeError("use 1 to 100 printable characters")
    return text


def _count(text: str, below: int = 2**31) -> int:
    if not text.isdecimal() or int(text) >= below:
        raise argparse.ArgumentTypeError(f"use a whole number from 0 to {below - 1}")
    return int(text)


def _bytes(text: str) -> int:
    return _count(text, below=2**63)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= api_keys.LONGEST_LIFE.days:
        raise argparse.ArgumentTypeError(f"use a whole number of days from 1 to {api_keys.LONGEST_LIFE.days}")
    return int(text)


def _hours(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 720:
        raise argparse.ArgumentTypeError("use a whole number of hours from 0 to 720")
    return int(text)


def _create(session: Session, chosen: argparse.Namespace) -> dict[str, Any]:
    tenant = tenants.get_or_create(session, chosen.tenant)
    expires_at = datetime.now(UTC) + timedelta(days=chosen.days) if chosen.days else None
    key, secret = api_keys.create(session, tenant.id, chosen.name, scope=chosen.scope, expires_at=expires_at)
    return {**_shown(key, tenant.name), "key": secret}


def _rotate(session: Session, chosen: argparse.Namespace) -> dict[str, Any]:
    key, secret = api_keys.rotate(session, chosen.id, timedelta(hours=chosen.grace_hours))
    return {**_shown(key, _tenant_name(session, key)), "key": secret}


def _list(session: Session, chosen: argparse.Namespace) -> dict[str, Any]:
    keys = api_keys.list_keys(session)
    shown = [_shown(key, _tenant_name(session, key)) for key in keys]
    return {"data": [key for key in shown if chosen.tenant in (None, key["tenant"])]}


def _revoke(session: Session, chosen: argparse.Namespace) -> dict[str, Any]:
    key = api_keys.revoke(session, chosen.id)
    return _shown(key, _tenant_name(session, key))


def _login_link(session: Session, chosen: argparse.Namespace) -> dict[str, Any]:
    link, token = login_links.create(session, tenants.get_or_create(session, chosen.tenant).id)
    return {"path": f"/login/link?token={token}", "tenant": chosen.tenant, "expires_at": link.expires_at.isoformat()}


def _set_quota(session: Session, chosen: argparse.Namespace) -> dict[str, Any]:
    tenant = tenants.get_or_create(session, chosen.tenant)
    tenant.quota_bytes, tenant.quota_datasets = chosen.bytes, chosen.datasets
    tenant.quota_jobs, tenant.quota_running = chosen.jobs, chosen.running
    session.flush()
    return {"tenant": tenant.name, **{kind: getattr(chosen, kind) for kind in ("bytes", "datasets", "jobs", "running")}}


def _list_tenants(session: Session, _chosen: argparse.Namespace) -> dict[str, Any]:
    settings = get_settings()
    shown = []
    for tenant in session.scalars(select(Tenant).order_by(Tenant.name)):
        limits: dict[str, Any] = {
            kind: asdict(quota) for kind, quota in quotas.show(session, settings, tenant.id).items()
        }
        limit = turns.limit_of(tenant, settings.tenant_max_running) or None
        running = {"limit": limit, "used": turns.under_way(session, tenant.id)}
        shown.append({"tenant": tenant.name, **limits, "running": running})
    return {"data": shown}


_COMMANDS = {
    "list-tenants": _list_tenants,
    "set-quota": _set_quota,
    "create-key": _create,
    "list-keys": _list,
    "rotate-key": _rotate,
    "revoke-key": _revoke,
    "login-link": _login_link,
}


def _tenant_name(session: Session, key: ApiKey) -> str:
    return session.get_one(Tenant, key.tenant_id).name


def _shown(key: ApiKey, tenant: str) -> dict[str, Any]:
    moments = {
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
    return {
        "id": str(key.id),
        "tenant": tenant,
        "name": key.name,
        "prefix": key.prefix,
        "scope": key.scope,
        **{name: moment and moment.isoformat() for name, moment in moments.items()},
    }


def _plain(answer: dict[str, Any]) -> str:
    """A key or link a block, a field a line."""
    keys = answer.get("data", [answer])
    blocks = ["".join(f"{name:<13}{value}\n" for name, value in key.items() if value is not None) for key in keys]
    return "\n".join(blocks)


if __name__ == "__main__":
    sys.exit(main())
