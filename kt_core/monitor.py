"""The monitor: interpretability of the current batch, every N training steps.

It reads the states of the forward pass that training has just made, under no_grad and without
drawing random numbers, so that weights after training are the same with and without it.
`batch_sums` reads a batch and `batch_metrics` computes the numbers; between the two, the sums of
several processes are put together. They are about one training step: curves to watch, not results
to report (docs/method.md, "The monitor"). B learners, T steps, C skills.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import lightning as L
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kt_core.base.processes import gathered
from kt_core.layers import Ids, Scalar, Valid
from kt_core.metrics.invariants import saturation, shares, violations
from kt_core.states import States, at_skill


class Monitor(L.Callback):
    """Lightning callback that measures the batch of every N-th step, the first included.

    Parameters
    ----------
    every : N, in training steps.

    Attributes
    ----------
    rows : one flat dict of floats each time, with `step`, `epoch`, `learning_rate`, `loss` (of
        this batch) and `gradient_norm` (before clipping).

    Examples
    --------
    >>> config = kt.configure("smoke", overrides={"train.progress": False, "train.monitor": False})
    >>> monitor = kt.Monitor(every=5)
    >>> run = kt.train(config, kt.read_splits(config), "runs/watched", callbacks=[monitor])
    epoch 1/2  loss ...
    epoch 2/2  loss ...
    >>> monitor.rows[0]["step"], monitor.rows[1]["step"]
    (0, 5)
    """

    def __init__(self, every: int = 25):
        self.every = every
        self.rows: list[dict[str, float]] = []
        self._gradient_norm = torch.tensor(torch.nan)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from these rows, in the same list: others hold a reference to it."""
        self.rows[:] = state_dict["rows"]

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
        """Keep the gradients' norm at the steps that are measured."""
        if trainer.global_step % self.every == 0:
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            self._gradient_norm = torch.nn.utils.get_total_norm(gradients)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the batch, keep the numbers, and hand them to the loggers."""
        step = trainer.global_step - 1
        if step % self.every:
            return
        last, states = module.last_step, module.last_step.states
        if states is None:  # no loss needed the [B, T, C] states: read them from what was encoded
            states = module.model.read(last.encoded, batch.valid, logits=last.logits)
        seen = batch_sums(states, batch.responses, batch.valid)
        values = batch_metrics(BatchSums.together(gathered(seen)), states.gains.shape[-1])
        floats = {f"monitor/{name}": float(value) for name, value in values.items()}
        pace = {
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "loss": float(outputs["loss"]),
            "gradient_norm": float(self._gradient_norm),
        }
        self.rows.append({"step": step, "epoch": trainer.current_epoch, **pace, **floats})
        for logger in trainer.loggers:
            logger.log_metrics(floats, step=step)


def pearson(x: Float[Tensor, "N"], y: Float[Tensor, "N"]) -> Scalar:
    """Pearson r; NaN without spread in either."""
    x, y = _centred(x.double()), _centred(y.double())
    spread = (x * x).sum() * (y * y).sum()
    return torch.where(spread > 0, (x * y).sum() / spread.sqrt(), torch.nan)


def _centred(values: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Values minus their mean, with 0 for a difference that is only rounding."""
    apart = values - values.mean()
    return torch.where(apart.abs() > 1e-12 * values.abs(), apart, 0.0)


def skill_average_pearson(
    x: Float[Tensor, "N"], y: Float[Tensor, "N"], skill: Int[Tensor, "N"], n_skills: int
) -> Scalar:
    """Mean over skills of the r within each skill; NaN where no skill defines one."""
    x, y = x.double(), y.double()

    def total(values: Tensor) -> Tensor:
        return x.new_zeros(n_skills).index_add(0, skill, values)

    n = total(torch.ones_like(x)).clamp(min=1)
    x, y = x - (total(x) / n)[skill], y - (total(y) / n)[skill]
    spread = total(x * x) * total(y * y)
    r = torch.where(spread > 1e-18, total(x * y) / spread.sqrt(), torch.nan)
    return r.nanmean()


@dataclass
class BatchSums:
    """What one batch contributes: sums of counts, and a value per step (N) or prediction (M).

    Attributes
    ----------
    counts : sums over the batch of `kt_core.metrics.invariants`, those of the filtered state under
        ``filtered_``.
    pre, post : [M], mastery of the skill asked, before and after the answer.
    predicted, correct, skill : [M], of the same answers.
    own_gain, own_correct : [N], of all steps.
    """

    counts: dict[str, Tensor]
    pre: Float[Tensor, "M"]
    post: Float[Tensor, "M"]
    predicted: Float[Tensor, "M"]
    correct: Float[Tensor, "M"]
    skill: Int[Tensor, "M"]
    own_gain: Float[Tensor, "N"]
    own_correct: Float[Tensor, "N"]

    @classmethod
    def together(cls, parts: list[BatchSums]) -> BatchSums:
        """Several batches as one; they may come from different processes."""
        counts = {name: sum(p.counts[name] for p in parts) for name in parts[0].counts}
        steps = [f.name for f in fields(cls) if f.name != "counts"]
        return cls(counts, *(torch.cat([getattr(p, name) for p in parts]) for name in steps))


def batch_sums(states: States, responses: Ids, valid: Valid) -> BatchSums:
    """What the states of one batch contribute; constraints are counted on the trajectory."""
    s, target, skills = states, valid[:, 1:], states.encoded.skills
    counts = violations(s.trajectory, s.gains, skills, responses, valid, rested=s.rested)
    counts |= saturation(s.trajectory, s.gains, valid)
    live = violations(s.filtered, s.gains, skills, responses, valid)
    counts |= {f"filtered_monotonicity{e}": live[f"monotonicity{e}"] for e in ("", "_n")}
    return BatchSums(
        {name: value.sum() for name, value in counts.items()},
        pre=s.asked[target],
        post=at_skill(s.filtered, skills)[:, 1:][target],
        predicted=s.logits.sigmoid()[target],
        correct=responses[:, 1:][target].float(),
        skill=skills[:, 1:][target],
        own_gain=s.own_gains[valid],
        own_correct=responses[valid].float(),
    )


def batch_metrics(seen: BatchSums, n_skills: int) -> dict[str, Tensor]:
    """The monitored values by name: violations, correlations and signs of collapse."""
    counts, entries = seen.counts, seen.counts["entries"]
    return {
        **{f"violations/{name}": torch.as_tensor(v) for name, v in shares(counts).items()},
        "correlation/mastery_response_pre": pearson(seen.pre, seen.correct),
        "correlation/prediction_response_pre": pearson(seen.predicted, seen.correct),
        "correlation/gain_correctness_post": pearson(seen.own_gain, seen.own_correct),
        "correlation/mastery_prediction_post": skill_average_pearson(
            seen.post, seen.predicted, seen.skill, n_skills
        ),
        "collapse/share_at_bounds": counts["at_bounds"] / entries,
        "collapse/share_zero_gains": counts["zero_gains"] / entries,
        "mean/own_mastery": seen.post.mean(),
        "mean/own_gain": seen.own_gain.mean(),
    }
