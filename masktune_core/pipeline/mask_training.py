"""Stage 2: explain every training image and mask what the model relies on most."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from masktune_core.callbacks import Metric
from masktune_core.config import JobConfig
from masktune_core.data.loader import Batch, Loader
from masktune_core.distributed import ALONE, World
from masktune_core.mask_store import MaskStore
from masktune_core.masking import Masks, image_keep_masks, spans_of
from masktune_core.models import cam_layer
from masktune_core.pipeline.session import Session
from masktune_core.random_masks import random_square_masks
from masktune_core.saliency import Explanation, explain
from masktune_core.training import gpu_memory


def mask_training_images(session: Session) -> None:
    """Fill the mask store with the masks of this round, from the batch where the session stands.

    The model explains the original images, or, in later cumulative rounds, the images as already masked; then what
    was masked stays masked.
    """
    config, state, train = session.config, session.state, session.train
    size = config.masking.batch_size
    before = math.ceil(state.offset / size)  # as many steps as they would have been
    steps = before + math.ceil((len(train) - state.offset) / size)
    store = open_masks(session)
    cumulative = config.masking.cumulative and state.iteration > 1
    session.enter("masking", state.iteration)
    if state.step == 0 and len(state.unmasked) < state.iteration:
        state.unmasked.append(0)
        state.masked_pixels.append(0.0)
    session.begin_pass()
    if config.masking.strategy == "none":
        state.unmasked[-1] = len(train)
    else:
        start, seen = state.step, 0
        source = session.loader.eval_batches(
            train[state.offset + start * size :],
            batch_size=size,
            masks=store if cumulative else None,
            fill=config.masking.fill,
        )
        with gpu_memory("masking"), closing(explained(session, session.model, source)) as found:
            for step, (indices, cams) in enumerate(found, start):
                session.poll(step)
                _store_masks(session, store, indices, cams, cumulative=cumulative)
                seen += len(indices)
                session.progress(step=before + step + 1, steps=steps, epochs=1, images=seen)
    _report(session)
    session.leave("finetuning", state.iteration)


def explained(
    session: Session, model: nn.Module, source: Iterator[Batch]
) -> Generator[tuple[npt.NDArray[np.int64], Tensor], None, None]:
    """Indices and maps of whole batches, made one batch ahead."""

    def work(batch: Batch) -> tuple[npt.NDArray[np.int64], Tensor]:
        return session.world.gather(batch.index).numpy(), explain_batch(model, batch, config, session.world).cams

    config = session.config
    yield from session.ahead(source, work)


def _store_masks(
    session: Session, store: MaskStore, indices: npt.NDArray[np.int64], cams: Tensor, *, cumulative: bool
) -> None:
    """Mask B images as their maps (B, h, w) say; with `cumulative`, besides what is masked already."""
    state, config = session.state, session.config
    for span in spans_of(session.sizes_of(indices)):
        own = indices[span]
        masks = make_masks(cams[span], own, session.loader, config, iteration=state.iteration)
        if cumulative:
            masks = [mask & earlier for mask, earlier in zip(masks, store.get_each(own), strict=True)]
        store.put(own, masks)
    fractions = store.masked_fraction(indices)
    state.unmasked[-1] += int((fractions == 0.0).sum())
    state.masked_pixels[-1] += float(fractions.sum(dtype=np.float64))


def open_masks(session: Session) -> MaskStore:
    """The mask store of the run: the one at hand, or a new one in which every image is kept whole."""
    if session.masks is None:
        sizes = session.dataset.sizes
        session.masks = MaskStore.create(session.masks_path, sizes[:, 0], sizes[:, 1])
    return session.masks


def explain_batch(
    model: nn.Module, batch: Batch, config: JobConfig, world: World = ALONE, *, keep_activations: bool = False
) -> Explanation:
    """Maps and logits of a batch, as the masking configuration asks for them; of the whole batch, if it is a share."""
    found = explain(
        model,
        batch.image,
        method=config.masking.saliency,
        target=batch.label if config.masking.target == "label" else None,
        layer=cam_layer(model, config.model.cam_layer),
        keep_activations=keep_activations,
    )
    if world.size == 1:
        return found
    activations = None if found.activations is None else world.gather(found.activations)
    return Explanation(world.gather(found.cams), world.gather(found.logits), activations)


def make_masks(
    cams: Tensor, indices: npt.NDArray[np.int64], loader: Loader, config: JobConfig, *, iteration: int
) -> Masks:
    """Keep masks of B images at their own sizes, from their maps (B, h, w), as `masking.strategy` has it.

    random_mask: a square of as many pixels as the map would have had masked, somewhere in what the network sees.
    """
    sizes = [(int(height), int(width)) for height, width in loader.dataset.sizes[indices]]
    if config.masking.strategy == "none":
        return [np.ones(size, dtype=np.bool_) for size in sizes]
    boxes = loader.boxes(indices)
    masks = image_keep_masks(cams, boxes, sizes, k=config.masking.k)
    if config.masking.strategy == "random_mask":
        areas = [mask.size - int(mask.sum()) for mask in masks]
        seed = config.seed
        return random_square_masks(areas, boxes, sizes, seed=seed, iteration=iteration, indices=indices.tolist())
    return masks


def _report(session: Session) -> None:
    config, state, count = session.config, session.state, len(session.train)
    unmasked = state.unmasked[-1]
    values = {"unmasked_images": float(unmasked), "masked_fraction": state.masked_pixels[-1] / count}
    session.record(
        [Metric("masking", state.iteration, 0, "train", None, name, value, count) for name, value in values.items()]
    )
    if config.masking.strategy == "none":
        return
    if unmasked == count:
        session.warn(
            "nothing_masked",
            f"round {state.iteration}: no training image has anything masked, so finetuning is plain further training: "
            "lower masking.k, or choose another saliency method or CAM layer",
        )
    elif config.masking.cumulative and state.masked_pixels[-1] in state.masked_pixels[:-1]:
        session.warn(
            "nothing_new_masked",
            f"round {state.iteration}: nothing is masked that was not masked before, so finetuning repeats the round "
            "before it: lower masking.iterations, or masking.k",
        )
