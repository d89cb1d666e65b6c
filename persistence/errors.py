"""What can go wrong in persistence.

PersistenceError
├── NotFound                 no such row for this tenant
├── Conflict                 the request does not fit the row's state; has a stable `code`
│   ├── IllegalTransition    the job state machine has no such step
│   ├── IdempotencyMismatch  the key was used for another request
│   ├── OffsetMismatch       an upload goes on from another byte
│   └── UploadSuperseded     another request goes on with the upload
├── QuotaExceeded            the tenant has as much as it may have
├── UploadExpired            an unfinished upload whose time has passed
├── UploadFailed             an upload whose bytes were all sent, and turned out not to be the announced ones
├── LeaseLost                another attempt owns the row now: stop, write nothing more
└── StoreError               the object store
    ├── ObjectMissing        no bytes under this hash
    ├── ObjectCorrupt        the bytes no longer have this hash
    ├── OutOfDisk            writing would leave too little free space
    ├── IncomingBusy         another request is adding to the same upload
    ├── IncomingLost         the bytes of an unfinished upload are no longer there
    └── StoreUnavailable     the store does not answer; the same call may succeed later
"""

from __future__ import annotations

import uuid
from typing import ClassVar, Final

_QUOTAS: Final = {
    "bytes": ("bytes", "delete uploads, data sets, checkpoints or jobs"),
    "datasets": ("data sets", "delete one"),
    "jobs": ("unfinished jobs", "wait until one has ended, or cancel one"),
}


class PersistenceError(Exception):
    """Root of the tree. `code` is stable, for machines."""

    code: str = "persistence_error"


class NotFound(PersistenceError):
    """`kind` is the noun (`job`, `dataset`, …). A row of another tenant is not found either."""

    def __init__(self, kind: str, ident: uuid.UUID | str | int) -> None:
        self.kind, self.id = kind, ident
        self.code = f"{kind}_not_found"
        super().__init__(f"no {kind} {ident}")


class Conflict(PersistenceError):
    """The message says what is in the way and what to do."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class IllegalTransition(Conflict):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new
        super().__init__("illegal_transition", f"a job cannot go from {old} to {new}")


class IdempotencyMismatch(Conflict):
    def __init__(self, key: str) -> None:
        super().__init__(
            "idempotency_key_reused",
            f"Idempotency-Key {key!r} was used for a different request: send the same body, or a new key",
        )


class OffsetMismatch(Conflict):
    """`offset` is where the upload goes on."""

    def __init__(self, upload_id: uuid.UUID, offset: int, given: int) -> None:
        self.offset = offset
        super().__init__("offset_mismatch", f"upload {upload_id} goes on at byte {offset}, not at {given}")


class UploadSuperseded(Conflict):
    def __init__(self, upload_id: uuid.UUID) -> None:
        super().__init__(
            "upload_superseded", f"another request goes on with upload {upload_id}, or has ended it: ask for its state"
        )


class QuotaExceeded(PersistenceError):
    """`kind` is bytes, datasets or jobs; `more` on top of `used` would exceed `limit`."""

    code = "quota_exceeded"

    def __init__(self, kind: str, limit: int, used: int, more: int) -> None:
        self.kind, self.limit, self.used, self.more = kind, limit, used, more
        noun, way_out = _QUOTAS[kind]
        super().__init__(
            f"the tenant has {used} {noun} of the {limit} it may have, and {more} more would be too many: {way_out}"
        )


class UploadExpired(PersistenceError):
    code = "upload_expired"

    def __init__(self, upload_id: uuid.UUID) -> None:
        self.id = upload_id
        super().__init__(f"upload {upload_id} has expired: begin a new one")


class UploadFailed(PersistenceError):
    """`reason` is the code of what was wrong."""

    code = "upload_failed"

    def __init__(self, upload_id: uuid.UUID, reason: str, message: str) -> None:
        self.id, self.reason = upload_id, reason
        super().__init__(f"upload {upload_id} failed, and its bytes are deleted ({message}): begin a new one")


class LeaseLost(PersistenceError):
    code = "lease_lost"

    def __init__(self, kind: str, ident: uuid.UUID) -> None:
        self.kind, self.id = kind, ident
        super().__init__(f"the lease on {kind} {ident} is no longer ours")


class StoreError(PersistenceError):
    code: str = "store_error"
    retryable: ClassVar[bool] = False


class ObjectMissing(StoreError):
    code = "object_missing"

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256
        super().__init__(f"object {sha256} is not in the store")


class ObjectCorrupt(StoreError):
    code = "object_corrupt"

    def __init__(self, sha256: str, found: str) -> None:
        self.sha256 = sha256
        super().__init__(f"object {sha256} is damaged: {found}")


class OutOfDisk(StoreError):
    """`needed` is the free space that must remain, `free` what there is; bytes."""

    code = "out_of_disk"

    def __init__(self, needed: int, free: int) -> None:
        self.needed, self.free = needed, free
        super().__init__(
            f"only {free >> 20} MiB of disk are free and {needed >> 20} MiB must stay free: "
            "delete data sets or jobs, or give the store a larger disk"
        )


class IncomingBusy(StoreError):
    code = "upload_locked"
    retryable = True

    def __init__(self, upload_id: uuid.UUID) -> None:
        self.id = upload_id
        super().__init__(f"another request is adding to upload {upload_id}: wait for its end, then ask for the offset")


class IncomingLost(StoreError):
    """`everywhere`: no machine has the bytes any more, so the upload cannot go on."""

    code = "upload_expired"

    def __init__(self, upload_id: uuid.UUID, *, everywhere: bool = False) -> None:
        self.id, self.everywhere = upload_id, everywhere
        where = "are gone" if everywhere else "are not in the store's folder as this machine sees it"
        super().__init__(f"the received bytes of upload {upload_id} {where}: begin a new upload")


class StoreUnavailable(StoreError):
    code = "store_unavailable"
    retryable = True
