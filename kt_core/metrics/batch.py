"""The monitor's measures: one batch in, one flat dict of numbers out, no Python loops.

The masks and labels are those of section 6 of the design; the sums run over one batch only, so
these are curves to watch, not results to report. B learners, T steps, C skills.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kt_core.metrics.invariants import saturation, shares, violations


def pearson(x: Float[Tensor, "N"], y: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """Pearson r; NaN without spread in either."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    spread = (x * x).sum() * (y * y).sum()
    return torch.where(spread > 0, (x * y).sum() / spread.sqrt(), torch.nan)


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


def batch_metrics(
    mastery: Float[Tensor, "B T C"],
    trajectory: Float[Tensor, "B T C"],
    gains: Float[Tensor, "B T C"],
    logits: Float[Tensor, "B P"],
    skills: Int[Tensor, "B T"],
    responses: Int[Tensor, "B T"],
    valid: Bool[Tensor, "B T"],
) -> dict[str, Tensor]:
    """Violations, correlations and collapse of one batch.

    Parameters
    ----------
    mastery : the filtered field, so that shifted by one step it is pre-response.
    trajectory : as believed at the last step; on it the constraints are counted.
    """
    target = valid[:, 1:]
    asked = skills[:, 1:].unsqueeze(-1)
    pre = mastery[:, :-1].gather(-1, asked).squeeze(-1)[target]
    post = mastery[:, 1:].gather(-1, asked).squeeze(-1)[target]
    own_gain = gains.gather(-1, skills.unsqueeze(-1)).squeeze(-1)[valid]
    correct = responses[:, 1:][target].float()
    predicted, C = logits.sigmoid()[target], mastery.shape[-1]
    counts = violations(trajectory, gains, skills, responses, valid)
    live = violations(mastery, gains, skills, responses, valid)
    counts |= {f"filtered_monotonicity{e}": live[f"monotonicity{e}"] for e in ("", "_n")}
    full = saturation(trajectory, gains, valid)
    return {
        **{f"violations/{name}": torch.as_tensor(v) for name, v in shares(counts).items()},
        "correlation/mastery_response_pre": pearson(pre, correct),
        "correlation/prediction_response_pre": pearson(predicted, correct),
        "correlation/gain_correctness_post": pearson(own_gain, responses[valid].float()),
        "correlation/mastery_prediction_post": skill_average_pearson(
            post, predicted, skills[:, 1:][target], C
        ),
        "collapse/share_at_bounds": full["at_bounds"].sum() / full["entries"].sum(),
        "collapse/share_zero_gains": full["zero_gains"].sum() / full["entries"].sum(),
        "mean/own_mastery": post.mean(),
        "mean/own_gain": own_gain.mean(),
    }
