"""Our checkpoints: the same bytes for the same job, and everything needed to use them inside."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from masktune_core.checkpoint import load_checkpoint, restore_model, save_checkpoint, stated_classes
from masktune_core.config import PRESETS, JobConfig, ModelConfig
from masktune_core.errors import CheckpointError
from masktune_core.models import build_model

CONFIG = PRESETS["biased_mnist"]
SHA256 = hashlib.sha256(b"a data set").hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "masktune.safetensors"
    state = build_model("small_cnn", 2).state_dict()
    save_checkpoint(path, state, config=CONFIG, classes=["0–4", "5–9"], dataset_sha256=SHA256, role="masktune")
    return path


def test_everything_comes_back(path: Path) -> None:
    loaded = load_checkpoint(path)
    assert (loaded.architecture, loaded.classes, loaded.role) == ("small_cnn", ("0–4", "5–9"), "masktune")
    assert loaded.config == CONFIG
    assert loaded.dataset_sha256 == SHA256
    torch.manual_seed(0)
    expected = build_model("small_cnn", 2).state_dict()
    assert loaded.state.keys() == expected.keys()
    assert all(torch.equal(loaded.state[name], expected[name]) for name in expected)


def test_equal_arguments_give_equal_bytes_in_every_process(path: Path) -> None:
    code = """
import sys; from pathlib import Path; from masktune_core.checkpoint import load_checkpoint, save_checkpoint
old = load_checkpoint(Path(sys.argv[1]))
state = dict(reversed(old.state.items()))
save_checkpoint(Path(sys.argv[2]), state, config=old.config, classes=old.classes,
                dataset_sha256=old.dataset_sha256, role=old.role)
"""
    again = path.with_name("again.safetensors")
    subprocess.run([sys.executable, "-c", code, str(path), str(again)], check=True)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(file.name for file in path.parent.iterdir()) == ["again.safetensors", "masktune.safetensors"]


def test_any_safetensors_reader_can_use_it(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        assert list(file.metadata()) == ["masktune"]
    model = build_model("small_cnn", 2)
    model.load_state_dict(load_file(path), strict=True)


def test_a_restored_model_gives_the_same_logits_and_draws_no_random_numbers(path: Path) -> None:
    torch.manual_seed(0)
    expected = build_model("small_cnn", 2).eval()
    generator = torch.get_rng_state()
    model = restore_model(path)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not model.training
    images = torch.rand(4, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(model(images), expected(images))


def test_the_memory_layout_of_the_weights_leaves_no_trace(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("resnet32_cifar", 2)
    state_before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = JobConfig(model=ModelConfig(architecture="resnet32_cifar"))
    channels_last = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    for name, state in (("a", state_before), ("b", channels_last.state_dict())):
        save_checkpoint(tmp_path / name, state, config=config, classes=["x", "y"], dataset_sha256=SHA256, role="erm")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_without_our_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.safetensors"
    save_file(build_model("small_cnn", 2).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"bare.safetensors does not say which architecture"):
        load_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"masktune": "{"})
    with pytest.raises(CheckpointError, match="unreadable"):
        load_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"masktune": '{"architecture": "small_cnn"}'})
    with pytest.raises(CheckpointError, match="incomplete"):
        load_checkpoint(path)


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_damaged_file_is_refused(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_a_config_of_another_version_does_not_hide_the_weights(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["masktune"].replace('"seed":0', '"seeds":[0]')
    save_file(load_file(path), path, metadata={"masktune": text})
    assert load_checkpoint(path).config is None
    restore_model(path)


def test_weights_that_do_not_fit_their_own_metadata_are_refused(path: Path) -> None:
    state = load_file(path)
    del state["linear.0.weight"]
    save_checkpoint(path, state, config=CONFIG, classes=["a", "b"], dataset_sha256=SHA256, role="erm")
    with pytest.raises(CheckpointError) as refusal:
        restore_model(path)
    assert refusal.value.missing == ("linear.0.weight",)


@pytest.mark.parametrize(
    ("described", "classes"),
    [
        ('{"classes": ["a", "b"]}', ("a", "b")),
        ('{"classes": ["a", "a"]}', None),
        ('{"classes": ["a", ""]}', None),
        ('{"classes": ["a", "b\\u0000"]}', None),
        ('{"classes": ["a", "%s"]}' % ("x" * 81), None),
        ('{"classes": ["a", 1]}', None),
        ('{"classes": "ab"}', None),
        ("[1]", None),
        ("[" * 100_000, None),
        ("no JSON", None),
    ],
)
def test_class_names_of_a_file_of_unknown_origin_are_taken_if_they_are_some(
    tmp_path: Path, described: str, classes: tuple[str, ...] | None
) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "c.safetensors", metadata={"masktune": described})
    assert stated_classes(tmp_path / "c.safetensors") == classes


def test_a_file_without_metadata_states_no_classes(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "c.safetensors")
    (tmp_path / "c.pt").write_bytes(b"PK")
    assert stated_classes(tmp_path / "c.safetensors") is stated_classes(tmp_path / "c.pt") is None
