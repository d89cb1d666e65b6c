"""The API over real services: in-process for answers, on a socket for everything that streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api.main import create_app
from persistence import api_keys, tenants
from persistence.database import transaction
from persistence.scopes import Scope
from persistence.settings import Settings
from persistence.store import ObjectStore
from tests.api.seeds import Seeds


@pytest.fixture
def make_key(sessions: sessionmaker[Session]) -> Callable[..., str]:
    """The secret of a fresh key of the named tenant, with scope `write` unless another is asked for."""

    def make(tenant: str, *, scope: Scope = "write") -> str:
        with transaction(sessions) as session:
            _, secret = api_keys.create(session, tenants.get_or_create(session, tenant).id, "test", scope=scope)
        return secret

    return make


@pytest.fixture
def key(make_key: Callable[..., str]) -> str:
    return make_key("acme")


@pytest.fixture
def seeds(sessions: sessionmaker[Session], store: ObjectStore, key: str) -> Seeds:
    """Rows of tenant acme, made through persistence as a worker would."""
    with transaction(sessions) as session:
        tenant_id = tenants.get_or_create(session, "acme").id
    return Seeds(sessions, store, tenant_id)


@pytest.fixture
def anonymous(settings: Settings) -> Iterator[TestClient]:
    """A client without a key."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(anonymous: TestClient, key: str) -> TestClient:
    """A client with a key of tenant acme."""
    anonymous.headers["Authorization"] = f"Bearer {key}"
    return anonymous


@pytest.fixture
def stranger(anonymous: TestClient, make_key: Callable[..., str]) -> dict[str, str]:
    """Headers of a key of another tenant."""
    return {"Authorization": f"Bearer {make_key('other')}"}


@contextmanager
def serving(settings: Settings, **options: Any) -> Iterator[tuple[str, uvicorn.Server]]:
    """A real server on a free port; `options` are uvicorn's."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, loop="uvloop", http="httptools", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", server
    finally:
        # In a thread there is no signal, which would do this.
        app.state.services.hub.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def live(settings: Settings, key: str) -> Iterator[httpx.Client]:
    """A client of a real server, with a key of tenant acme."""
    with serving(settings) as (url, _):
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=20) as client:
            yield client
