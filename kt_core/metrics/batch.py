"""The monitor's measures: one batch in, one flat dict of numbers out, no Python loops.

`glance` reads a batch, `batch_metrics` makes the numbers; between the two, what several processes
have read is put together. The masks and labels are those of section 6 of the design; the sums run
over one training step only, so these are curves to watch, not results to report. B learners, T
steps, C skills.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kt_core.metrics.invariants import saturation, shares, violations


def pearson(x: Float[Tensor, "N"], y: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """Pearson r; NaN without spread in either."""
    x, y = _centred(x.double()), _centred(y.double())
    spread = (x * x).sum() * (y * y).sum()
    return torch.where(spread > 0, (x * y).sum() / spread.sqrt(), torch.nan)


def _centred(values: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Values minus their mean; differences that are rounding are none."""
    apart = values - values.mean()
    return torch.where(apart.abs() > 1e-12 * values.abs(), apart, 0.0)


def skill_average_pearson(
    x: Float[Tensor, "N"], y: Float[Tensor, "N"], skill: Int[Tensor, "N"], n_skills: int
) -> Float[Tensor, ""]:
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
class Glance:
    """What one batch adds: sums of counts, and a value per step (N) or per prediction (M).

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
    def together(cls, parts: list[Glance]) -> Glance:
        """Several batches as one, in whatever process each was read."""
        counts = {name: sum(p.counts[name] for p in parts) for name in parts[0].counts}
        steps = [f.name for f in fields(cls) if f.name != "counts"]
        return cls(counts, *(torch.cat([getattr(p, name) for p in parts]) for name in steps))


def glance(
    mastery: Float[Tensor, "B T C"],
    trajectory: Float[Tensor, "B T C"],
    gains: Float[Tensor, "B T C"],
    logits: Float[Tensor, "B P"],
    skills: Int[Tensor, "B T"],
    responses: Int[Tensor, "B T"],
    valid: Bool[Tensor, "B T"],
) -> Glance:
    """What a batch has to say.

    Parameters
    ----------
    mastery : the filtered field, so that shifted by one step it is pre-response.
    trajectory : as believed at the last step; on it the constraints are counted.
    """
    target, asked = valid[:, 1:], skills[:, 1:].unsqueeze(-1)
    counts = violations(trajectory, gains, skills, responses, valid)
    counts |= saturation(trajectory, gains, valid)
    live = violations(mastery, gains, skills, responses, valid)
    counts |= {f"filtered_monotonicity{e}": live[f"monotonicity{e}"] for e in ("", "_n")}
    return Glance(
        {name: value.sum() for name, value in counts.items()},
        pre=mastery[:, :-1].gather(-1, asked).squeeze(-1)[target],
        post=mastery[:, 1:].gather(-1, asked).squeeze(-1)[target],
        predicted=logits.sigmoid()[target],
        correct=responses[:, 1:][target].float(),
        skill=skills[:, 1:][target],
        own_gain=gains.gather(-1, skills.unsqueeze(-1)).squeeze(-1)[valid],
        own_correct=responses[valid].float(),
    )


def batch_metrics(seen: Glance, n_skills: int) -> dict[str, Tensor]:
    """Violations, correlations and collapse."""
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
