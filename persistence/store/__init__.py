"""The object store: immutable bytes, named by their SHA-256, on a disk or in an S3 bucket."""

from persistence.store.open import open_store, store_of
from persistence.store.protocol import ObjectInfo, ObjectStore, ObjectWriter, Stored

__all__ = ["ObjectInfo", "ObjectStore", "ObjectWriter", "Stored", "open_store", "store_of"]
