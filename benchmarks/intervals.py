"""How often do the 95 % intervals cover the truth? Every measure of the report, on simulations.

python benchmarks/intervals.py                         # about half an hour on one core
python benchmarks/intervals.py --learners 10 --repeats 200
python benchmarks/intervals.py --print                 # the tables for docs/robustness.md

Samples of learners are drawn from one population, in which abilities vary, skills differ in
easiness, learners give 4 to 25 answers and grow, and two models estimate the ability with different
amounts of noise. The truth of a measure is its value on 200,000 learners. The coverage has a
Monte-Carlo standard error of sqrt(0.95 * 0.05 / repeats): 0.7 points with 1,000 samples.

The intervals of the reports (percentiles, widened for few learners; for means and ratios extended
to include the bootstrap-t interval) are compared with four others from the same resamples: the
widened percentiles alone (Hesterberg 2015, section 5.3), percentiles at 2.5 and 97.5 %, BCa (Efron
1987), and a t interval with the bootstrap's standard error.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm, t

from kt_core.evaluation.diagnostics import share_of_variance
from kt_core.evaluation.recovery import rmse
from kt_core.metrics.agreement import degree_of_agreement
from kt_core.metrics.association import Association, rank_correlation
from kt_core.metrics.bootstrap import Bootstrap, Estimate, levels
from kt_core.metrics.prediction import Prediction
from kt_core.studies.benchmark import markdown

TABLE = Path(__file__).resolve().with_suffix(".csv")
SKILLS, POPULATION = 5, 200_000
KINDS = ("of the reports", "widened percentile", "percentile", "BCa", "t")
KEYS = ["measure", "learners", "interval"]
LEARNERS = (5, 10, 20, 50, 100, 300)


@dataclass
class Sample:
    """Answers of learners, [N] each."""

    learner: np.ndarray
    skill: np.ndarray
    opportunity: np.ndarray
    correct: np.ndarray
    predicted: np.ndarray  # by a model that sees much of the ability
    other: np.ndarray  # by a model that sees less of it
    mastery: np.ndarray  # the truth that the first model estimates
    gains_before: np.ndarray  # growth of mastery so far, as believed
    true_grown: np.ndarray  # and the true growth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", type=int, nargs="+", default=LEARNERS)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--print", action="store_true", help="simulate nothing")
    args = parser.parse_args()
    done = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=KEYS)
    if not args.print:
        truth = truths()
        for learners in args.learners:
            started = time.perf_counter()
            table = coverage(learners, args.repeats, args.resamples, truth)
            done = pd.concat([done[done["learners"] != learners], table])
            done.to_csv(TABLE, index=False)
            print(f"{learners} learners: {time.perf_counter() - started:.0f} s", flush=True)
    shown = done.assign(held=done["held"].map("{:.1%}".format))
    own = shown[shown["interval"] == KINDS[0]]
    print(markdown(_wide(own, "measure")))
    mean = done.groupby(["interval", "learners"], sort=False, as_index=False)["held"].mean()
    print("\nmean over measures\n")
    print(markdown(_wide(mean.assign(held=mean["held"].map("{:.1%}".format)), "interval")))


def _wide(table: pd.DataFrame, rows: str) -> pd.DataFrame:
    order = list(dict.fromkeys(table[rows]))
    wide = table.pivot_table("held", rows, "learners", aggfunc="first").loc[order]
    wide.columns = [f"{c} learners" for c in wide.columns]
    return wide.reset_index()


def draw(learners: int, seed: int) -> Sample:
    """Draw learners from the population."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(4, 26, learners)
    who = np.repeat(np.arange(learners), steps)
    n = len(who)
    skill = rng.integers(SKILLS, size=n)
    opportunity = pd.DataFrame({"w": who, "k": skill}).groupby(["w", "k"]).cumcount().to_numpy()
    ability, speed = rng.normal(0, 1, learners), rng.lognormal(-2.5, 0.6, learners)
    start, gain = ability[who] + np.linspace(-1, 1, SKILLS)[skill], opportunity * speed[who]
    level, seen = start + gain, start + gain * rng.lognormal(0.2, 0.4, learners)[who]
    believed, less = (rng.normal(0, sd, learners)[who] + rng.normal(0, 0.3, n) for sd in (0.6, 1.5))
    return Sample(
        learner=who,
        skill=skill,
        opportunity=opportunity,
        correct=(rng.random(n) < expit(level)).astype(float),
        predicted=expit(level + believed),
        other=expit(level + less),
        mastery=expit(level),
        gains_before=expit(seen) - expit(start),
        true_grown=expit(level) - expit(start),
    )


def measures(s: Sample, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """Compute each measure as the report does."""
    n = bootstrap.n
    mine, yours = (Prediction(p, s.correct, s.learner, bootstrap) for p in (s.predicted, s.other))
    x, y = (
        Association(p, s.correct, s.learner, s.skill, bootstrap) for p in (s.predicted, s.other)
    )
    group = s.skill * 1000 + s.opportunity
    agree = degree_of_agreement(s.predicted, s.correct, s.learner, group, bootstrap)[0]
    gains_before, true_grown = (
        np.bincount(s.learner, v, n) for v in (s.gains_before, s.true_grown)
    )
    of_a_report = pd.DataFrame(vars(s)).rename(columns={"mastery": "true_mastery"})
    draws = {
        "AUC, difference of two models": mine.auc() - yours.auc(),
        "correlation, pooled": x.pooled(),
        "correlation, difference of two models": x.pooled() - y.pooled(),
        "correlation, within skill": x.within_skill(),
        "correlation, mean over skills": x.skill_average(),
        "correlation, mean over learners": x.learner_average(),
        "degree of agreement": agree,
        "rank correlation": rank_correlation(s.gains_before, s.true_grown, s.learner, bootstrap),
    }
    return (
        mine.estimates()
        | {name: bootstrap.estimate(v, 0, n) for name, v in draws.items()}
        | {
            "mean": bootstrap.row_mean(s.gains_before, s.learner, (-1, 1)),
            "ratio of two means": bootstrap.ratio(gains_before, true_grown),
            "root of a mean square": rmse(of_a_report, "predicted", bootstrap),
            "share of a variance": share_of_variance(of_a_report, "gains_before", bootstrap),
        }
    )


def truths() -> dict[str, float]:
    """Values of the measures in the population."""
    found = measures(draw(POPULATION, seed=10**9), Bootstrap(POPULATION, 0))
    return {name: e.value for name, e in found.items()}


def coverage(learners: int, repeats: int, resamples: int, truth: dict[str, float]) -> pd.DataFrame:
    """Share of samples whose interval covers the truth, by measure and kind of interval.

    `defined` is the share of samples with an interval. Samples where a report says "not defined" do
    not count in `held`.
    """
    held: dict[tuple[str, str], list[bool]] = {(m, k): [] for m in truth for k in KINDS}
    for seed in range(repeats):
        sample = draw(learners, seed)
        # For BCa, leave out each learner once, if that is not more work than the resamples.
        left_out = Bootstrap(learners, 0)
        left_out.weights = 1 - np.eye(learners if learners <= resamples else 0, learners)
        without = measures(sample, left_out) if len(left_out.weights) else {}
        for name, e in measures(sample, Bootstrap(learners, resamples, seed)).items():
            if not np.isfinite(e.low):
                continue
            apart = without[name].draws if without else np.empty(0)
            ends = others(e.draws, apart, learners) | {KINDS[0]: (e.low, e.high)}
            for kind, (low, high) in ends.items():
                held[name, kind].append(low <= truth[name] <= high)
    return pd.DataFrame(
        {
            "measure": name,
            "learners": learners,
            "samples": repeats,
            "interval": kind,
            "held": np.mean(hits),
            "defined": len(hits) / repeats,
        }
        for (name, kind), hits in held.items()
        if hits
    )


def others(
    draws: np.ndarray, without: np.ndarray, n: int, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Compute the ends of the other kinds of interval."""
    value, resampled = draws[0], draws[1:][np.isfinite(draws[1:])]
    tails = np.array([0.5 - level / 2, 0.5 + level / 2])
    quantile = t.ppf(tails[1], n - 1)
    ends = {
        "widened percentile": tuple(np.quantile(resampled, levels(n))),
        "percentile": tuple(np.quantile(resampled, tails)),
        "t": tuple(value + quantile * resampled.std() * np.array([-1, 1])),
    }
    if len(without):
        ends["BCa"] = tuple(np.quantile(resampled, _bca_levels(value, resampled, without, tails)))
    return ends


def _bca_levels(
    value: float, resampled: np.ndarray, without: np.ndarray, tails: np.ndarray
) -> np.ndarray:
    apart = without[np.isfinite(without)].mean() - without[np.isfinite(without)]
    size = (apart**2).sum() ** 1.5
    skew = (apart**3).sum() / (6 * size) if size else 0.0
    below = ((resampled < value).mean() + (resampled <= value).mean()) / 2
    shift = norm.ppf(np.clip(below, 1e-6, 1 - 1e-6)) + norm.ppf(tails)
    return norm.cdf(shift - norm.ppf(tails) + shift / (1 - skew * shift))


if __name__ == "__main__":
    main()
