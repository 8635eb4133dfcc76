"""Check bounds, monotone trajectories and non-negative gains at any weights, with no tolerance.

python benchmarks/invariants.py --minutes 10
python benchmarks/invariants.py --minutes 1 --device cuda

The models have both guaranteed modes, four number formats, and weights that training would not
produce (largest and smallest numbers of the type, all exponents at once, all equal, zeros).
Histories have 1 to 2,000 steps over 1 to 2,000 skills. The script counts falls of the trajectory
(at the last horizon, at random horizons and between two chunks), negative gains, and values of
mastery and live mastery outside [0, 1]. A non-finite value counts as a violation.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from kt_core.config import ON_PATH, ModelConfig
from kt_core.layers import HIDDEN
from kt_core.metrics.invariants import violations
from kt_core.model import GainAKT2

MODES, ITEMS = ("retrospective", "retentive", "cumulative"), 3
CONSTRAINTS = ("monotonicity", "negative_gains", "bounds")
OF_BREAKS = ("rise_in_break", "below_start")
DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
WEIGHTS = {
    "largest": lambda sign, u, info: sign * info.max,
    "largest, all positive": lambda sign, u, info: torch.full_like(u, info.max),
    "largest, all negative": lambda sign, u, info: torch.full_like(u, info.min),
    "near the largest": lambda sign, u, info: sign * u * info.max,
    "root of the largest": lambda sign, u, info: sign * u * info.max**0.5,
    "smallest normal": lambda sign, u, info: sign * u.double().add(1).to(u.dtype) * info.tiny,
    "denormal": lambda sign, u, info: sign * u * info.tiny,
    "rounding unit": lambda sign, u, info: sign * u * info.eps,
    "every exponent": lambda sign, u, info: sign * _any_size(u, info),
    "large": lambda sign, u, info: sign * u * 1e3,
    "ordinary": lambda sign, u, info: sign * u,
    "tiny": lambda sign, u, info: sign * u * 1e-6,
    "zero": lambda sign, u, info: torch.zeros_like(u),
}


@dataclass(frozen=True)
class Case:
    """One model and one batch to read; all random choices follow from the seed."""

    mode: str
    weights: str
    dtype: torch.dtype
    steps: int
    skills: int
    seed: int
    device: str = "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--steps", type=int, default=2000, help="at most")
    parser.add_argument("--skills", type=int, default=2000, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args()
    end, seed, places, broken = (
        time.monotonic() + 60 * args.minutes,
        args.seed,
        Counter(),
        Counter(),
    )
    sizes = Counter()
    while time.monotonic() < end:
        case = drawn(seed, args.steps, args.skills, args.device)
        for name, (bad, n) in checked(case).items():
            places[name] += n
            if bad:
                broken[name] += bad
                print(f"{name}: {bad} of {n} broken by {case}", flush=True)
        sizes += Counter({case.weights: 1, str(case.dtype): 1, case.mode: 1})
        seed += 1
    print(f"{seed - args.seed} models")
    for name, count in sorted(sizes.items()):
        print(f"  {name}: {count}")
    for name, n in places.items():
        print(f"{name}: {broken[name]} of {n:,} places broken")
    raise SystemExit(1 if broken else 0)


def drawn(seed: int, steps: int = 2000, skills: int = 2000, device: str = "cpu") -> Case:
    """Draw a case, with sizes from all orders of magnitude, including both ends."""
    g = torch.Generator().manual_seed(seed)

    def size(most: int) -> int:
        share = torch.rand(1, generator=g, dtype=torch.float64).item()
        return min(most, max(1, round(most ** (1.1 * share))))

    def one_of(choices: list | tuple):
        return choices[int(torch.randint(len(choices), (1,), generator=g))]

    dtype, mode, weights = one_of(DTYPES), one_of(MODES), one_of(list(WEIGHTS))
    return Case(mode, weights, dtype, size(steps), size(skills), seed, device)


def checked(case: Case) -> dict[str, tuple[int, int]]:
    """Count, for each guarantee, the places where it is broken and all places."""
    g = torch.Generator().manual_seed(case.seed)
    model = extreme_model(case, g).to(case.device)
    q, r, items, days = (x.to(case.device) for x in _batch(case, g))
    valid, found = torch.ones_like(q, dtype=torch.bool), {}

    def count(where: str, names: tuple[str, ...], *args: Tensor | None, **more: Tensor) -> None:
        counts = violations(*args, **more)
        for name in names:
            bad, n = int(counts[name].sum()), int(counts[f"{name}_n"].sum())
            found[f"{name}, {where}"] = (bad, n)

    with torch.no_grad():
        s = model.forward_with_states(q, r, items, days=days)
        names = CONSTRAINTS + (OF_BREAKS if s.rested is not None else ())
        rest = (s.gains, q, r, valid)
        count("trajectory", names, s.trajectory, *rest, rested=s.rested)
        count("live", ("bounds",), s.filtered, *rest)
        horizon = torch.randint(0, case.steps, (len(q),), generator=g).to(case.device)
        if s.rested is None:
            at = model.heads.trajectory_at(s, horizon)
            count("random horizon", ("monotonicity", "bounds"), at, *rest)
        else:
            known = torch.arange(case.steps, device=case.device) <= horizon.unsqueeze(1)
            at = model.read(s.encoded, known)
            count("random horizon", names, at.trajectory, *rest, rested=at.rested)
        if case.mode == "cumulative":
            end = s.filtered[:, -1]
            s = model.forward_with_states(q, r, items, start=end)
            count("next chunk", ("monotonicity",), s.trajectory, s.gains, q, r, valid, end)
    return found


def extreme_model(case: Case, g: torch.Generator) -> GainAKT2:
    """Make a small model with the case's mode, number format and kind of weights."""
    odd = [bool(x) for x in torch.randint(2, (4,), generator=g)]
    config = ModelConfig(
        mode=case.mode,
        d_model=8,
        heads=2,
        blocks=2,
        d_ff=8,
        dropout=0.0,
        transfer=odd[2] and case.mode in ON_PATH,
    )
    items = torch.randint(case.skills, (ITEMS,), generator=g).tolist() if odd[3] else ()
    model = GainAKT2(config, case.skills, items).eval().to(case.dtype)
    info = torch.finfo(case.dtype)
    with torch.no_grad():
        for weight in model.parameters():
            u = torch.rand(weight.shape, generator=g).to(case.dtype)
            sign = torch.where(torch.rand(weight.shape, generator=g) < 0.5, -1.0, 1.0)
            values = WEIGHTS[case.weights](sign.to(case.dtype), u, info)
            weight.copy_(values.clamp(info.min, info.max))
        if case.mode == "retentive":
            model.heads.skeleton.retention.timed.fill_(case.seed % 2 == 0)
    return model


def _any_size(u: Tensor, info: torch.finfo) -> Tensor:
    low, high = math.log2(info.tiny), math.log2(info.max)
    return torch.exp2(low + (high - low) * u.double()).clamp(max=info.max).to(u.dtype)


def _batch(case: Case, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw practice on few or all skills, with breaks of all sizes; hide some answers where the
    mode supports it."""
    shape, few = (2, case.steps), max(1, case.skills // 50)
    most = few if case.seed % 2 else case.skills
    answers = HIDDEN + 1 if case.mode in ON_PATH and case.seed % 3 == 0 else 2
    breaks = torch.exp2(40 * torch.rand(shape, generator=g) - 30).floor()  # most of them none
    return (
        torch.randint(most, shape, generator=g),
        torch.randint(answers, shape, generator=g),
        torch.randint(ITEMS + 1, shape, generator=g),  # 0 is an item unknown in training
        breaks.cumsum(1),
    )


if __name__ == "__main__":
    main()
