"""What every task of a worker process needs, made once at its start."""

from __future__ import annotations

import socket
import sys
import threading
from dataclasses import dataclass, field
from os import getpid

from sqlalchemy.orm import Session, sessionmaker

from persistence.database import make_engine, session_factory
from persistence.dispatch import Dispatcher
from persistence.settings import Settings
from persistence.store import ObjectStore, store_of
from worker.cache import Cache
from worker.devices import DevicePool, find_devices
from worker.standby import Standby
from worker.workdirs import WorkDirs

TRAINER = (sys.executable, "-m", "worker.trainer")
INTAKE = (sys.executable, "-m", "worker.intake")


@dataclass(frozen=True, slots=True)
class Context:
    """Connections and local folders, and the children's command lines. `stopping` is set when the worker shuts down."""

    settings: Settings
    sessions: sessionmaker[Session]
    store: ObjectStore
    dispatcher: Dispatcher
    work: WorkDirs
    cache: Cache
    devices: DevicePool
    trainers: Standby
    intake: tuple[str, ...] = INTAKE
    stopping: threading.Event = field(default_factory=threading.Event)

    def worker_name(self, device: str) -> str:
        """Who holds a lease, for people: host, process, device."""
        return f"{socket.gethostname()}:{getpid()}:{device}"


def make_context(settings: Settings) -> Context:
    """Open everything that `settings` name; connections are made on first use."""
    settings.home.mkdir(parents=True, exist_ok=True)
    devices = find_devices(settings.devices)
    return Context(
        settings=settings,
        sessions=session_factory(make_engine(settings.database_url.get_secret_value())),
        store=store_of(settings),
        dispatcher=Dispatcher(settings),
        work=WorkDirs(settings.home),
        cache=Cache(settings.home, settings.cache_max_bytes),
        devices=DevicePool(devices),
        trainers=Standby(TRAINER, devices if settings.standby_trainers else ()),
    )
