"""The skeleton against a filter that goes answer by answer, and against integrals."""

import copy

import numpy as np
import pytest
import torch
from conftest import stir
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from torch.nn import functional as F

from kt_core import skeleton as module
from kt_core.layers import HIDDEN
from kt_core.posterior import Shared, matched, shrinkage
from kt_core.skeleton import Skeleton

C = 4


def make(seed=0, transfer=False, scale=0.4):
    torch.manual_seed(seed)
    return stir(Skeleton(C, transfer).double(), scale)


def answers(B=3, T=10, seed=0, hidden=True):
    g = torch.Generator().manual_seed(seed)
    q = torch.randint(0, C, (B, T), generator=g)
    r = torch.randint(0, HIDDEN + hidden, (B, T), generator=g)
    return q, r, 0.5 * torch.randn(B, T, generator=g, dtype=torch.float64)


def slow_gain(s, k, r, n):
    """Of the n-th opportunity on k, counted from 0."""
    factor, rate = s.log_answer.exp(), s.offset[k].sigmoid()
    usual = rate * factor[1] + (1 - rate) * factor[0]
    by_answer = usual if r == HIDDEN else factor[int(r)]
    return s.log_gain[k].exp() * (1 + n) ** -F.softplus(s.raw_decay) * by_answer


class Slow:
    """One learner: (ability, speed, start of each skill) as one normal distribution, moved by one
    answer at a time."""

    def __init__(self, s):
        self.s, self.practice, self.n = s, torch.zeros(C).double(), [0] * C
        self.mean, self.cov = torch.zeros(2 + C).double(), torch.eye(2 + C).double()

    def level(self, k, practice=None):
        """Mean and variance of the level, and its derivative."""
        s = self.s
        practice = self.practice[k] if practice is None else practice
        grown = (s.log_speed.exp() * self.mean[1]).exp() * practice
        h = torch.zeros(2 + C).double()
        h[0], h[1], h[2 + k] = s.loading[k], s.log_speed.exp() * grown, s.log_spread.exp()
        mean = s.offset[k] + h[0] * self.mean[0] + h[2 + k] * self.mean[2 + k] + grown
        return mean, h @ self.cov @ h, h

    def answer(self, k, r, d):
        mean, variance, h = self.level(k)
        if r != HIDDEN:
            shrink = (1 + torch.pi / 8 * variance) ** -0.5
            p = (shrink * (mean - d)).sigmoid()
            self.mean = self.mean + self.cov @ h * shrink * (r - p)
            move = self.cov @ h
            self.cov = self.cov - torch.outer(move, move) * shrink**2 * p * (1 - p)
        self.practice = self.practice + self.s.shares()[k] * slow_gain(self.s, k, r, self.n[k])
        self.n[k] += 1


@pytest.mark.parametrize("transfer", [False, True])
def test_all_steps_at_once_are_answers_one_by_one(transfer, monkeypatch):
    s, (q, r, d) = make(transfer=transfer), answers()
    monkeypatch.setattr(module, "ROUNDS", 12)
    reading = s.read(q, r, d)
    horizon = torch.tensor([3, 6, 9])
    at, (pairs, _) = reading.at(horizon), reading.pairs()
    doubt = reading.doubt(horizon)
    every, gains = reading.every_skill()
    for b in range(3):
        slow = Slow(s)
        for t in range(10):
            k = int(q[b, t])
            mean, variance, _ = slow.level(k)
            want = shrinkage(variance) * (mean - d[b, t])
            torch.testing.assert_close(reading.logits[b, t], want)
            torch.testing.assert_close(reading.practice[b, t], slow.practice[k])
            slow.answer(k, r[b, t], d[b, t])
            for j in range(C):
                mean, variance, _ = slow.level(j)
                level = every.belief[b, t, j] + every.factor[b, t, j] * gains[b, t, j]
                torch.testing.assert_close(level, shrinkage(variance) * mean)
                torch.testing.assert_close(every.variance[b, t, j], variance)
            for part in ("belief", "factor", "shrink"):
                of_pairs, of_every = getattr(pairs, part)[b, t], getattr(every, part)[b, t]
                here = of_every[q[b]]
                torch.testing.assert_close(of_pairs, here)
                if t == horizon[b]:
                    torch.testing.assert_close(getattr(at, part)[b], here)
            if t == horizon[b]:
                known = copy.deepcopy(slow)
        for t in range(10):  # along the trajectory, as believed at the horizon
            after = reading.practice[b, t] + reading.gains[b, t]
            _, variance, h = known.level(int(q[b, t]), after)
            deviation, speed = variance.sqrt(), known.cov[1, 1].sqrt()
            torch.testing.assert_close(doubt.deviation[b, t], deviation)
            torch.testing.assert_close(doubt.of_speed[b, t], (h @ known.cov)[1] / speed)
            torch.testing.assert_close(doubt.log_speed[b, t], s.log_speed.exp() * speed)


def test_a_few_rounds_are_enough(monkeypatch):
    """Also for long histories of learners who are far from the mean."""
    torch.manual_seed(1)
    s = make(scale=0.2)
    q = torch.randint(0, C, (20, 150))
    ability = torch.linspace(-4, 4, 20).unsqueeze(1)
    r = (torch.rand(20, 150) < ability.sigmoid()).long()
    few = s.read(q, r).logits
    monkeypatch.setattr(module, "ROUNDS", 60)
    gap = (s.read(q, r).logits - few).abs()
    assert gap.max() < 0.05 and gap.mean() < 0.002


@given(seed=st.integers(0, 100), transfer=st.booleans())
def test_what_another_answer_would_have_done(seed, transfer):
    s, (q, r, d) = make(seed, transfer), answers(B=2, T=7, seed=seed, hidden=False)
    reading = s.read(q, r, d)
    for t in range(7):
        other = r.clone()
        other[:, t] = 1 - other[:, t]
        for responses in (r, other):
            level, practice = reading.answered(responses)
            got = (level.belief + level.factor * practice)[:, t]
            every = s.read(q, responses, d)
            states, done = every.every_skill()
            now = states.belief + states.factor * done
            want = now[:, t].gather(1, q[:, t : t + 1]).squeeze(1)
            torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_after_a_step_practice_counts_as_if_answers_were_hidden():
    s, (q, r, _) = make(transfer=True), answers(B=1, T=8, hidden=False)
    _, practice = s.read(q, r).pairs()
    for step in range(8):
        unseen = torch.where(torch.arange(8) > step, HIDDEN, r)
        want = s.read(q, unseen).practice
        torch.testing.assert_close(practice[0, step, step + 1 :], want[0, step + 1 :])


def test_a_belief_is_near_the_integral():
    """Moment matching is not exact; the means are within 0.1 standard deviations."""
    s = make(scale=0.0)
    with torch.no_grad():
        s.log_spread.fill_(-20.0)  # ability and practice only
        s.log_speed.fill_(-20.0)
    g, nodes = torch.Generator().manual_seed(0), np.linspace(-7, 7, 2001)
    q, r = torch.zeros(40, 12).long(), torch.randint(0, 2, (40, 12), generator=g)
    reading = s.read(q, r)
    a = Shared.of(reading.information)
    grown = reading.practice.numpy() + s.offset[0].item()
    for b in range(40):
        p = expit(grown[b] + nodes[:, None])
        likelihood = np.where(r[b].numpy() == 1, p, 1 - p).prod(1) * np.exp(-(nodes**2) / 2)
        weight = likelihood / likelihood.sum()
        mean = weight @ nodes
        sd = np.sqrt(weight @ (nodes - mean) ** 2)
        assert abs(a.ability[b, -1].item() - mean) < 0.1 * sd
        assert a.ability_variance[b, -1].item() == pytest.approx(sd**2, rel=0.15)


def test_an_answer_moves_mean_and_variance_as_its_posterior_does():
    mean, variance = torch.tensor([[0.7]]).double(), torch.tensor([[1.3]]).double()
    nodes = np.linspace(-12, 12, 20001)
    for right in (True, False):
        weight, pull = matched(mean, variance, mean, torch.tensor([[right]]))
        got = 1 / (1 / variance + weight)
        prior = np.exp(-((nodes - 0.7) ** 2) / 2 / 1.3)
        density = prior * expit(nodes if right else -nodes)
        density /= density.sum()
        want = density @ nodes
        assert (got * (mean / variance + pull)).item() == pytest.approx(want, abs=0.02)
        assert got.item() == pytest.approx(density @ (nodes - want) ** 2, rel=0.03)


def test_hidden_answers_say_nothing_and_still_are_practice():
    s, (q, r, d) = make(), answers(hidden=False)
    nothing = s.read(q, torch.full_like(r, HIDDEN), d)
    assert (nothing.information == 0).all() and (
        nothing.features(r * 0 + HIDDEN)[..., 1] == 0
    ).all()
    assert (nothing.gains > 0).all() and nothing.practice[:, -1].max() > 0


def test_half_precision_reads_in_single():
    s, (q, r, _) = make(), answers()
    half = Skeleton(C).to(torch.bfloat16)
    half.load_state_dict(s.state_dict())
    assert half.read(q, r).logits.dtype == torch.float32


def test_mixed_precision_changes_nothing():
    s, (q, r, _) = make(transfer=True).float(), answers()
    plain = s.read(q, r)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = s.read(q, r)
        others = mixed.at(torch.tensor([3, 6, 9])), mixed.every_skill()[0], mixed.pairs()[0]
    assert torch.equal(plain.logits, mixed.logits)
    same = plain.at(torch.tensor([3, 6, 9])), plain.every_skill()[0], plain.pairs()[0]
    assert all(torch.equal(a.belief, b.belief) for a, b in zip(others, same, strict=True))


def test_no_parameter_is_trained_with_the_network():
    assert not any(p.requires_grad for p in Skeleton(C, transfer=True).parameters())


def test_shares_of_a_gain_are_whole_on_its_own_skill_and_never_below_zero():
    s = make(transfer=True)
    with torch.no_grad():
        s.raw_transfer.copy_(torch.linspace(-1, 1, C * C).view(C, C))
    shares, own = s.shares(), torch.eye(C, dtype=torch.bool)
    assert (shares[own] == 1).all() and torch.equal(shares[~own], s.raw_transfer[~own].relu())
    q = torch.tensor([[0, 2, 1]])
    reach = s.reach(q)[0]
    for i in range(3):
        for u in range(3):
            assert reach[i, u] == shares[q[0, u], q[0, i]]


def test_shares_that_are_looked_up_are_those_of_the_product_that_gradients_are_taken_by():
    s, q = make(transfer=True), answers()[0]
    with torch.no_grad():
        found = s.reach(q)
    assert not s.reach(q).requires_grad and torch.equal(s.reach(q), found)
    s.requires_grad_(True)
    assert s.reach(q).requires_grad and torch.equal(s.reach(q), found)
    assert (
        not torch.equal(found, torch.ones_like(found))
        and (found.diagonal(dim1=1, dim2=2) == 1).all()
    )


@pytest.mark.parametrize("answer", [0, 1])
@pytest.mark.parametrize("steps", [100, 400])
def test_long_runs_of_one_answer_settle(answer, steps, monkeypatch):
    """All steps at once would never settle: the practice of 100 wrong answers says "mastered"."""
    torch.manual_seed(0)
    s = make(scale=0.2)
    with torch.no_grad():
        s.raw_decay.fill_(-1.0)
    q, r = torch.zeros(3, steps, dtype=torch.long), torch.full((3, steps), answer)
    r[1], q[1] = torch.randint(2, (steps,)), torch.randint(C, (steps,))
    r[2, ::2] = 1 - answer
    read = s.read(q, r)
    monkeypatch.setattr(module, "STILL", -1.0)
    monkeypatch.setattr(module, "BLOCK", 1)  # answer by answer
    want = s.read(q, r)
    for name in ("mean", "variance"):
        torch.testing.assert_close(getattr(read, name), getattr(want, name), rtol=0.05, atol=0.05)
    later = read.every_skill()[0].belief[:, -1]
    assert later.isfinite().all() and read.features(r).abs().max() < 10
