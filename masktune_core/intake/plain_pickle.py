"""Pickles of plain values and arrays of bytes, read so that nothing in them is ever called.

Not even NumPy's own functions for unpickling: with made-up arguments those can be led to use bytes of the file as
addresses. The stream names them all the same, and stand-ins take their place that only note what they are given.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MULTIARRAY: Final = ("numpy.core.multiarray", "numpy._core.multiarray")
_BYTES: Final = ("u1", "|u1", b"u1", b"|u1")


class ByteArray:
    """An array as the pickle describes it: `values` is None until it was told to hold bytes."""

    def __init__(self) -> None:
        self.values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise pickle.UnpicklingError("it describes an array in another way than NumPy does")
        _, shape, kind, by_columns, content = state
        if not (isinstance(kind, _Kind) and kind.name in _BYTES and isinstance(content, bytes)):
            raise pickle.UnpicklingError("it holds an array of something else than bytes")
        if not (isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)):
            raise pickle.UnpicklingError("it holds an array of no shape")
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


class _Kind:
    """Stands for `numpy.dtype`."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = name if isinstance(name, str | bytes) else ""

    def __setstate__(self, state: object) -> None:
        """Byte order and flags, which bytes do not have."""


class _Reader(pickle.Unpickler):
    """Knows the names that an array needs, by their stand-ins; any other name is refused.

    Stand-ins are made anew each time they are named: a stream may set attributes of what it is given.
    """

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in _MULTIARRAY:
            return lambda *_: ByteArray()
        if (module, name) == ("_codecs", "encode"):
            return _bytes_of_text()
        if (module, name) == ("numpy", "ndarray"):
            return object()  # only ever handed to `_reconstruct`
        if (module, name) == ("numpy", "dtype"):
            return _Kind
        raise pickle.UnpicklingError(f"it names {module}.{name}, which arrays of bytes do not need")


def _bytes_of_text() -> Callable[[object, object], bytes]:
    """How Python 3 writes bytes for Python 2."""

    def encode(text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError(f"it encodes text as {encoding!r:.50}, which bytes do not need")
        return text.encode("latin1")

    return encode


def read_plain_pickle(content: bytes) -> Any:
    """What a pickle of numbers, text, lists, dicts and arrays of bytes holds; arrays come as `ByteArray`, and text of
    Python 2 as bytes.

    Raises `pickle.UnpicklingError` for one that names anything else; broken ones raise all kinds of exceptions.
    """
    return _Reader(io.BytesIO(content), encoding="bytes").load()
