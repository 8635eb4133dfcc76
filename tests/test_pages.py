"""The pages that a newcomer reads: their code runs, and their commands are understood.

A comment that ends in (minutes) marks what takes long or needs a download. The words of such a
command are checked; every other command of this project is called as it stands.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import shlex
import shutil
from typing import get_args

import pandas as pd
import pytest
from conftest import ROOT

import kt_core as kt
from kt_core.base import own
from kt_core.baselines.registry import BASELINES
from kt_core.cli.arguments import overrides_of, parser
from kt_core.cli.commands import ACTIONS, main
from kt_core.config import LossConfig, Mode, RunConfig
from kt_core.learners.cohort import RULES
from kt_core.presets import PRESETS, USUAL, configure
from kt_core.report.tables import metrics_dict
from kt_core.studies.grids import read_grid

PAGES = ("README.md", "docs/guide.md", "docs/tutorial.md", "docs/extend.md")
MEASURED = tuple(  # whose commands take minutes to hours
    f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if f"docs/{path.name}" not in PAGES
)
LONG = "(minutes)"
OURS = (["python", "-m", "kt_core"], [".venv/bin/python", "-m", "kt_core"], ["kt-core"])
OTHERS = {".", "conda", "jupyter", "make", "pip", "python", "python3", "python3.11"}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def inline(page: str) -> list[str]:
    """What stands between backticks outside of blocks."""
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def calls(page: str) -> list[tuple[list[str], bool]]:
    """The words of each command in the blocks of a page, in a loop's first round, and whether it is
    marked as long."""
    found = []
    for block in blocks(page, "bash"):
        block = block.replace("\\\n", " ")
        for name, first in re.findall(r"^for (\w+) in (\S+).*; do.*$", block, re.MULTILINE):
            block = block.replace(f"${name}", first)
        block = re.sub(r"^(for .*; do.*|done)$", "", block, flags=re.MULTILINE)
        for line in block.splitlines():
            for part in line.split(" && "):
                if words := shlex.split(part, comments=True):
                    found.append((words, line.endswith(LONG)))
    return found


def our_words(words: list[str]) -> list[str] | None:
    """The arguments of a command of this project; None for another program's."""
    for start in OURS:
        if words[: len(start)] == start:
            return words[len(start) :]
    return None


def ours(page: str, long: bool) -> list[list[str]]:
    """The arguments of this project's commands in the blocks of a page, each of them once."""
    found = [w for words, mark in calls(page) if mark == long and (w := our_words(words))]
    return [words for number, words in enumerate(found) if words not in found[:number]]


def some_answers() -> pd.DataFrame:
    """Those of sixty learners of the demonstration."""
    table = kt.demo().splits.dataset.table.rename(columns={"user": "learner"})
    few = table["learner"].isin(table["learner"].unique()[:60])
    return table.loc[few, ["learner", "skill", "item", "correct"]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The files and runs that the commands name."""
    folder = tmp_path_factory.mktemp("pages")
    run = kt.demo().save(folder / "runs" / "mine")
    metrics = metrics_dict(kt.examine(run))
    (run / "metrics.json").write_text(json.dumps(metrics, default=float), encoding="utf-8")
    table = some_answers()
    for name in ("answers.csv", "november.csv", "new.csv", "huge.csv", "answers.csv.gz"):
        table.to_csv(folder / name, index=False)
    steps = table.groupby("learner").cumcount() + 1
    table.assign(step=steps, mastery=steps / 1000).to_csv(folder / "theirs.csv", index=False)
    scores = table.groupby("learner", as_index=False)["correct"].mean()
    scores.rename(columns={"correct": "score"}).to_csv(folder / "scores.csv", index=False)
    return folder


@pytest.fixture
def place(prepared, tmp_path, monkeypatch):
    """The current folder: a copy of what is prepared. What a command registers is forgotten."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own, "_KNOWN", {})
    monkeypatch.setenv(own.VARIABLE, "[]")
    monkeypatch.setenv("KT_COMMAND", "")
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_commands_run_as_they_are_written(page, place, capfd):
    for words in ours(page, long=False):
        assert main(words) == 0, (words, capfd.readouterr().err)


@pytest.mark.parametrize("page", [*PAGES, *MEASURED])
def test_long_commands_are_understood(page):
    found = ours(page, long=True)
    if page in MEASURED:
        found += ours(page, long=False)
    starts = tuple(" ".join(start) for start in OURS)
    named = [c.removesuffix(" ...") for c in inline(page) if c.startswith(starts)]
    found += [words for code in named if (words := our_words(shlex.split(code)))]
    for words in found:
        if len(words) == 1 and words[0] in {*ACTIONS, "COMMAND"}:  # no call, but its name
            continue
        args = parser("", ACTIONS).parse_args(words)
        if args.command in ("run", "train", "experiment"):
            given = [
                getattr(args, name, None) for name in ("dataset", "data", "mode", "seed", "fold")
            ]
            configure(args.preset or USUAL, *given, overrides_of(args))
        if args.command == "class":
            configure(args.preset or USUAL, mode=args.mode)
        if args.command == "visualise" and args.rule:
            assert args.rule in RULES, words
        known = {*get_args(Mode), *BASELINES, "share"}  # the last is that of docs/extend.md
        assert {*getattr(args, "models", ())} <= known, words


@pytest.mark.parametrize("page", PAGES)
def test_other_programs_are_given_what_exists(page):
    makefile = text_of("Makefile").replace("$(VENV)", ".venv")
    for words, _ in calls(page):
        if our_words(words) is not None:
            continue
        assert words[0] in OTHERS, words
        if words[0] == "make":
            target, *settings = words[1:]
            assert re.search(rf"^{re.escape(target)}:", makefile, re.M), words
            for setting in settings:
                assert re.search(rf"^{setting.partition('=')[0]} +\?=", makefile, re.M), words
        for word in words[1:]:
            if re.fullmatch(r"[\w.-]+\.(txt|yml)", word):
                assert (ROOT / word).is_file(), words
            if word.endswith(".whl"):
                assert word == f"kt_core-{kt.__version__}-py3-none-any.whl"
        if words[1:2] == ["-c"]:
            exec(words[2], {})


def test_benchmarks_have_the_options_that_pages_name():
    found = [words for page in (*PAGES, *MEASURED) for words, _ in calls(page)]
    found += [c.split() for page in (*PAGES, *MEASURED) for c in inline(page) if "benchmarks/" in c]
    scripts = [words for words in found if words[:1] == ["python"] and words[1:2] != ["-m"]]
    assert len(scripts) > 10
    for words in scripts:
        if words[1] != "-c":
            source = text_of(words[1])
            for option in (word for word in words[2:] if word.startswith("--")):
                assert f'"{option}"' in source, words


def test_settings_that_the_text_names_exist():
    for page in PAGES:
        for code in inline(page):
            if code.startswith("--set "):
                _, setting = shlex.split(code)
                configure(overrides=dict([setting.split("=", 1)]))


def test_the_table_of_settings_is_that_of_the_code():
    rows = re.findall(r"^\| `([\w.]+)` \|([^|]*)\|", text_of("docs/settings.md"), re.M)
    told = {name: default.strip(" `") for name, default in rows}
    defaults = {
        f"{section}.{f.name}": getattr(getattr(RunConfig(loss=LossConfig()), section), f.name)
        for section in ("data", "model", "loss", "train", "targets", "report")
        for f in dataclasses.fields(getattr(RunConfig(), section))
    }
    assert list(told) == list(defaults)
    for name, default in defaults.items():
        if isinstance(default, (bool, str)) or default == {}:
            text = str(default)
            assert told[name] == (text.lower() if isinstance(default, bool) else text), name
        else:
            assert float(told[name]) == default, name


def test_presets_are_all_told():
    told = re.findall(r"^\| `(\w+)` \|", text_of("docs/guide.md").split("## Data")[0], re.M)
    assert set(told) == set(PRESETS)


def test_the_grid_of_the_guide_is_read(tmp_path):
    (grid,) = blocks("docs/guide.md", "yaml")
    path = tmp_path / "grid.yaml"
    path.write_text(grid, encoding="utf-8")
    assert len(read_grid(path)) == 12


def test_the_table_of_the_tutorial_is_read_as_its_command_says(tmp_path, capsys):
    (table,) = blocks("docs/tutorial.md", "text")
    path = tmp_path / "answers.csv"
    path.write_text(table, encoding="utf-8")
    (words,) = [w for w in ours("docs/tutorial.md", long=True) if w[0] == "class" and "--name" in w]
    columns = [x for pair in itertools.pairwise(words) if pair[0] == "--column" for x in pair]
    assert main(["look", str(path), *[x.replace("learner=", "user=") for x in columns]]) == 0
    assert "3 answers" in capsys.readouterr().out


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_python_runs_as_it_is_written(page, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "quick", PRESETS["smoke"])
    names = {"answers": some_answers()}
    names["new_answers"] = names["answers"].head(50)
    for block in blocks(page, "python"):
        exec(block, names)
    assert names["model"].run.path.is_dir()


def test_no_other_page_has_python():
    """That of docs/extend.md runs in tests/tracing/test_own.py."""
    assert [page for page in PAGES if blocks(page, "python")] == [
        "README.md",
        "docs/guide.md",
        "docs/extend.md",
    ]


def asked(code: str) -> tuple[object, ast.Call] | None:
    """The function that a call in the text names, and the call; None for anything else."""
    try:
        call = ast.parse(code, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    owner = {"kt": kt, "model": kt.KnowledgeTracer, "kt.demo()": kt.KnowledgeTracer}
    of = owner.get(ast.unparse(call.func.value))
    return None if of is None else (getattr(of, call.func.attr), call)


def test_calls_in_the_text_fit_their_functions():
    found = [asked(code) for page in PAGES for code in inline(page)]
    found = [pair for pair in found if pair]
    assert len(found) > 15
    for function, call in found:
        if [ast.unparse(arg) for arg in call.args] == ["..."]:
            continue
        of_model = function.__qualname__.startswith("KnowledgeTracer.")
        given = [None] * (len(call.args) + of_model)
        keywords = [k.arg for k in call.keywords if k.arg]
        for splat in (k.value for k in call.keywords if not k.arg):
            keywords += [ast.literal_eval(key) for key in splat.keys]
        inspect.signature(function).bind(*given, **dict.fromkeys(keywords))
