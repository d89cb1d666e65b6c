"""The final pass: what every model says about every image, looks at, and would have masked."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from masktune_core.callbacks import MOST_PROBABILITIES, SampleBatch
from masktune_core.data.loader import Batch
from masktune_core.evaluation import Predictions, class_probabilities, probabilities, read_off
from masktune_core.insight import InsightCollector
from masktune_core.masking import image_keep_masks
from masktune_core.models import build_model
from masktune_core.pipeline.mask_training import Masks, explain_batch, make_masks, open_masks
from masktune_core.pipeline.session import Session
from masktune_core.pipeline.state import Judged, Weights
from masktune_core.saliency import Explanation
from masktune_core.selective import combine
from masktune_core.training import gpu_memory

_HALF_SMALL, _HALF_LARGE = 2.0**-4, 2.0**15  # a map whose peak lies between them needs no scaling in float16


def judge(session: Session) -> dict[str, list[Predictions]]:
    """Run all models over all splits and hand out the samples; split → predictions of ERM, each round, their product.

    The product is that of the ERM model and the last round (`selective.combine`). Images come split by split, in the
    data set's order, `masking.batch_size` at a time.
    """
    config, state, dataset = session.config, session.state, session.dataset
    assert state.erm_weights is not None, "the ERM model was kept before masking"
    session.enter("evaluating", 0)
    session.begin_pass()
    models = [_model(session, weights) for weights in (state.erm_weights, *state.round_weights)]
    size = config.masking.batch_size
    lengths = [len(indices) for indices in dataset.splits.values()]
    total = sum(lengths)
    before = math.ceil(state.offset / size)  # as many steps as they would have been
    steps = before + _steps(lengths, state.offset, size)
    judged = state.judged = state.judged or Judged.empty(len(models) + 1, total)
    collector = _collector(session)
    start = state.step
    seen = 0
    with gpu_memory("evaluating"):
        for step, (split, first, batch) in enumerate(_batches(session, state.offset, start), start):
            session.poll(step)
            predictions, samples = _judge_batch(session, models, split, batch, collector)
            session.callbacks.on_samples(samples)
            last = first + len(samples.index)
            for row, found in enumerate(predictions):
                judged.predicted[row, first:last] = torch.from_numpy(found.predicted)
                judged.confidence[row, first:last] = torch.from_numpy(found.confidence)
            seen += len(samples.index)
            session.progress(step=before + step + 1, steps=steps, epochs=1, images=seen)
    session.callbacks.on_insight(collector.finish(dataset.classes))
    return _by_split(session, judged)


def _collector(session: Session) -> InsightCollector:
    """Going on from what an earlier attempt has added up."""
    dataset, state = session.dataset, session.state
    collector = InsightCollector(dataset.labels, session.train, classes=len(dataset.classes), seed=session.config.seed)
    if state.insight is not None:
        collector.state = state.insight
    state.insight = collector.state
    return collector


def _model(session: Session, weights: Weights) -> nn.Module:
    model = build_model(session.config.model.architecture, len(session.dataset.classes))
    model.load_state_dict(weights)
    return model.to(session.device).eval()


def _steps(lengths: Sequence[int], offset: int, size: int) -> int:
    """Batches that splits of so many images make, behind the first `offset` images."""
    steps = 0
    for length in lengths:
        skipped = min(offset, length)
        offset -= skipped
        steps += math.ceil((length - skipped) / size)
    return steps


def _batches(session: Session, offset: int, start: int) -> Iterator[tuple[str, int, Batch]]:
    """(split, position of the first image in the whole pass, batch), from batch number `start` behind `offset` on."""
    size, first = session.config.masking.batch_size, 0
    for split, indices in session.dataset.splits.items():
        behind = min(offset, len(indices))
        offset -= behind
        skipped = min(start, math.ceil((len(indices) - behind) / size))
        start -= skipped
        done = behind + skipped * size
        position = first + done
        for batch in session.loader.eval_batches(indices[done:], batch_size=size):
            yield split, position, batch
            position += size
        first += len(indices)


def _judge_batch(
    session: Session, models: list[nn.Module], split: str, batch: Batch, collector: InsightCollector
) -> tuple[list[Predictions], SampleBatch]:
    config, dataset = session.config, session.dataset
    world = session.world
    indices = world.gather(batch.index).numpy()
    in_training = split == "train"
    before = explain_batch(models[0], batch, config, world, keep_activations=in_training)
    after = explain_batch(models[-1], batch, config, world)
    p_before, p_after = probabilities(before.logits), probabilities(after.logits)
    middle = [
        read_off(world.gather(torch.from_numpy(class_probabilities(model, batch.image))).numpy())
        for model in models[1:-1]
    ]
    first, last = read_off(p_before), read_off(p_after)
    masks = _masks(session, split, indices, before.cams)
    if in_training:
        _collect(session, collector, indices, before, after, masks)
    wanted = p_before.shape[1] <= MOST_PROBABILITIES
    samples = SampleBatch(
        index=indices,
        split=[split] * len(indices),
        label=dataset.labels[indices],
        group=dataset.groups[indices],
        predicted_before=first.predicted,
        confidence_before=first.confidence.astype(np.float32),
        predicted_after=last.predicted,
        confidence_after=last.confidence.astype(np.float32),
        masked_fraction=np.array([1.0 - mask.mean() for mask in masks], dtype=np.float32),
        height=dataset.sizes[indices, 0],
        width=dataset.sizes[indices, 1],
        cam_before=_half(before.cams),
        cam_after=_half(after.cams),
        masks=[zlib.compress(np.packbits(mask).tobytes(), level=6) for mask in masks],
        probabilities_before=p_before.astype(np.float16) if wanted else None,
        probabilities_after=p_after.astype(np.float16) if wanted else None,
    )
    return [first, *middle, last, read_off(combine(p_before, p_after))], samples


def _masks(session: Session, split: str, indices: npt.NDArray[np.int64], cams: Tensor) -> Masks:
    """Keep masks: the very ones of the last round in training, elsewhere from the ERM maps."""
    if split == "train":
        return open_masks(session).get_each(indices)
    return make_masks(cams, indices, session.loader, session.config, iteration=1)


def _collect(
    session: Session,
    collector: InsightCollector,
    indices: npt.NDArray[np.int64],
    before: Explanation,
    after: Explanation,
    masks: Masks,
) -> None:
    """Add a batch of training images to what the run relied on."""
    assert before.activations is not None, "they were asked for"
    boxes = session.loader.boxes(indices)
    sizes = [(int(height), int(width)) for height, width in session.dataset.sizes[indices]]
    collector.add(
        indices,
        cams=(before.cams, after.cams),
        masks=(masks, image_keep_masks(after.cams, boxes, sizes, k=session.config.masking.k)),
        activations=before.activations,
        boxes=boxes,
    )


def _half(cams: Tensor) -> npt.NDArray[np.float16]:
    """Maps (B, h, w) in float16; one whose peak would overflow or lose digits is multiplied by a power of two."""
    peak = cams.amax(dim=(1, 2), keepdim=True)
    exponent = torch.where((peak > 0) & ((peak < _HALF_SMALL) | (peak > _HALF_LARGE)), -peak.log2().floor(), 0.0)
    scaled: npt.NDArray[np.float16] = torch.ldexp(cams, exponent).to("cpu", torch.float16).numpy()
    return scaled


def _by_split(session: Session, judged: Judged) -> dict[str, list[Predictions]]:
    found: dict[str, list[Predictions]] = {}
    predicted, confidence, first = judged.predicted.numpy(), judged.confidence.numpy(), 0
    for split, indices in session.dataset.splits.items():
        last = first + len(indices)
        rows = zip(predicted[:, first:last], confidence[:, first:last], strict=True)
        found[split] = [Predictions(row_predicted, row_confidence) for row_predicted, row_confidence in rows]
        first = last
    return found
