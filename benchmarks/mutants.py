"""Mutation testing of metrics, losses and guarantees: tests must notice small inserted errors.

python benchmarks/mutants.py                    # all modules; the table for docs/robustness.md
python benchmarks/mutants.py --only losses      # modules whose name contains this
python benchmarks/mutants.py --again            # only mutants that were not killed before
python benchmarks/mutants.py --print            # the table and the surviving mutants

A mutant has one error: an operator or comparison exchanged, a number or flag changed, a condition
negated, a bounding call left out, or `min` and `max` exchanged. The tests of a module are collected
once. Each mutant runs them up to the first failure in a forked process, in which the changed
function's code replaces the original code wherever the function is referenced. A mutant survives if
all tests pass. No test can notice those in `EQUIVALENT`, for the reasons given there.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import inspect
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType

import pandas as pd
import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path(__file__).resolve().with_suffix(".csv")
STATISTICS = (
    "tests/metrics/test_metrics.py",
    "tests/evaluation/test_not_defined.py",
    "tests/metrics/test_statistics.py",
)
PATH = ("tests/core/test_path.py", "tests/core/test_model.py")
TESTS = {
    **dict.fromkeys(
        [
            f"kt_core.metrics.{m}"
            for m in ("agreement", "association", "bootstrap", "nulls", "prediction")
        ],
        STATISTICS,
    ),
    "kt_core.monitor": STATISTICS,
    "kt_core.metrics.invariants": ("tests/metrics/test_metrics.py", "tests/core/test_model.py"),
    "kt_core.losses": ("tests/core/test_losses.py", "tests/core/test_path.py"),
    "kt_core.mastery": (*PATH, "tests/core/test_invariants_fuzz.py"),
    "kt_core.posterior": ("tests/core/test_skeleton.py",),
    "kt_core.skeleton": (
        "tests/core/test_skeleton.py",
        *PATH,
        "tests/core/test_invariants_fuzz.py",
    ),
    "kt_core.reading": (
        "tests/core/test_skeleton.py",
        *PATH,
        "tests/core/test_invariants_fuzz.py",
    ),
    "kt_core.side_heads": (*PATH, "tests/core/test_invariants_fuzz.py"),
}
GUARANTEES = (  # functions of the heads on which bounds, monotonicity and gains >= 0 rest
    "at_skill",
    "cumulative_mastery",
    "retrospective_mastery",
    "gains",
    "factor",
    "shares",
    "reach",
    "all_gains",
    "_believed",
    "_read",
    "same_skill",
    "credible",
)
HEADS = ("kt_core.mastery", "kt_core.side_heads", "kt_core.skeleton", "kt_core.reading")
SLOW = "intervals_hold or ends_of_the_range or presets_build"
SECONDS = 60  # a mutant that takes longer counts as killed
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "tril": "triu", "triu": "tril"}
BOUNDING = ("relu", "clamp", "clip", "nan_to_num", "detach", "maximum", "minimum", "abs")
EQUIVALENT = {  # mutant: why no test can notice it
    "metrics.agreement: new_group = np.diff(group, prepend=group[:1] - 1) != 0  [Sub Add]": (
        "any number other than the first group's number marks the first row"
    ),
    "metrics.agreement: new_group = np.diff(group, prepend=group[:1] - 1) != 0  [1 2]": (
        "as above"
    ),
    "metrics.agreement: values, pairs = np.full(len(bootstrap.weights), np.nan), 0  [0 1]": (
        "overwritten on row 0, which always exists"
    ),
    **{
        "metrics.agreement: rare = right if 2 * right.sum() <= len(right) else ~right"
        f"  [{what}]": "both kinds of answer give the same share; the rarer one is faster"
        for what in ("turned round", "LtE Lt", "2 3", "no Invert")
    },
    "metrics.agreement: few, many, tied = learner[rare], learner[~rare], (below < up_to).any()"
    "  [Lt LtE]": "without ties both look-ups are equal; one alone is faster",
    "metrics.association: return np.where(np.abs(apart) > TINY * np.abs(values).max(), apart, 0.0)"
    "  [Gt GtE]": "differs only where all values are 0; then the result is 0 too",
    "metrics.association: return np.where(np.abs(apart) > TINY * np.abs(values).max(), apart, 0.0)"
    "  [max min]": "where differences are rounding errors, largest and smallest value are equal",
    "metrics.bootstrap: for i, (w, g) in enumerate(zip(self.weights, gradient, strict=True)):"
    "  [True False]": "both have a row for each resample",
    "metrics.bootstrap: influence[np.abs(influence) <= TINY * (np.abs(g) @ size)] = 0  # rounding"
    "  [LtE Lt]": "equal only where both are 0",
    "metrics.association: safe = np.where(n > 0, n, 1)  [0 1]": "n is a whole number",
    "metrics.association: safe = np.where(n > 0, n, 1)  [1 2]": "divides sums that are 0",
    "metrics.association: spread = (var_x > TINY * xx) & (var_y > TINY * yy)  [Gt GtE]": (
        "equal only where both are 0; then r is 0 / 0, which is NaN too"
    ),
    "metrics.association: shape = (bootstrap.n, int(skill.max()) + 1 if len(skill) else 1)"
    "  [1 2]": "adds a column for a skill without rows",
    "losses: each = torch.where(keep, terms, 0.0).sum(-1) / left.clamp(min=1)  [no clamp]": (
        "the mask that follows leaves out 0 / 0, also from the gradient"
    ),
    "monitor: return torch.where(spread > 0, (x * y).sum() / spread.sqrt(), torch.nan)"
    "  [Gt GtE]": "at 0, r is 0 / 0, which is NaN too",
    "monitor: return torch.where(apart.abs() > 1e-12 * values.abs(), apart, 0.0)"
    "  [Gt GtE]": "equal only where both are 0; then the result is 0 too",
    "monitor: return torch.where(apart.abs() > 1e-12 * values.abs(), apart, 0.0)"
    "  [1e-12 2e-12]": "the threshold between rounding errors and spread is arbitrary",
    "monitor: n = total(torch.ones_like(x)).clamp(min=1)  [no clamp]": (
        "means of skills without rows are not used"
    ),
    "monitor: r = torch.where(spread > 1e-18, total(x * y) / spread.sqrt(), torch.nan)"
    "  [Gt GtE]": "an arbitrary threshold, as above",
    "monitor: r = torch.where(spread > 1e-18, total(x * y) / spread.sqrt(), torch.nan)"
    "  [1e-18 2e-18]": "an arbitrary threshold, as above",
    'metrics.prediction: fit = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1)'
    "  [1 2]": "means of zeros and ones never exceed 1",
    "monitor: counts = {name: sum(p.counts[name] for p in parts) for name in parts[0].counts}"
    "  [0 1]": "the counts of all parts have the same names",
    'metrics.nulls: groups = frame.groupby(["learner", "skill"], sort=False)["correct"]'
    "  [False True]": "the order of groups is not used; rows keep their order",
}


@dataclass(frozen=True)
class Mutant:
    """One error: its place, its description, and the syntax tree of the module with it."""

    module: str
    line: int
    what: str
    tree: ast.Module

    @property
    def key(self) -> str:
        """The line's text and the change, which stay valid after edits elsewhere in the file."""
        text = inspect.getsource(sys.modules[self.module]).splitlines()[self.line - 1].strip()
        return f"{self.module.removeprefix('kt_core.')}: {text}  [{self.what}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="modules whose name contains this")
    parser.add_argument("--again", action="store_true", help="only those not killed before")
    parser.add_argument("--print", action="store_true", help="run nothing")
    args = parser.parse_args()
    os.chdir(ROOT)
    for module in [] if args.print else [m for m in TESTS if args.only in m]:
        pid = os.fork()  # each module's tests are collected in a separate process
        if pid == 0:
            os._exit(_module(module, args.again))
        if os.waitpid(pid, 0)[1]:
            raise SystemExit(f"{module}: the tests do not pass without an inserted error")
    _print()


def _print() -> None:
    from kt_core.studies.benchmark import markdown

    done = pd.read_csv(TABLE, keep_default_na=False)
    alive = done["fate"] == "survived"
    done["equivalent"] = alive & done["mutant"].isin(EQUIVALENT)
    done["survived"], done["killed"] = alive & ~done["equivalent"], ~alive
    table = done.groupby("module", sort=False)[["killed", "equivalent", "survived"]].sum()
    table.loc["together"] = table.sum()
    table.insert(0, "mutants", table.sum(axis=1))
    table["share killed"] = (table["killed"] / table["mutants"]).map("{:.1%}".format)
    print(markdown(table.reset_index(names="module")))
    for name, rows in done[alive].groupby("mutant", sort=False):
        print(f"- `{name}` x {len(rows)}: {EQUIVALENT.get(name, 'not explained')}")


def _module(module: str, again: bool) -> int:
    plugin = Mutating(module, again)
    options = ["-q", "-p", "no:cacheprovider", "-W", "error::RuntimeWarning", "-k", f"not ({SLOW})"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # tests are imported here
    code = pytest.main([*options, *TESTS[module]], plugins=[plugin])
    return int(code)


class Mutating:
    """A pytest plugin that runs the tests once for each mutant."""

    def __init__(self, module: str, again: bool):
        self.module, self.again = module, again

    def pytest_configure(self, config: pytest.Config) -> None:
        """Use the same examples for all mutants, and do not shrink counterexamples."""
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", phases=phases, derandomize=True, database=None,
                                  deadline=None, max_examples=25)  # fmt: skip
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run every mutant and write the module's rows."""
        if _run(session, None):
            session.shouldfail = "tests fail without an inserted error"
            raise session.Failed(session.shouldfail)
        columns = ["module", "mutant", "number", "fate"]
        done = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=columns)
        others, before = (done[(done["module"] == self.module) == own] for own in (False, True))
        before = before.set_index(["mutant", "number"])["fate"].to_dict()
        fates, numbers = [], Counter()
        for mutant in mutants_of(self.module):
            number = numbers[mutant.key]  # number among equal mutants on one line
            numbers[mutant.key] += 1
            known = self.again and before.get((mutant.key, number)) == "killed"
            fate = "killed" if known or _run(session, mutant) else "survived"
            fates.append((self.module, mutant.key, number, fate))
            if fate == "survived":
                print(f"\nsurvived, line {mutant.line}: {mutant.key}")
        pd.concat([others, pd.DataFrame(fates, columns=columns)]).to_csv(TABLE, index=False)
        return True


def _run(session: pytest.Session, mutant: Mutant | None) -> bool:
    """Run the tests in a separate process; return True if one fails."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS if mutant else 0)
        sys.stdout.flush()
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nothing, stream)
        try:
            if mutant is not None:
                put_in(mutant)
        except Exception:  # an error on import counts as noticed
            os._exit(1)
        for i, item in enumerate(session.items):
            following = session.items[i + 1] if i + 1 < len(session.items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] != 0


def mutants_of(name: str) -> Iterator[Mutant]:
    """Yield all mutants of a module, line by line."""
    tree = ast.parse(inspect.getsource(importlib.import_module(name)))
    for index, node in enumerate(_code(tree, name)):
        for what, change in _changes(node):
            mutated = copy.deepcopy(tree)
            # The same walk over the copy ends at the same node.
            change(next(n for i, n in enumerate(_code(mutated, name)) if i == index))
            yield Mutant(name, node.lineno, what, ast.fix_missing_locations(mutated))


def _code(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """Yield nodes that run, without annotations, decorators, class bodies and messages."""
    callback = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Monitor"]
    elsewhere = {id(node) for node in ast.walk(ast.Module(callback, []))}  # tested with training
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and id(function) not in elsewhere:
            if name in HEADS and function.name not in GUARANTEES:
                continue
            yield from _expressions(function.args.defaults)
            yield from _expressions(function.args.kw_defaults)
            yield from _expressions(function.body)


def _expressions(nodes: list) -> Iterator[ast.AST]:
    for node in nodes:
        if node is None or isinstance(node, ast.FunctionDef | ast.Raise | ast.JoinedStr):
            continue
        if hasattr(node, "lineno"):
            yield node
        skipped = ("annotation", "returns", "decorator_list")
        for field, value in ast.iter_fields(node):
            if field not in skipped:
                values = value if isinstance(value, list) else [value]
                yield from _expressions([v for v in values if isinstance(v, ast.AST)])


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """Yield the possible changes of a node: a description and a function that makes it."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        new = SWAPS[type(node.op)]
        yield f"{type(node.op).__name__} {new.__name__}", lambda n: setattr(n, "op", new())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        new = SWAPS[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} {new.__name__}", lambda n: n.ops.__setitem__(0, new())
    elif isinstance(node, ast.UnaryOp):
        yield f"no {type(node.op).__name__}", _become(lambda n: n.operand)
    elif isinstance(node, ast.If | ast.IfExp):
        yield "turned round", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.Attribute) and _is_call(node.value, "cummax"):
        yield "no cummax", _become(lambda n: n.value.func.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        v = node.value
        new = not v if isinstance(v, bool) else v + 1 if isinstance(v, int) else 2 * v or 1.0
        yield f"{v} {new}", lambda n: setattr(n, "value", new)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name, of = node.func.attr, node.func.value
        if name in NAMES:
            yield f"{name} {NAMES[name]}", lambda n: setattr(n.func, "attr", NAMES[name])
        if name in BOUNDING:
            module = isinstance(of, ast.Name) and of.id in ("F", "np", "torch")
            kept = (lambda n: n.args[0]) if module else (lambda n: n.func.value)
            yield f"no {name}", _become(kept)


def _is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "") == name


def _become(part):
    def change(node: ast.AST) -> None:
        new = part(node)
        node.__class__, node.__dict__ = type(new), dict(vars(new))

    return change


def put_in(mutant: Mutant) -> None:
    """Give the module's functions the code of the mutant, wherever they are referenced."""
    module = sys.modules[mutant.module]
    changed = ModuleType(mutant.module)
    changed.__dict__.update(vars(module))
    exec(compile(mutant.tree, module.__file__, "exec"), changed.__dict__)  # our own source
    for old, new in _pairs(vars(module), vars(changed), mutant.module):
        old.__code__, old.__defaults__ = new.__code__, new.__defaults__
        old.__kwdefaults__ = new.__kwdefaults__


def _pairs(old: dict, new: dict, module: str) -> Iterator[tuple[FunctionType, FunctionType]]:
    """Yield each function of the module with the mutant's version of it."""
    for name, value in list(old.items()):
        if isinstance(value, property):
            value, other = value.fget, getattr(new.get(name), "fget", None)
        else:
            other = new.get(name)
        if isinstance(value, classmethod | staticmethod):
            value, other = value.__func__, other.__func__
        if isinstance(value, type) and value.__module__ == module and name != "__class__":
            yield from _pairs(dict(vars(value)), vars(other), module)
        elif callable(value) and getattr(value, "__module__", "") == module:
            a, b = inspect.unwrap(value), inspect.unwrap(other) if other else None
            if isinstance(a, FunctionType) and isinstance(b, FunctionType) and a is not b:
                yield a, b


if __name__ == "__main__":
    main()
