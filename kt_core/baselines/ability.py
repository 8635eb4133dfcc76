"""One ability per learner, spread normally, in a logistic model of answers: its parts and its fit.

    log-odds of a right answer = ability + skill_k + slope_k f(opportunities on k) - item_i

The ability is not a parameter: likelihood and beliefs are sums over a grid of its values, weighted
by the prior N(0, sd). Skills, slopes and items maximise the marginal likelihood times normal priors
(Bock & Aitkin 1981), so that a learner with few answers does not distort them.

Dimensions: N interactions, S sequences, C skills, I items, Q nodes of the grid, X cells (skill,
item and number of earlier opportunities), K parameters (2 C + I).

References
----------
Bock, R. D., & Aitkin, M. (1981). Marginal maximum likelihood estimation of item parameters:
application of an EM algorithm. Psychometrika, 46, 443-459.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from kt_core.baselines.counts import earlier, item_of, sequence_of
from kt_core.data.sequences import Sequences, rows_of
from kt_core.metrics.nulls import base_rates

# For smooth integrands the error of such a sum falls faster than any power of the spacing: below
# 1e-5 of the weights while the posterior's sd is over 0.8 spacings, which takes 300 answers.
SPACING = 0.15  # logits between nodes
REACH = 5.0  # standard deviations to either side
SKILL_SD = 1.0  # of the prior of a skill around the mean skill, in logits
BLOCK = 8192  # padded steps at a time, which keep [steps, Q] in the cache


@dataclass(frozen=True)
class Prior:
    """Standard deviations of the normal priors, in logits.

    Attributes
    ----------
    ability : of learners around 0.
    item : of items around their skill.
    slope : of slopes around the mean slope.
    """

    ability: float = 1.0
    item: float = 0.5
    slope: float = 0.1


@dataclass(frozen=True)
class Effects:
    """The fitted model, in logits.

    Attributes
    ----------
    skill, slope : [C]; slopes are >= 0.
    item : [I + 1], zero-mean within a skill; entry 0 is an unknown item and is 0.
    sd : of abilities.
    logs : whether opportunities n count as log(1 + n).
    """

    skill: np.ndarray
    slope: np.ndarray
    item: np.ndarray
    sd: float
    logs: bool = False

    def practised(self, opportunities: np.ndarray) -> np.ndarray:
        """f(opportunities)."""
        return np.log1p(opportunities) if self.logs else np.asarray(opportunities, float)

    def difficulty(self, sequences: Sequences) -> np.ndarray:
        """Of the item of each interaction, [N]; 0 where it was not met in training."""
        return self.item[known_item(sequences, len(self.item) - 1)]


def known_item(sequences: Sequences, items: int) -> np.ndarray:
    """Item of each interaction, [N]; 0 above `items`."""
    item = item_of(sequences)
    return np.where(item <= items, item, 0)


def opportunities(sequences: Sequences, skills: int) -> np.ndarray:
    """Number of earlier answers on the asked skill in the same sequence, [N]."""
    pair = sequence_of(sequences) * skills + sequences.skill
    return earlier(pair, np.ones_like(pair))


def grid(sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of ability, [Q], and the log of the prior on them, [Q], which sums to one."""
    half = int(np.ceil(REACH * sd / SPACING))
    nodes = SPACING * np.arange(-half, half + 1)
    prior = -0.5 * (nodes / sd) ** 2
    return nodes, prior - logsumexp(prior)


class Marginal:
    """Training answers, ready for fits with several priors.

    Parameters
    ----------
    slopes : whether practice counts; if not, all slopes are 0.
    logs : see `Effects`.
    """

    def __init__(
        self, sequences: Sequences, item_skill: np.ndarray, skills: int, slopes: bool, logs: bool
    ):
        self.skills, self.slopes, self.logs = skills, slopes, logs
        self.item_skill = np.asarray(item_skill, np.int64)
        self.items = len(self.item_skill)
        n = opportunities(sequences, skills) * slopes
        item, sequence = known_item(sequences, self.items), sequence_of(sequences)
        key = (item * skills + sequences.skill) * (n.max(initial=0) + 1) + n
        _, first, cell = np.unique(key, return_index=True, return_inverse=True)
        shape = (len(sequences), len(first))
        self.met = sparse.csr_matrix((np.ones(len(cell)), (sequence, cell)), shape)
        self.met_by = self.met.T.tocsr()
        self.right = np.bincount(cell, sequences.response, shape[1])
        self.right_of = np.bincount(sequence, sequences.response, shape[0])
        self.design = self._design(sequences.skill[first], item[first], n[first])
        rates = base_rates(sequences.skill, sequences.response, skills).clip(0.02, 0.98)
        self.start = np.zeros(2 * skills + self.items)
        self.start[:skills] = np.log(rates / (1 - rates))
        self.start[skills : 2 * skills] = 0.05 * slopes

    def _design(self, skill: np.ndarray, item: np.ndarray, n: np.ndarray) -> sparse.csr_matrix:
        """[X, K], what each parameter adds to the log-odds of a cell."""
        C, row = self.skills, np.arange(len(skill))
        practised = np.log1p(n) if self.logs else n.astype(float)
        entries = [(np.ones(len(row)), skill), (practised, C + skill)]
        entries.append((-(item > 0).astype(float), 2 * C + np.maximum(item - 1, 0)))
        value, column = (np.concatenate(x) for x in zip(*entries, strict=True))
        shape = (len(row), 2 * C + max(self.items, 1))
        matrix = sparse.csr_matrix((value, (np.tile(row, 3), column)), shape)
        return matrix[:, : 2 * C + self.items]

    def objective(self, theta: np.ndarray, prior: Prior) -> tuple[float, np.ndarray]:
        """Minus the log of the marginal likelihood and priors at `theta` [K], and its gradient."""
        nodes, log_prior = grid(prior.ability)
        level = self.design @ theta
        right, wrong = chances(level, nodes)
        # A right answer has the log-odds more than a wrong one: only wrong ones are summed here.
        given = log_prior + self.right_of[:, None] * nodes + self.met @ np.log(wrong, out=wrong)
        highest = given.max(axis=1, keepdims=True)
        weight = np.exp(given - highest, out=given)
        total = weight.sum(axis=1, keepdims=True)
        weight /= total
        expected = np.einsum("xq,xq->x", self.met_by @ weight, right)
        penalty, slope = self._penalty(theta, prior)
        value = penalty - self.right @ level - (np.log(total) + highest).sum()
        return value, slope + self.design.T @ (expected - self.right)

    def _penalty(self, theta: np.ndarray, prior: Prior) -> tuple[float, np.ndarray]:
        """Minus the log of the priors, up to a constant, and its gradient [K]."""
        C = self.skills
        skill, slope, item = theta[:C], theta[C : 2 * C], theta[2 * C :]
        parts = (skill - skill.mean(), slope - slope.mean(), item)
        precisions = SKILL_SD**-2, prior.slope**-2, prior.item**-2
        value = sum(0.5 * p * (x @ x) for p, x in zip(precisions, parts, strict=True))
        return value, np.concatenate([p * x for p, x in zip(precisions, parts, strict=True)])

    def fit(
        self, prior: Prior, start: np.ndarray | None = None, tolerance: float = 1e-8
    ) -> tuple[Effects, np.ndarray]:
        """The effects that maximise the posterior, and the parameters [K] behind them."""
        start = self.start if start is None else start
        scale = np.sqrt(self._curvature(start, prior))
        low = np.full(len(start), -np.inf)
        low[self.skills : 2 * self.skills] = 0.0
        high = np.where((low == 0) & (not self.slopes), 0.0, np.inf)

        def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self.objective(x / scale, prior)
            return value, slope / scale

        found = minimize(
            scaled,
            start * scale,
            jac=True,
            method="L-BFGS-B",
            bounds=np.column_stack([low, high]),
            options={"maxiter": 500, "maxcor": 20, "ftol": tolerance, "gtol": 1e-3},
        )
        theta = found.x / scale
        return self._named(theta, prior), theta

    def _curvature(self, theta: np.ndarray, prior: Prior) -> np.ndarray:
        """About the diagonal of the second derivative, [K]: it makes parameters comparable."""
        p, C = expit(self.design @ theta), self.skills
        answers = np.asarray(self.met.sum(axis=0)).ravel()
        data = self.design.multiply(self.design).T @ (answers * p * (1 - p))
        sds = np.repeat([SKILL_SD, prior.slope, prior.item], [C, C, self.items])
        return data + sds**-2.0

    def _named(self, theta: np.ndarray, prior: Prior) -> Effects:
        """Items centred within their skills, which take up what is removed."""
        C, item = self.skills, theta[2 * self.skills :]
        count = np.bincount(self.item_skill, minlength=C).clip(min=1)
        mean = np.bincount(self.item_skill, item, C) / count
        centred = np.append(0.0, item - mean[self.item_skill])
        slope = theta[C : 2 * C].clip(min=0)
        return Effects(theta[:C] - mean, slope, centred, prior.ability, self.logs)


@dataclass(frozen=True)
class Beliefs:
    """Beliefs about the abilities of a block of sequences, as weights of the nodes.

    Attributes
    ----------
    sequence, lengths : [B], their numbers and lengths.
    states : [B, T + 1, Q], after 0, 1, ... steps; each sums to one over the nodes.
    row, own, step : [M], the rows of their interactions, whose each is (0..B-1), and its step.
    right, wrong : [M, Q], probability of either answer at each node.
    """

    sequence: np.ndarray
    lengths: np.ndarray
    states: np.ndarray
    row: np.ndarray
    own: np.ndarray
    step: np.ndarray
    right: np.ndarray
    wrong: np.ndarray

    @property
    def before(self) -> np.ndarray:
        """[M, Q], before each interaction."""
        return self.states[self.own, self.step]

    @property
    def last(self) -> np.ndarray:
        """[M, Q], after the last step of the interaction's sequence."""
        return self.states[self.own, self.lengths[self.own]]


def chances(level: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(right) and P(wrong) at each level [...] and node [Q], each [..., Q]."""
    wrong = np.exp(-level)[..., None] * np.exp(-nodes)  # the odds, until the last line
    right = 1 / (1 + wrong)
    return right, np.multiply(wrong, right, out=wrong)


def beliefs(sequences: Sequences, effects: Effects, level: np.ndarray) -> Iterator[Beliefs]:
    """Bayes' rule along each sequence, for blocks of sequences of similar length.

    Parameters
    ----------
    level : [N], log-odds of a right answer at ability 0.
    """
    nodes, log_prior = grid(effects.sd)
    order = np.argsort(-sequences.lengths, kind="stable")
    while len(order):
        T = int(sequences.lengths[order[0]])
        block, order = np.split(order, [max(1, BLOCK // T)])
        starts, lengths = sequences.starts[block], sequences.lengths[block]
        row, own = rows_of(starts, lengths), np.repeat(np.arange(len(block)), lengths)
        step = row - starts[own]
        right, wrong = chances(level[row], nodes)
        said = np.zeros((len(block), T + 1, len(nodes)))
        said[own, step + 1] = np.log(np.where(sequences.response[row, None] == 1, right, wrong))
        states = _normal(log_prior + np.cumsum(said, axis=1))
        yield Beliefs(block, lengths, states, row, own, step, right, wrong)


def _normal(logs: np.ndarray) -> np.ndarray:
    weight = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


def mean(weight: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Weighted sum over nodes, [...], summed in the same order in every row."""
    return (weight * value).sum(axis=-1)


def chance(weight: np.ndarray, right: np.ndarray) -> np.ndarray:
    """`mean` of probabilities, which is one: rounding would pass 1 by a unit."""
    return np.minimum(mean(weight, right), 1.0)
