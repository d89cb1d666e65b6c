"""Stage 3: finetune on the masked images, with the optimizer's state carried on."""

from __future__ import annotations

from masktune_core.optimizers import snapshot
from masktune_core.pipeline.epochs import run_epoch
from masktune_core.pipeline.session import Session


def finetune(session: Session) -> None:
    """Finetune the round that the session stands in; then the next round of masking, or the final evaluation."""
    config, state = session.config, session.state
    lr = config.finetune.lr if config.finetune.lr is not None else state.erm_lr
    assert lr is not None, "ERM ended, or was skipped, with a rate"
    session.enter("finetuning", state.iteration)
    while state.epoch < config.finetune.epochs:
        run_epoch(session, epochs=config.finetune.epochs, lr=lr)
        session.write_point()
    state.round_weights.append(snapshot(session.model.state_dict()))
    if state.iteration < config.masking.iterations:
        session.leave("masking", state.iteration + 1)
    else:
        session.leave("evaluating", 0)
