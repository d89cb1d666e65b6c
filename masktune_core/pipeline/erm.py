"""Stage 1: train with plain cross-entropy, and choose the epoch that goes on."""

from __future__ import annotations

from masktune_core.config import ErmConfig
from masktune_core.errors import ConfigError
from masktune_core.evaluation import SplitEvaluation
from masktune_core.optimizers import learning_rate, snapshot
from masktune_core.pipeline.epochs import run_epoch
from masktune_core.pipeline.session import Session
from masktune_core.pipeline.state import RunState, Selected


def train_erm(session: Session) -> None:
    """Train from where the session stands; the chosen weights and their optimizer state are then in place.

    One choice, `erm.select`, serves masking and finetuning. The model goes to finetuning together with the optimizer
    state of that same epoch, at the rate of the last epoch trained.
    """
    erm, state = session.config.erm, session.state
    session.enter("training_erm", 0)
    while state.epoch < erm.epochs and not _stopped_early(erm, state):
        lr = learning_rate(erm.schedule, erm.optimizer.lr, state.epoch, erm.epochs)
        validation = run_epoch(session, epochs=erm.epochs, lr=lr)
        state.erm_lr = lr
        _select(session, validation)
        session.write_point()
    if state.selected is not None:
        session.model.load_state_dict(state.selected.weights)
        session.trainer.optimizer.load_state_dict(snapshot(state.selected.optimizer))
    state.selected_epoch = state.epoch if state.selected is None else state.selected.epoch
    keep_erm(session)


def keep_erm(session: Session) -> None:
    """The model as it is now is the ERM model: go on to masking."""
    session.state.erm_weights = snapshot(session.model.state_dict())
    session.state.selected = None
    session.leave("masking", 1)


def _select(session: Session, validation: SplitEvaluation | None) -> None:
    select, state = session.config.erm.select, session.state
    if select == "last":
        return
    score = None
    if validation is not None:
        score = {
            "best_accuracy": validation.accuracy,
            "best_worst_class": validation.worst_class_accuracy,
            "best_worst_group": validation.worst_group_accuracy,
        }[select]
    if score is None:
        raise ConfigError(f"erm.select is {select}, but the validation split gives no such score: set it to last")
    state.stale_epochs += 1
    if state.selected is None or score > state.selected.score:
        weights = snapshot(session.model.state_dict())
        optimizer = snapshot(session.trainer.optimizer.state_dict())
        state.selected, state.stale_epochs = Selected(score, state.epoch, weights, optimizer), 0


def _stopped_early(erm: ErmConfig, state: RunState) -> bool:
    return erm.early_stopping_epochs is not None and state.stale_epochs >= erm.early_stopping_epochs
