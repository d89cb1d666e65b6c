"""Geometry: a pixel, followed from the image through every view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from masktune_core.config import PRESETS, AugmentConfig, InputConfig
from masktune_core.data.augment import move, training_views
from masktune_core.data.views import Views, evaluation_views, is_whole_image, resample, whole_boxes
from tests.masktune_core.archives import picture

SIDES = st.integers(9, 90)


@st.composite
def input_configs(draw: st.DrawFn, augment: st.SearchStrategy[AugmentConfig] | None = None) -> InputConfig:
    size = draw(st.integers(16, 40))
    resize = draw(st.none() | st.integers(size, 2 * size))
    crop = draw(st.none() | st.integers(25, 100))
    return InputConfig(
        size=size, resize=resize, center_crop=crop, augment=draw(augment) if augment is not None else AugmentConfig()
    )


AUGMENTS = st.builds(
    AugmentConfig,
    random_resized_crop=st.none() | st.tuples(st.floats(0.3, 0.6), st.floats(0.6, 1.0)),
    horizontal_flip=st.booleans(),
    rotation_degrees=st.sampled_from([0.0, 15.0, 90.0, 180.0]),
    translate=st.sampled_from([0.0, 0.1]),
)


def sizes_of(*images: NDArray[np.uint8]) -> NDArray[np.int32]:
    return np.array([image.shape[:2] for image in images], dtype=np.int32)


def view_of(image: NDArray[np.uint8], views: Views) -> NDArray[np.uint8]:
    return resample(image, views.regions[0], views.boxes[0], views.size)


def render(image: NDArray[np.uint8], views: Views) -> NDArray[np.float64]:
    """The one view of `image`, as the loader makes it: (S, S) brightness in [0, 1]."""
    pixels = torch.from_numpy(view_of(image, views).copy())
    moved = move(pixels.permute(2, 0, 1)[None].to(torch.float32).div_(255.0), views)
    return moved[0].double().mean(0).numpy()


def center_of(brightness: NDArray[np.float64]) -> NDArray[np.float64]:
    axis = np.arange(len(brightness)) + 0.5
    weights = brightness / brightness.sum()
    return np.array([(weights.sum(1) * axis).sum(), (weights.sum(0) * axis).sum()])


@given(
    st.tuples(st.integers(30, 90), st.integers(30, 90)),
    input_configs(AUGMENTS),
    st.integers(0, 1000),
    st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
)
def test_a_marked_spot_is_seen_where_the_view_says(
    sides: tuple[int, int], config: InputConfig, epoch: int, at: tuple[float, float]
) -> None:
    sizes = np.array([sides], dtype=np.int32)
    views = training_views(np.array([epoch % 7]), sizes, config, seed=3, epoch=epoch)
    box = views.boxes[0]
    spot = max(3, *np.ceil(box[2:] / config.size).astype(int).tolist())
    top, left = np.round(box[:2] + at * box[2:] - spot / 2).astype(int).tolist()
    expected = views.follow(np.array([[top + spot / 2, left + spot / 2]]))[0]
    scale = (config.size / box[2:]).max()
    reach = 1.5 + scale + 0.75 * spot * scale  # half the spot's diagonal, and what the resizing smears
    assume(((expected > reach) & (expected < config.size - reach)).all())

    image = np.zeros((*sides, 3), dtype=np.uint8)
    image[top : top + spot, left : left + spot] = 255
    brightness = render(image, views)
    assert brightness.sum() > 0
    assert np.abs(center_of(brightness) - expected).max() < 0.25


@given(SIDES, SIDES, input_configs())
def test_the_evaluation_view_is_torchvisions(height: int, width: int, config: InputConfig) -> None:
    image = picture(height * 100 + width, height, width)
    sides = (
        (height, width) if config.center_crop is None else tuple(min(s, config.center_crop) for s in (height, width))
    )
    steps: list[object] = [v2.CenterCrop(list(sides))]  # torchvision would pad where the image is smaller
    if config.resize is None:
        steps.append(v2.Resize((config.size, config.size), antialias=True))
    else:
        steps += [v2.Resize(config.resize, antialias=True), v2.CenterCrop(config.size)]
    theirs = np.asarray(v2.Compose(steps)(Image.fromarray(image)))
    ours = view_of(image, evaluation_views(sizes_of(image), config))
    if config.resize is None:
        assert (ours == theirs).all()
        return
    # Pillow resizes only the part that is seen, with edges in float32: a tie may round otherwise, once per direction.
    assert np.abs(ours.astype(int) - theirs).max() <= 2


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=5), input_configs())
def test_boxes_are_the_configurations_and_lie_inside(sides: list[tuple[int, int]], config: InputConfig) -> None:
    sizes = np.array(sides, dtype=np.int32)
    views = evaluation_views(sizes, config)
    for (height, width), box, exact in zip(sides, whole_boxes(views, sizes), views.boxes, strict=True):
        assert tuple(box) == config.evaluation_box(height, width)
        assert 0 <= box.top < box.top + box.height <= height
        assert 0 <= box.left < box.left + box.width <= width
        assert np.abs(np.array(box)[:2] - exact[:2]).max() <= 0.5 or min(height, width) < 3


@given(
    st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=8),
    st.tuples(st.floats(0.05, 0.5), st.floats(0.5, 1.0)),
    st.none() | st.integers(9, 60),
    st.integers(0, 100),
)
def test_random_crops_stay_inside_and_have_the_area_asked_for(
    sides: list[tuple[int, int]], area: tuple[float, float], crop: int | None, epoch: int
) -> None:
    config = InputConfig(size=16, center_crop=crop, augment=AugmentConfig(random_resized_crop=area))
    sizes = np.array(sides, dtype=np.int32)
    boxes = training_views(np.arange(len(sizes)), sizes, config, seed=1, epoch=epoch).boxes
    region = evaluation_views(sizes, InputConfig(size=16, center_crop=crop)).boxes
    assert (boxes == np.round(boxes)).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] >= region[:, :2]).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= region[:, :2] + region[:, 2:]).all()
    share = boxes[:, 2:].prod(1) / region[:, 2:].prod(1)
    rounding = (boxes[:, 2:] + 0.5).prod(1) / boxes[:, 2:].prod(1)
    aspect = region[:, 2] / region[:, 3]
    usual = (aspect > 0.75) & (aspect < 4 / 3)  # in longer images no try may fit
    assert (share <= area[1] * rounding)[usual].all()
    assert (share * rounding >= area[0])[usual].all()


def test_every_preset_sees_a_photograph() -> None:
    image = picture(0, 218, 178)
    for preset in PRESETS.values():
        view = evaluation_views(sizes_of(image), preset.input)
        assert view_of(image, view).shape == (preset.input.size, preset.input.size, 3)


def test_an_image_of_the_networks_size_is_taken_bit_by_bit() -> None:
    image = picture(1, 28, 28)
    views = evaluation_views(sizes_of(image), InputConfig(size=28))
    assert is_whole_image(views, sizes_of(image))
    assert (view_of(image, views) == image).all()
    assert not is_whole_image(evaluation_views(sizes_of(image), InputConfig(size=24)), sizes_of(image))


@pytest.mark.parametrize("epoch", range(3))
def test_flipping_mirrors_and_nothing_else(epoch: int) -> None:
    image = picture(2, 16, 16)
    config = InputConfig(size=16, augment=AugmentConfig(horizontal_flip=True))
    views = training_views(np.arange(40), np.full((40, 2), 16, dtype=np.int32), config, seed=0, epoch=epoch)
    assert 5 < views.flip.sum() < 35
    batch = torch.from_numpy(image.copy()).permute(2, 0, 1).to(torch.float32).expand(40, 3, 16, 16)
    moved = move(batch, views)
    for flipped, one in zip(views.flip.tolist(), moved, strict=True):
        assert torch.equal(one, batch[0].flip(2) if flipped else batch[0])
