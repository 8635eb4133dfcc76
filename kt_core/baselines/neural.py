"""DKT, SAKT, simpleKT and AKT as tracers, trained like our model and tuned on validation learners.

Mastery of a skill is the predicted probability of a right answer if the skill were asked next with
an unknown item. Each sequence is a separate history. N interactions, S sequences, C skills.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kt_core.base.errors import KTError
from kt_core.baselines.akt import AKTNetwork
from kt_core.baselines.counts import check_fitted, unless_first
from kt_core.baselines.networks import SAKTNetwork, SimpleKTNetwork
from kt_core.baselines.search import GRID, SHORT_STEPS, Candidate, Trained, search
from kt_core.config import TrainConfig
from kt_core.data.batches import READING, Batch, LengthBuckets, SequenceDataset, loader
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.tracer import Trace
from kt_core.recurrent import DKTNetwork, Network, Shape
from kt_core.training.fit import NextStep, fit_best

# All else as for our own model. So many epochs that early stopping should end a training: AKT on
# 2,000 simulated learners was still improving after 50.
TRAINING = TrainConfig(epochs=200, patience=5, progress=False)
SHORT_EPOCHS = 3  # at least, in the first round of the search
FIELDS = ("predicted", "mastery_pre", "mastery_post", "flip")


class NeuralTracer:
    """Common part of the four tracers.

    Parameters
    ----------
    shape : size of the network and dropout; None searches `grid` for it and for the learning rate.
    training : optimisation and stopping; its `seed` is replaced by the one given to `fit`.
    verbose : whether each epoch prints a line.

    Attributes
    ----------
    network : the fitted network; None before `fit`.
    history : one row per epoch: `epoch` from 0, `seconds`, `loss/total`, `valid/auc`, `valid/loss`.
    tried : one row per training of the search (`kt_core.baselines.search.search`); empty if `shape`
        is given.
    fit_seconds : wall time of `fit`, with the search.
    """

    name = ""
    kind: type[Network]
    grid: tuple[Candidate, ...] = GRID

    def __init__(
        self, shape: Shape | None = None, training: TrainConfig = TRAINING, verbose: bool = False
    ):
        self.shape, self.training, self.verbose = shape, training, verbose
        self.network: Network | None = None
        self.skills: int | None = None
        self.history = self.tried = pd.DataFrame()
        self.fit_seconds = 0.0

    def fit(self, splits: Splits, seed: int = 0) -> None:
        """Train, and keep the averaged weights of the epoch with the best AUC on `splits.valid`.

        Raises
        ------
        KTError
            If the requested accelerator is not available.
        """
        started = time.perf_counter()
        settings = replace(self.training, seed=seed)
        if self.shape is None:
            steps = len(loader(splits.train, settings.tokens_per_batch, True))
            short = min(max(SHORT_EPOCHS, -(-SHORT_STEPS // steps)), settings.epochs)
            best, self.tried = search(
                self.grid, lambda tried, most: self._train(tried, splits, settings, most), short
            )
        else:
            candidate = Candidate(self.shape, settings.learning_rate)
            best = self._train(candidate, splits, settings)
        self.network, self.skills = best.network, len(splits.vocabulary.skills)
        self.history = best.history
        self.fit_seconds = time.perf_counter() - started

    def _train(
        self, candidate: Candidate, splits: Splits, settings: TrainConfig, most: int = 0
    ) -> Trained:
        """Train a candidate until it no longer improves, or for at most `most` epochs unless 0."""
        epochs = most or settings.epochs
        settings = replace(settings, learning_rate=candidate.learning_rate, epochs=epochs)
        L.seed_everything(settings.seed, workers=True, verbose=False)
        v = splits.vocabulary
        network = self.kind(candidate.shape, len(v.skills), len(v.items))
        rows = _Epochs(self.name, self.verbose)
        fit_best(_Penalised(network, settings), splits, settings, rows)
        complete = len(rows.rows) < epochs or epochs == self.training.epochs
        return Trained(network.cpu().eval(), pd.DataFrame(rows.rows), complete)

    @torch.no_grad()
    def trace(self, sequences: Sequences) -> Trace:
        """Trace with predictions, mastery before and after each answer, flips, and mastery of all
        skills halfway and at the end. Weights and random state do not change.

        Raises
        ------
        KTError
            Before `fit`, for a skill that `fit` did not know, or if a prediction is not finite.
        """
        check_fitted(self.name, self.skills, sequences)
        self.network.eval()
        N, C = sequences.interactions, self.skills
        columns = {name: np.full(N, np.nan) for name in FIELDS}
        states = {name: np.zeros((len(sequences), C)) for name in ("middle", "final")}
        for batch in _batches(sequences, C):
            steps, ends = _ask(self.network, batch, C)
            index, valid = batch.index.numpy(), batch.valid.numpy()
            at = (sequences.starts[index][:, None] + np.arange(valid.shape[1]))[valid]
            for name, value in steps.items():
                columns[name][at] = value.double().numpy()[valid]
            for name, value in ends.items():
                states[name][index] = value.double().numpy()
        for name in ("predicted", "mastery_pre"):
            columns[name] = unless_first(sequences, columns[name])
        if not all(np.isfinite(x).all() for x in (columns["mastery_post"], *states.values())):
            raise KTError(
                f"{self.name}: predictions are not finite: training has diverged; fit it again "
                "with a smaller learning_rate"
            )
        return Trace(**columns, **states)


class DKT(NeuralTracer):
    """Deep Knowledge Tracing: one LSTM over the interactions, a linear read-out to every skill.

    References
    ----------
    Piech, C., Bassen, J., Huang, J., Ganguli, S., Sahami, M., Guibas, L., & Sohl-Dickstein, J.
    (2015). Deep knowledge tracing. NeurIPS 28, 505-513.
    """

    name = "DKT"
    kind = DKTNetwork


class SAKT(NeuralTracer):
    """Self-attentive knowledge tracing: the skill asked next attends to the past interactions.

    References
    ----------
    Pandey, S., & Karypis, G. (2019). A self-attentive model for knowledge tracing. EDM 2019,
    384-389.
    """

    name = "SAKT"
    kind = SAKTNetwork


class SimpleKT(NeuralTracer):
    """simpleKT: dot-product attention over skills that are varied by the items' difficulty.

    References
    ----------
    Liu, Z., Liu, Q., Chen, J., Huang, S., & Luo, W. (2023). simpleKT: a simple but tough-to-beat
    baseline for knowledge tracing. ICLR 2023.
    """

    name = "simpleKT"
    kind = SimpleKTNetwork


class AKT(NeuralTracer):
    """Attentive knowledge tracing: attention that fades with a context-aware distance, over Rasch
    embeddings of questions and interactions; AKT-NR where the data has no items.

    References
    ----------
    Ghosh, A., Heffernan, N., & Lan, A. S. (2020). Context-aware attentive knowledge tracing. KDD
    2020, 2330-2339.
    """

    name = "AKT"
    kind = AKTNetwork


class _Penalised(NextStep):
    """Adds the penalty of networks that have one, as a mean over answers."""

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """BCE, and the penalty if there is one."""
        terms = super().terms(batch)
        if batch.items.any() and (penalty := self.model.penalty(batch.items)) is not None:
            terms["penalty"] = penalty[batch.valid].mean()
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The loss that is minimised."""
        return sum(terms.values())


class _Epochs(L.Callback):
    """Records one row per epoch and prints it if `verbose`."""

    def __init__(self, name: str, verbose: bool):
        self.name, self.verbose = name, verbose
        self.rows: list[dict[str, float]] = []
        self._since = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        seconds = time.perf_counter() - self._since
        values = {k: float(v) for k, v in trainer.callback_metrics.items()}
        kept = {k: values[k] for k in ("loss/total", "valid/auc", "valid/loss")}
        self.rows.append({"epoch": trainer.current_epoch, "seconds": seconds, **kept})
        if self.verbose:
            print(
                f"{self.name} epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}  "
                f"loss {kept['loss/total']:.4f}  valid AUC {kept['valid/auc']:.4f}  "
                f"{seconds:.1f} s",
                flush=True,
            )


def _batches(sequences: Sequences, C: int) -> Iterator[Batch]:
    """Batches of similar length, sized for questions about each step and about C skills."""
    data, order = SequenceDataset(sequences), np.argsort(sequences.lengths, kind="stable")
    places = np.maximum(sequences.lengths[order], C)
    for chosen in LengthBuckets(places, READING, shuffle=False):
        yield data[order[chosen]]


def _ask(network: Network, batch: Batch, C: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trace fields per step, [B, T], and mastery of all skills halfway and at the end, [B, C]."""
    q, r, items = batch.skills, batch.responses, batch.items
    memory, unknown = network.remember(q, r, items), torch.zeros_like(items)

    def ask(skills: Tensor, items: Tensor, seen: Tensor, memory: Any = memory) -> Tensor:
        return network.ask(memory, skills, items, seen).sigmoid()

    step = torch.arange(q.shape[1]).unsqueeze(0)
    true = ask(q, unknown, step + 1)
    other = ask(q, unknown, step + 1, network.flipped(q, r, items))
    predicted = ask(q, items, step)
    steps = {
        "predicted": predicted,
        "mastery_pre": ask(q, unknown, step) if items.any() else predicted,
        "mastery_post": true,
        "flip": torch.where(r == 1, true - other, other - true),
    }
    everything, length = torch.arange(C).unsqueeze(0), batch.valid.sum(1, keepdim=True)
    ends = {"middle": length // 2, "final": length}
    nothing = torch.zeros_like(everything)
    return steps, {name: ask(everything, nothing, seen) for name, seen in ends.items()}
