"""What a run relied on: means in image coordinates, and clusters that find a shortcut and invent none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masktune_core import insight as module
from masktune_core.callbacks import Callbacks
from masktune_core.data.dataset import Dataset
from masktune_core.data.views import Box
from masktune_core.errors import Interrupted
from masktune_core.insight import GRID, MAPS, Insight, InsightCollector
from masktune_core.insight_clusters import Masked, find_clusters
from masktune_core.pipeline import run
from tests.masktune_core.small_runs import configured

SIDE = 32


def keep(top: int, left: int, side: int = 6) -> npt.NDArray[np.bool_]:
    """A square is masked."""
    mask = np.ones((SIDE, SIDE), dtype=bool)
    mask[top : top + side, left : left + side] = False
    return mask


def masked(places: list[tuple[int, int]], features: npt.NDArray[np.float32]) -> Masked:
    cells = np.stack([~keep(top, left) for top, left in places]).astype(np.float32)
    fraction = cells.mean(axis=(1, 2)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return Masked(np.arange(len(places)), cells, unit.astype(np.float32), fraction)


def noise(count: int, seed: int = 0, spread: float = 1.0) -> npt.NDArray[np.float32]:
    draw = np.random.default_rng(seed)
    return (np.eye(1, 16, dtype=np.float32) + spread * draw.random((count, 16))).astype(np.float32)


def test_a_shortcut_is_one_tight_cluster_beside_a_spread_out_rest() -> None:
    draw = np.random.default_rng(1)
    shortcut = [(int(top), int(left)) for top, left in draw.integers(0, 2, (180, 2))]
    others = [(int(top), int(left)) for top, left in draw.integers(8, 26, (60, 2))]
    features = np.concatenate([noise(180, 2, 0.05), np.roll(noise(60, 3), 8, axis=1)])
    clusters, masks = find_clusters(masked([*shortcut, *others], features), seed=0)
    first = clusters[0]
    assert (first.images, first.share) == (180, 0.75)
    assert first.tightness > 0.6
    assert max(first.top, first.left) < 0.15
    assert set(first.examples) <= set(range(180))
    assert all(cluster.tightness < 0.4 for cluster in clusters[1:])
    assert sum(cluster.images for cluster in clusters) == 240
    assert masks[0][2, 2] > 0.9 > masks[0][20, 20]


def test_one_cloud_is_one_cluster_however_k_means_cuts_it() -> None:
    clusters, _ = find_clusters(masked([(4, 4)] * 200, noise(200, 4, 0.1)), seed=0)
    assert [cluster.share for cluster in clusters] == [1.0]
    assert clusters[0].overlap == pytest.approx(1.0)


def test_images_that_are_all_the_same_are_one_cluster() -> None:
    clusters, _ = find_clusters(masked([(0, 0)] * 20, np.ones((20, 16), dtype=np.float32)), seed=0)
    assert [cluster.images for cluster in clusters] == [20]
    assert clusters[0].radius == pytest.approx(0.0)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_handful_of_images_tells_nothing(count: int) -> None:
    assert find_clusters(masked([(0, 0)] * count or [(0, 0)], noise(max(count, 1))), seed=0) == ([], [])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 26), st.integers(0, 26)), min_size=5, max_size=60), st.integers(0, 2**31))
def test_every_image_is_in_one_cluster_and_the_answer_hangs_on_the_seed_alone(
    places: list[tuple[int, int]], seed: int
) -> None:
    given_ = masked(places, noise(len(places), seed % 100))
    clusters, masks = find_clusters(given_, seed=seed)
    assert sum(cluster.images for cluster in clusters) == len(places)
    assert sum(cluster.share for cluster in clusters) == pytest.approx(1.0)
    assert all(0 <= value <= 1 + 1e-6 for each in clusters for value in (each.overlap, each.similarity, each.tightness))
    assert len(masks) == len(clusters)
    assert find_clusters(given_, seed=seed)[0] == clusters


def collected(indices: list[int], box: Box, size: tuple[int, int], cell: tuple[int, int]) -> Insight:
    """Eight images that are looked at in one cell of a 4×4 grid over `box`, and masked nowhere."""
    collector = InsightCollector(np.zeros(8, dtype=np.int64), np.arange(8), classes=1, seed=0)
    cams = torch.zeros(8, 4, 4)
    cams[:, cell[0], cell[1]] = 3.0
    masks = [np.ones(size, dtype=bool)] * 8
    activations = torch.ones(8, 3, 4, 4)
    collector.add(np.array(indices), cams=(cams, cams), masks=(masks, masks), activations=activations, boxes=[box] * 8)
    return collector.finish(("only",))


def test_maps_stand_where_the_view_stands_in_the_image() -> None:
    # The view is the middle square of a wide image: its first column is a third from the left.
    found = collected(list(range(8)), Box(0, 32, 32, 32), (32, 96), (0, 0))
    mean = found.maps[0, 0]
    assert np.unravel_index(mean.argmax(), mean.shape) in {
        (row, column) for row in range(5) for column in range(10, 14)
    }
    assert not mean[:, :10].any()
    assert not mean[:, 22:].any()
    assert found.classes[0].images == 8
    assert found.classes[0].clusters == ()


class Watching(Callbacks):
    """Keeps the insight; stops once, in the last pass, if it is to."""

    def __init__(self, stop: bool = False) -> None:
        self.found: Insight | None = None
        self.points: list[Path] = []
        self.stop, self.judging = stop, 0

    def on_insight(self, insight: Insight) -> None:
        self.found = insight

    def on_stage(self, stage: Any, iteration: int) -> None:
        self.judging = int(stage == "evaluating")

    def on_resume_point(self, point: Any) -> None:
        self.points.append(point.path)

    def should_stop(self) -> bool:
        self.judging += bool(self.judging)
        return self.stop and self.judging > 3


def test_a_run_that_is_interrupted_in_its_last_pass_tells_the_same(small_biased: Dataset, tmp_path: Path) -> None:
    config = configured()
    whole, broken, resumed = Watching(), Watching(stop=True), Watching()
    first = run(config, small_biased, work_dir=tmp_path / "a", callbacks=whole)
    with pytest.raises(Interrupted):
        run(config, small_biased, work_dir=tmp_path / "b", callbacks=broken)
    second = run(config, small_biased, work_dir=tmp_path / "c", callbacks=resumed, resume=broken.points[-1])
    assert broken.found is None
    assert whole.found is not None
    assert resumed.found is not None
    assert resumed.found.as_dict() == whole.found.as_dict()
    np.testing.assert_array_equal(resumed.found.maps, whole.found.maps)
    counts = np.bincount(small_biased.labels[small_biased.splits["train"]])
    assert [each.images for each in whole.found.classes] == counts.tolist()
    assert first.manifest["checkpoints"] == second.manifest["checkpoints"]


@pytest.mark.parametrize("cumulative", [False, True])
def test_what_the_first_model_relied_on_does_not_hang_on_later_rounds(
    small_biased: Dataset, tmp_path: Path, cumulative: bool
) -> None:
    one, three = Watching(), Watching()
    run(configured(), small_biased, work_dir=tmp_path / "one", callbacks=one)
    rounds = configured({"masking": {"iterations": 3, "cumulative": cumulative}})
    run(rounds, small_biased, work_dir=tmp_path / "three", callbacks=three)
    assert one.found is not None
    assert three.found is not None
    assert three.found.as_dict() == one.found.as_dict()
    before = [MAPS.index("heatmap_before"), MAPS.index("mask_before")]
    np.testing.assert_array_equal(three.found.maps[:, before], one.found.maps[:, before])


def test_memory_is_bounded_by_a_draw_of_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CLUSTERED", 10)
    labels, train = np.zeros(1000, dtype=np.int64), np.arange(1000)
    first, again, other = (InsightCollector(labels, train, classes=1, seed=seed) for seed in (1, 1, 2))
    assert first.state["cells"].shape == (10, GRID, GRID)
    assert first._chosen.tolist() == again._chosen.tolist() != other._chosen.tolist()


def test_wide_features_are_projected_and_keep_their_likeness() -> None:
    collector = InsightCollector(np.zeros(4, dtype=np.int64), np.arange(4), classes=1, seed=0)
    activations = torch.rand(4, 2048, 4, 4, generator=torch.Generator().manual_seed(0))
    activations[1] = activations[0]
    activations[2] = -activations[0]
    described = collector._described(activations, torch.ones(4, 4, 4))
    assert described.shape == (4, module.MOST_FEATURES)
    cosines = described @ described[0]
    assert cosines[:3].tolist() == pytest.approx([1.0, 1.0, -1.0], abs=1e-5)


def test_a_class_without_images_is_told_as_empty() -> None:
    collector = InsightCollector(np.zeros(4, dtype=np.int64), np.arange(4), classes=2, seed=0)
    found = replace(collector.finish(("some", "none")))
    assert found.classes[1].images == 0
    assert not found.maps[1].any()
