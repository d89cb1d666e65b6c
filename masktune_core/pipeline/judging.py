"""The final pass: what every model says about every image, looks at, and would have masked."""

from __future__ import annotations

import math
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from masktune_core.callbacks import MOST_PROBABILITIES, SampleBatch
from masktune_core.data.loader import Batch
from masktune_core.evaluation import Predictions, read_off
from masktune_core.insight import InsightCollector
from masktune_core.masking import Masks, image_keep_masks, masked_fractions, spans_of
from masktune_core.models import build_model
from masktune_core.pipeline.mask_training import explain_batch, make_masks, open_masks
from masktune_core.pipeline.session import Session
from masktune_core.pipeline.state import Judged, Weights
from masktune_core.probabilities import class_probabilities, probabilities
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
    with gpu_memory("evaluating"), closing(_explained(session, models, start)) as found:
        for step, (split, first, said) in enumerate(found, start):
            session.poll(step)
            predictions, samples = _judge_batch(session, split, said, collector)
            session.callbacks.on_samples(samples)
            last = first + len(samples.index)
            for row, each in enumerate(predictions):
                judged.predicted[row, first:last] = torch.from_numpy(each.predicted)
                judged.confidence[row, first:last] = torch.from_numpy(each.confidence)
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


class _Said(NamedTuple):
    """What the models say about a batch: the first and the last with maps, those between with predictions alone."""

    indices: npt.NDArray[np.int64]
    before: Explanation
    after: Explanation
    middle: list[Predictions]


def _explained(session: Session, models: list[nn.Module], start: int) -> Generator[tuple[str, int, _Said], None, None]:
    """(split, position of the first image in the whole pass, what is said), one batch ahead."""
    config, world = session.config, session.world

    def work(item: tuple[str, int, Batch]) -> tuple[str, int, _Said]:
        split, first, batch = item
        before = explain_batch(models[0], batch, config, world, keep_activations=split == "train")
        after = explain_batch(models[-1], batch, config, world)
        middle = [
            read_off(world.gather(torch.from_numpy(class_probabilities(model, batch.image))).numpy())
            for model in models[1:-1]
        ]
        return split, first, _Said(world.gather(batch.index).numpy(), before, after, middle)

    yield from session.ahead(_batches(session, session.state.offset, start), work)


def _judge_batch(
    session: Session, split: str, said: _Said, collector: InsightCollector
) -> tuple[list[Predictions], SampleBatch]:
    dataset, indices = session.dataset, said.indices
    p_before, p_after = probabilities(said.before.logits), probabilities(said.after.logits)
    first, last = read_off(p_before), read_off(p_after)
    fractions, deflated = _masks(session, split, said, collector)
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
        masked_fraction=fractions,
        height=dataset.sizes[indices, 0],
        width=dataset.sizes[indices, 1],
        cam_before=_half(said.before.cams),
        cam_after=_half(said.after.cams),
        masks=deflated,
        probabilities_before=p_before.astype(np.float16) if wanted else None,
        probabilities_after=p_after.astype(np.float16) if wanted else None,
    )
    return [first, *said.middle, last, read_off(combine(p_before, p_after))], samples


def _masks(
    session: Session, split: str, said: _Said, collector: InsightCollector
) -> tuple[npt.NDArray[np.float32], list[bytes]]:
    """Masked share of every image and its deflated mask: of training images the very masks of the last round.

    Those of other images are made from the ERM maps. Training images are added to what the run relied on, with the
    masks of the first round. A few masks are in memory at a time, however large the images are.
    """
    fractions: list[npt.NDArray[np.float32]] = []
    deflated: list[bytes] = []
    for span in spans_of(session.sizes_of(said.indices)):
        own = said.indices[span]
        stored = open_masks(session).get_each(own) if split == "train" else None
        if stored is None or session.config.masking.iterations > 1:
            first = make_masks(said.before.cams[span], own, session.loader, session.config, iteration=1)
        else:
            first = stored
        masks = first if stored is None else stored
        if split == "train":
            _collect(session, collector, span, said, first)
        fractions.append(masked_fractions(masks))
        deflated += [zlib.compress(bits.tobytes(), level=6) for bits in _packed(masks)]
    return np.concatenate(fractions), deflated


def _packed(masks: Masks) -> Iterable[npt.NDArray[np.uint8]]:
    """`numpy.packbits` of every flattened keep mask."""
    if isinstance(masks, np.ndarray):
        return iter(np.packbits(masks.reshape(len(masks), -1), axis=1))
    return (np.packbits(mask) for mask in masks)


def _collect(session: Session, collector: InsightCollector, span: slice, said: _Said, masks: Masks) -> None:
    """Add some of a batch's training images to what the run relied on."""
    assert said.before.activations is not None, "they were asked for"
    own, cams = said.indices[span], (said.before.cams[span], said.after.cams[span])
    boxes = session.loader.boxes(own)
    collector.add(
        own,
        cams=cams,
        masks=(masks, image_keep_masks(cams[1], boxes, session.sizes_of(own), k=session.config.masking.k)),
        activations=said.before.activations[span],
        boxes=boxes,
    )


def _half(cams: Tensor) -> npt.NDArray[np.float16]:
    """Maps (B, h, w) in float16; one whose peak would overflow or lose digits is multiplied by a power of two."""
    peak = cams.amax(dim=(1, 2), keepdim=True)
    exponent = torch.where((peak > 0) & ((peak < _HALF_SMALL) | (peak > _HALF_LARGE)), -peak.log2().floor(), 0.0)
    exponent = exponent.clamp_max(126.0)  # a larger power of two is no float32
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
