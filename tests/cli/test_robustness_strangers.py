"""Names, files and parameters of strangers are data: shown, kept, refused, never run."""

import ast
import json
import re
import xml.dom.minidom

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from kt_core import plots
from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.config import from_dict, with_overrides
from kt_core.notebook import headless
from kt_core.presets import preset
from kt_core.studies.benchmark import markdown

NOTEBOOK = load_notebook_node(str(ROOT / "notebooks" / "03_mastery_trajectories.ipynb"))
HOSTILE = "\"'''\\\n\r\t\0{{x}}{x}%s$(id)`id`#\u2028\u202e\ufeff\U0001f600</script>\\"


@given(st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.text() | st.integers()))
@example(HOSTILE, [HOSTILE], {HOSTILE: HOSTILE})
@example('"; import os; os.abort()', ["\\"], {"')": '"""'})
def test_parameters_come_through_papermill_as_they_are(text, names, mapping):
    given = {"run": text, "learners": names, "overrides": mapping}
    made = parameterize_notebook(NOTEBOOK, given, kernel_name="python3", language="python")
    made = nbformat.reads(nbformat.writes(made), 4)  # as the file that the kernel runs
    injected = [c for c in made.cells if "injected-parameters" in c.metadata.get("tags", [])]
    body = ast.parse(injected[0].source).body
    assert all(isinstance(line, ast.Assign) for line in body) and len(injected) == 1
    assert {line.targets[0].id: ast.literal_eval(line.value) for line in body} == given


def test_braces_in_the_names_of_folders(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(headless, "NOTEBOOKS", tmp_path / "{run}")
    monkeypatch.setattr("papermill.execute_notebook", lambda *a, **_: taken.append(a))
    (tmp_path / "{run}").mkdir()
    (tmp_path / "{run}" / "x.ipynb").write_text("{}")
    with headless.executed("x", {"run": "mine"}):
        pass
    source = taken[0][0].format(run="mine")  # as papermill does
    assert source == str(tmp_path / "{run}" / "x.ipynb")


FORBIDDEN_MODULES = {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve", "tarfile"}
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "system", "popen", "read_pickle", "to_pickle",
    "unsafe_load", "full_load", "extractall", "from_string", "load_module",
}  # fmt: skip

HARMLESS = {"re.compile", "platform.system", "self.model.encoder.compile"}  # the last is torch's


def wrongs(tree):
    """What a program that reads strangers' files must not call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            yield from (n for n in names if n.split(".")[0] in FORBIDDEN_MODULES)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        of_a_model = name.endswith(".eval") and not node.args  # of torch: to evaluation mode
        if name.rpartition(".")[2] in FORBIDDEN and name not in HARMLESS and not of_a_model:
            yield name
        if name == "torch.load" and given.get("weights_only") != "True":
            yield "torch.load without weights_only"
        if name == "yaml.load" or given.get("shell") == "True" or "allow_pickle" in given:
            yield name
        if name.endswith("Environment") and given.get("autoescape") != "True":
            yield "templates that do not escape"


def test_nothing_in_the_package_runs_what_it_reads():
    paths = [*(ROOT / "kt_core").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    paths.remove(ROOT / "benchmarks" / "mutants.py")  # it runs this package's own code, changed
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(path, 4).cells
        code = [c.source.replace("await ", "") for c in cells if c.cell_type == "code"]
        sources[path.name] = "\n".join(code)
    assert len(sources) > 60
    found = {name: list(wrongs(ast.parse(source))) for name, source in sources.items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    for template in (ROOT / "kt_core").rglob("*.j2"):
        assert not re.search(r"\|\s*safe\b|autoescape false", template.read_text()), template
    bad = "import pickle\neval(x)\ntorch.load(f)\nyaml.load(f)\nrun(c, shell=True)\nEnvironment()"
    assert len(list(wrongs(ast.parse(bad)))) == 6


NAMES = [
    "$x^2$ costs $5", "$\\frac{", "\\$5", "_hidden", "<script>window.hacked=1</script>",
    "nul\0 and bell\a", "two\nlines", "{x} %s", "x" * 5000, "right to left \u202e",
]  # fmt: skip


def test_names_in_figures_are_plain_text(tmp_path):
    plots.use_style()
    steps = np.arange(1, len(NAMES) + 1)
    learner = pd.DataFrame({"step": steps, "skill": NAMES, "mastery": 0.5, "gain": 0.1})
    learner = learner.assign(asked=True, correct=1.0, filtered=0.5, low=0.4, high=0.6)
    fig = Figure(figsize=(plots.PAGE, 6))
    axes = fig.subplots(3)
    plots.plot_learner(learner, axes[0], len(NAMES))
    plots.plot_heatmap(learner, axes[1])
    plots.plot_revision(learner, axes[2], skills=NAMES[:4])
    axes[0].set_title(plots.as_text(NAMES[1]))
    paths = {path.suffix: path for path in plots.save(fig, tmp_path, "x")}
    svg = xml.dom.minidom.parse(str(paths[".svg"]))
    words = ["".join(c.data for c in t.childNodes) for t in svg.getElementsByTagName("text")]
    for name in ("$x^2$ costs $5", "$\\frac{", "\\$5", "_hidden", NAMES[4], "{x} %s"):
        assert any(name in word for word in words), name
    assert not svg.getElementsByTagName("script")
    legend = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert len(legend) == len(NAMES) + 2  # a colour each; right and wrong
    assert paths[".png"].stat().st_size > 5000


def test_markdown_of_the_benchmark_holds_no_markup():
    table = pd.DataFrame({"model": ["<script>|x|\n# y"], "auc": [0.5]})
    assert markdown(table).splitlines()[2] == r"| &lt;script&gt;\|x\| # y | 0.5000 |"


def test_formulas_in_names_are_kept_and_told(trained, tmp_path, capsys):
    data, out = tmp_path / "mine.csv", tmp_path / "m.csv"
    skill = trained.vocabulary.skills[0]
    table = pd.DataFrame({"user": ["=1+1", "@x", "plain"], "skill": skill, "correct": [0, 1, 1]})
    table.to_csv(data, index=False)
    assert main(["predict", str(trained.path), "--data", str(data), "--out", str(out)]) == 0
    assert "note: 2 names begin with = + - or @" in capsys.readouterr().out
    assert pd.read_csv(out)["learner"].tolist() == ["=1+1", "@x", "plain"]


def test_braces_and_quotes_in_a_configuration_are_kept():
    config = with_overrides(preset("smoke"), {"data.columns": {"user": HOSTILE}})
    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(KTError, match="unknown parameter"):
        with_overrides(config, {HOSTILE: 1})
