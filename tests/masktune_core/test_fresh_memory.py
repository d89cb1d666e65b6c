"""Training on a CPU asks the system for memory once, not for every layer of every step."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from masktune_core.data.loader import Batch
from masktune_core.config import resolve_config
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.training import EpochSums, Trainer, train_epoch

torch.set_num_threads(1)
cpu, config = torch.device("cpu"), resolve_config("biased_mnist")
model = build_model("small_cnn", 2)
trainer = Trainer(model, make_optimizer(model.parameters(), config.erm.optimizer), config, cpu)
batch = Batch(torch.arange(64), torch.rand(64, 3, 28, 28), torch.arange(64) % 2)
found = []

def batches(start):
    yield from (batch for _ in range(start, 12))

def before_step(step):
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

train_epoch(
    trainer, batches, EpochSums.zero(cpu), steps=12, start_step=0, seed=0, where="here", before_step=before_step
)
print(found[-1] - found[-5])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back at once")
def test_a_step_that_follows_others_touches_no_fresh_pages() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    pages_of_one_layer = 64 * 16 * 26 * 26 * 4 // 4096  # a step of this network makes dozens of such tensors
    assert int(done.stdout) < pages_of_one_layer
