"""Checkpoints from elsewhere are matched strictly, and nothing in them ever runs."""

from __future__ import annotations

import builtins
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from masktune_core.checkpoint import read_foreign_checkpoint
from masktune_core.errors import ArchitectureError, CheckpointError
from masktune_core.models import build_model

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(0)
    return dict(build_model("small_cnn", 2).state_dict())


def read(path: Path) -> State:
    return read_foreign_checkpoint(path, architecture="small_cnn", num_classes=2)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


SHAPES: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "ordered": OrderedDict,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "model": lambda state: {"model": state, "args": ["--lr", "0.1"]},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.5},
    "nested": lambda state: {"model": {"state_dict": state}},
    "data parallel": lambda state: {"state_dict": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled data parallel": lambda state: prefixed(state, "_orig_mod.module."),
    "lightning": lambda state: {
        "epoch": 9,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": prefixed(state, "model."),
        "hyper_parameters": {"lr": 0.1},
    },
    "half precision": lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("legacy", [False, True])
def test_the_usual_ways_to_save_a_model_are_understood(tmp_path: Path, state: State, shape: str, legacy: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save(SHAPES[shape](state), path, _use_new_zipfile_serialization=not legacy)
    found = read(path)
    assert found.keys() == state.keys()
    tolerance = 1e-3 if shape == "half precision" else 0.0
    for name, tensor in found.items():
        assert tensor.dtype == state[name].dtype
        torch.testing.assert_close(tensor, state[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_understood_whatever_the_file_is_called(tmp_path: Path, state: State, prefix: str) -> None:
    path = tmp_path / "model.pth"
    save_file(prefixed(state, prefix), path)
    assert all(torch.equal(tensor, state[name]) for name, tensor in read(path).items())


def test_every_wrong_key_is_reported(tmp_path: Path, state: State) -> None:
    path = tmp_path / "model.pt"
    wrong = dict(state)
    wrong["backbone.00.weight"] = wrong.pop("backbone.0.weight")
    wrong["linear.3.weight"] = torch.zeros(1000, 256)
    torch.save(wrong, path)
    with pytest.raises(CheckpointError) as refusal:
        read(path)
    assert refusal.value.missing == ("backbone.0.weight",)
    assert refusal.value.unexpected == ("backbone.00.weight",)
    assert refusal.value.misshapen == ("linear.3.weight",)
    for part in ("model.pt does not fit small_cnn with 2 classes", "linear.3.weight (1000, 256) instead of (2, 256)"):
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    "content", [{"a\0\ud800": torch.zeros(1)}, {"a\0\ud800": 1}, {("a\0\ud800" * 1000,): torch.zeros(1)}]
)
def test_a_message_can_be_shown_whatever_the_keys_are(tmp_path: Path, content: object) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path, pickle_protocol=2)
    with pytest.raises(CheckpointError) as refusal:
        read(path)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 1000


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path, state: State) -> None:
    path = tmp_path / "model.pt"
    torch.save(state, path)
    with pytest.raises(CheckpointError) as refusal:
        read_foreign_checkpoint(path, architecture="resnet18", num_classes=2)
    assert len(refusal.value.missing) == 122
    assert len(refusal.value.unexpected) == len(state)
    with pytest.raises(ArchitectureError, match="resnet19"):
        read_foreign_checkpoint(path, architecture="resnet19", num_classes=2)


def spoiled(state: State, tensor: Tensor) -> State:
    return {**state, "linear.0.weight": tensor}


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.full((256, 512), float("nan")), "not finite"),
        (torch.zeros(256, 512).to_sparse(), "not a plain tensor"),
        (torch.zeros(256, 512, dtype=torch.complex64), "not a plain tensor"),
        (torch.zeros(256, 512, dtype=torch.int64), "type torch.int64"),
        (torch.zeros(1).expand(10**6, 10**6), "of another shape"),
    ],
)
def test_values_that_cannot_be_weights_are_refused(tmp_path: Path, state: State, tensor: Tensor, message: str) -> None:
    path = tmp_path / "model.pt"
    torch.save(spoiled(state, tensor), path)
    with pytest.raises(CheckpointError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list"),
        ({}, "holds dict"),
        ({"epoch": 3}, "not tensors"),
        ({"state_dict": {"a": 1}}, "not tensors"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", bytes(9), b"\x80\x02.", b"PK\x05\x06" + bytes(18), b"GIF89a" * 50, bytes(range(256))]
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.pt"):
        read(path)


@pytest.mark.parametrize("kind", ["zip", "safetensors"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, state: State, kind: str) -> None:
    path = tmp_path / "model"
    if kind == "zip":
        torch.save(state, path)
    else:
        save_file(state, path)
    whole = path.read_bytes()
    for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError):
            read(path)


def test_a_compressed_file_cannot_fill_the_memory(tmp_path: Path, state: State) -> None:
    plain, path = tmp_path / "plain.pt", tmp_path / "bomb.pt"
    torch.save(state, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in source.infolist():
            bomb.writestr(entry.filename, source.read(entry) if "data/0" not in entry.filename else bytes(10**7))
    with pytest.raises(CheckpointError, match="compressed zip"):
        read(path)


def test_a_whole_pickled_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(build_model("small_cnn", 2), path)
    with pytest.raises(CheckpointError, match=r"without running code.*save model.state_dict\(\)"):
        read(path)


class Calling:
    """Unpickles to a call: what an attacker would write."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


class Building(Calling):
    """Runs its call while its state is set."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), {"canary": Calling(self.function, *self.arguments)}


def payloads(canary: Path) -> dict[str, object]:
    touch = f"touch {canary}"
    write = f"import pathlib; pathlib.Path({str(canary)!r}).touch()"
    return {
        "os.system": Calling(os.system, touch),
        "eval": Calling(builtins.eval, f"__import__('os').system({touch!r})"),
        "exec": Calling(builtins.exec, write),
        "open": Calling(open, str(canary), "w"),
        "nested in the state": {"state_dict": {"a": torch.zeros(1), "b": Calling(os.system, touch)}},
        "in a key": {Calling(os.system, touch): 1},
        "in an attribute": Building(os.system, touch),
        "subprocess": Calling(subprocess.check_output, ["touch", str(canary)]),
        "via torch": Calling(torch.hub.load, "owner/repo", "model"),
        "via torch.load": Calling(torch.load, str(canary)),
        "via pickle": Calling(pickle.loads, pickle.dumps(Calling(os.system, touch))),
    }


PAYLOADS = tuple(payloads(Path("canary")))


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("container", ["torch zip", "torch legacy", "pickle 0", "pickle 4"])
def test_a_malicious_pickle_is_refused_and_never_runs(tmp_path: Path, name: str, container: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.pt"
    payload = payloads(canary)[name]
    if container.startswith("torch"):
        torch.save(payload, path, _use_new_zipfile_serialization=container == "torch zip")
    else:
        path.write_bytes(pickle.dumps(payload, protocol=int(container[-1])))
    with pytest.raises(CheckpointError, match=r"model.pt is neither safetensors nor"):
        read(path)
    assert not canary.exists()


def test_the_payloads_do_run_when_unpickled_carelessly(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(payloads(canary)["os.system"]))
    assert canary.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cos\nsystem\n(Vtouch CANARY\ntR.",
        b"(S'touch CANARY'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch CANARY'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch CANARY\x85R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.",
        b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
    ],
)
def test_handwritten_pickle_programs_are_refused(
    tmp_path: Path, opcodes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "raw.pt", tmp_path / "zipped.pt"):
        if path.name == "raw.pt":
            path.write_bytes(opcodes)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", opcodes)
                archive.writestr("archive/version", "3\n")
        with pytest.raises(CheckpointError):
            read(path)
    assert not (tmp_path / "CANARY").exists()


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
        archive.writestr("archive/code/__torch__.py", "op_version_set = 1")
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/version", "3\n")
    with pytest.raises(CheckpointError, match=r"model.pt"):
        read(path)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory: you tried to allocate 9 bytes")])
@pytest.mark.parametrize(("place", "name"), [(torch, "load"), (Tensor, "isfinite")])
def test_want_of_memory_is_not_the_files_fault(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch, error: Exception, place: object, name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    torch.save(state, tmp_path / "good.pt")
    monkeypatch.setattr(place, name, fail)
    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(MemoryError):
        read_foreign_checkpoint(tmp_path / "good.pt", architecture="small_cnn", num_classes=2)


def test_messages_speak_of_the_file_by_the_name_that_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"^mine\.pt is neither"):
        read_foreign_checkpoint(tmp_path / "upload", architecture="small_cnn", num_classes=2, name="mine.pt")
