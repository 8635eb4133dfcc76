"""Answers on several skills: what they say about each, against exact computations."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import stir
from scipy.special import expit

from kt_core.config import ModelConfig
from kt_core.data import Sequences, Vocabulary, make_splits, read_dataset
from kt_core.data.sequences import rows_of
from kt_core.evaluation.evaluate import evaluate
from kt_core.layers import HIDDEN
from kt_core.model import GainAKT2
from kt_core.parts import Parts
from kt_core.posterior import Answers
from kt_core.skeleton import Skeleton
from kt_core.training.skeleton import fit_skeleton

PARTS = ((0,), (1,), (2,), (0, 1), (0, 1, 2))  # three single skills, a pair and all three
C = len(PARTS)


def skeleton(parts=PARTS, seed=0, **kind):
    torch.manual_seed(seed)
    return stir(Skeleton(C, parts=parts, **kind).double(), 0.3)


def answers(B=2, T=30, seed=0, hidden=False):
    g = torch.Generator().manual_seed(seed)
    skills = torch.randint(0, C, (B, T), generator=g)
    return skills, torch.randint(0, 3 if hidden else 2, (B, T), generator=g)


def test_shares_and_likeness_by_hand():
    parts = Parts(PARTS)
    assert parts.share[3].tolist() == pytest.approx([1, 1, 0, 1, 2 / 3])  # of a gain on the pair
    assert parts.share[0].tolist() == pytest.approx([1, 0, 0, 1 / 2, 1 / 3])
    root = 2**-0.5
    assert parts.likeness[3].tolist() == pytest.approx([root, root, 0, 1, 2 / 6**0.5])
    assert torch.linalg.eigvalsh(parts.likeness).min() >= -1e-6  # a correlation matrix
    free = torch.tensor([1.0, 3.0, -1.0, 0.5, 0.0])
    assert parts.mixed(free).tolist() == pytest.approx([1, 3, -1, 2.5, 1])
    assert parts.single.tolist() == [True, True, True, False, False]
    assert parts.slots.tolist() == [3 * [-1], 3 * [-1], 3 * [-1], [0, 1, -1], [0, 1, 2]]


@pytest.mark.parametrize("retentive", [False, True])
@pytest.mark.parametrize("steps", [30, 300])
@torch.no_grad()
def test_without_combinations_nothing_changes(retentive, steps):
    alone = tuple((k,) for k in range(C))
    a, b = (skeleton(p, retentive=retentive) for p in ((), alone))
    own = b.load_state_dict(a.state_dict(), strict=False)
    assert own.missing_keys == ["raw_passed"] and not own.unexpected_keys
    skills, responses = answers(T=steps, hidden=True)
    x, y = a.read(skills, responses), b.read(skills, responses)
    for name in ("logits", "practice", "variance"):
        torch.testing.assert_close(getattr(x, name), getattr(y, name), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_one_answer_says_what_the_joint_posterior_says():
    """Of the start on another skill, next to a normal posterior of all starts at once: the same to
    first order in the weight of the answer."""
    s = skeleton()
    asked, weight, pull = 3, 0.2, 0.3
    tables = torch.zeros(1, C, 4, dtype=torch.float64)
    tables[0, asked] = torch.tensor([weight, 0.0, 0.0, pull])
    found = s.about_starts(tables)[0]
    spread = s.spread.item()
    like = s.parts.likeness.double().numpy()
    precise = np.linalg.pinv(like)  # of the starts, in their standard deviations
    h = np.zeros(C)
    h[asked] = spread
    variance = np.linalg.pinv(precise + weight * np.outer(h, h))
    want = variance @ (h * pull)
    got = spread * found[:, 3].numpy() / (1 + spread**2 * found[:, 0].numpy())
    np.testing.assert_allclose(got[asked], want[asked], rtol=1e-6)
    np.testing.assert_allclose(got, want, atol=0.5 * weight * spread**2 * abs(want).max())
    assert got[2] == 0 and (got[[0, 1, 4]] > 0).all()


@torch.no_grad()
def test_practice_is_passed_on():
    """Practice before each step by a plain loop over steps and parts."""
    s = skeleton()
    skills, responses = answers()
    reading, passed = s.read(skills, responses), s.raw_passed.sigmoid().item()
    for b in range(len(skills)):
        for t in range(skills.shape[1]):
            asked, total = PARTS[skills[b, t]], 0.0
            for u in range(t):
                done = PARTS[skills[b, u]]
                common = len(set(done) & set(asked)) / len(asked)
                share = 1.0 if done == asked else passed * common
                total += share * reading.gains[b, u].item()
            assert reading.practice[b, t].item() == pytest.approx(total, abs=1e-6)


@torch.no_grad()
def test_doubt_about_the_skill_asked_is_that_of_the_reading():
    skills, responses = answers(hidden=True)
    reading, last = skeleton().read(skills, responses), torch.tensor([29, 12])
    own, same = reading.doubt(last), reading.doubt(last, skills)
    for name in ("deviation", "of_speed", "log_speed"):
        torch.testing.assert_close(getattr(own, name), getattr(same, name))


@torch.no_grad()
def test_information_never_falls():
    """What answers add to what is known of ability and speed is never less than nothing, however
    much like skills have told already."""
    s = skeleton()
    reading = s.read(*answers(B=20, T=60))
    added = reading.information.diff(dim=1)
    a, both, z = added[..., 0], added[..., 1], added[..., 2]
    assert (a >= -1e-9).all() and (z >= -1e-9).all()
    assert (a * z - both**2 >= -1e-9).all()
    assert isinstance(reading.added, Answers)


def table(learners=300, skills=4, steps=40, seed=0):
    """Learners whose answers need one to three skills; and their mastery of each at the end."""
    rng, rows, truth = np.random.default_rng(seed), [], []
    easy, gain = rng.normal(0, 0.7, skills), rng.gamma(4, 0.04, skills)
    for learner in range(learners):
        level = easy + rng.normal() + rng.normal(0, 0.5, skills)
        for _ in range(steps):
            asked = rng.choice(skills, rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2]), replace=False)
            right = int(rng.random() < expit(level[asked].mean()))
            rows.append((f"u{learner}", ";".join(f"s{k}" for k in sorted(asked)), right))
            level[asked] += gain[asked]
        truth.append(expit(level))
    return pd.DataFrame(rows, columns=["user", "skill", "correct"]), np.array(truth)


@pytest.fixture(scope="module")
def simulated():
    return table()


def fitted(data, parts):
    from kt_core.presets import preset

    config = preset("smoke")
    splits = make_splits(read_dataset(data), config.data, parts)
    v = splits.vocabulary
    model = GainAKT2(ModelConfig(d_model=16, heads=2, transfer=False), len(v.skills), (), v.parts)
    fit_skeleton(model, splits)
    return model.eval(), splits


def error(model, splits, truth):
    """RMSE of mastery of the single skills at the end, of test learners."""
    beliefs = evaluate(model, splits.test, flips=False)
    last = beliefs.frame.groupby("learner")["sequence"].last().to_numpy()
    who = [int(name[1:]) for name in splits.test.learners]
    at = [splits.vocabulary.skills.index(f"s{k}") for k in range(truth.shape[1])]
    return np.sqrt(np.mean((beliefs.final[np.ix_(last, at)] - truth[who]) ** 2))


def test_parts_say_more_about_each_skill(simulated):
    data, truth = simulated
    apart, joined = (error(*fitted(data, parts), truth) for parts in (True, False))
    assert apart < 0.75 * joined


def test_what_is_told_has_a_row_for_each_skill_of_an_answer(simulated):
    data, _ = simulated
    model, splits = fitted(data[: 40 * 40], True)
    s = splits.test
    beliefs = evaluate(model, s, flips=False)
    told, parts, names = beliefs.told, splits.vocabulary.parts, splits.vocabulary.skills
    assert len(told) == sum(len(parts[k]) for k in s.skill)
    want = [(names[p], c) for k, c in zip(s.skill, s.response, strict=True) for p in parts[k]]
    rows = zip(told["skill"], told["correct"], strict=True)
    assert sorted(want) == sorted((names[k], c) for k, c in rows)
    assert (told.groupby("learner")["step"].diff().fillna(0) >= 0).all()
    rows = rows_of(s.starts[:1], s.lengths[:1])
    with torch.no_grad():
        states = model.forward_with_states(
            *(torch.from_numpy(x[rows])[None] for x in (s.skill, s.response))
        )
    first = told[told["sequence"] == 0]
    at = first["step"].tolist(), first["skill"].tolist()
    for column, every in (("mastery_post", states.filtered), ("mastery_last", states.trajectory)):
        np.testing.assert_allclose(first[column], every[0][at].numpy(), atol=1e-5)
    assert first["deviation_last"].notna().all() and (first["deviation"] > 0).all()
    assert (first.groupby("skill")["opportunity"].diff().dropna() == 1).all()


def test_the_guarantees_hold_for_parts():
    torch.manual_seed(0)
    model = stir(GainAKT2(ModelConfig(d_model=16, heads=2), C, (), PARTS), 0.5).eval()
    skills, responses = answers(B=20, T=50)
    with torch.no_grad():
        states = model.forward_with_states(skills, responses)
    assert (states.gains >= 0).all() and (states.trajectory.diff(dim=1) >= 0).all()
    assert (states.trajectory >= 0).all() and (states.trajectory <= 1).all()
    pair = (skills == 3)[:, 1:]
    risen = states.trajectory.diff(dim=1)[pair]
    assert (risen[:, [0, 1]] > 0).any() and (states.gains[skills == 3][:, 2] == 0).all()


def test_hidden_answers_say_nothing_about_any_part():
    s, (skills, responses) = skeleton(), answers()
    changed = responses.clone()
    changed[:, 7] = HIDDEN
    with torch.no_grad():
        x = s.read(skills, changed).every_skill()[0]
    before, after = (x.start[:, t] for t in (6, 7))
    torch.testing.assert_close(before / x.shrink[:, 6], after / x.shrink[:, 7])


def test_skills_that_nobody_was_asked_alone_come_last():
    rows = pd.DataFrame({"skill": ["b", "a+z", "b", "c+b"], "user": "u", "correct": 1})
    several = {"a+z": ("a", "z"), "c+b": ("b", "c"), "never asked": ("a", "b")}
    v = Vocabulary.of(rows, several=several)
    assert v.skills == ("b", "a+z", "c+b", "a", "c", "z")
    assert v.parts == ((0,), (3, 5), (0, 4), (3,), (4,), (5,))
    assert Vocabulary.of(rows).parts == () and Vocabulary.of(rows).skills == v.skills[:3]
    s = Sequences.of(rows, v, min_length=1)
    assert s.skill.tolist() == [0, 1, 0, 2]
