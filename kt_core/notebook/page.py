"""What a notebook shows, with captions, and the whole notebook as one HTML page."""

from __future__ import annotations

import base64
import datetime
import html
import itertools
import os
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kt_core.base.files import write_text
from kt_core.base.log import log_to_output
from kt_core.notebook.headless import INTERACTIVE, in_jupyterlab

if TYPE_CHECKING:
    from altair import Chart
    from matplotlib.figure import Figure
    from nbformat import NotebookNode

HIDDEN = {"hide", "parameters", "injected-parameters"}  # tags of cells that a page leaves out
MOST_SVG = 400_000  # bytes of a figure; a larger one is shown as a picture of dots
WIDTH = 120  # pixels of a page for an inch of a figure
MARKS = {  # of a verdict: its words, colour of the background and of the letters
    "good": ("holds", "#d5efe3", "#0b5239"),
    "unsure": ("in doubt", "#fbecc4", "#6b4700"),
    "bad": ("fails", "#fadccf", "#8a2c00"),
    "open": ("no verdict", "#e9e9e9", "#444444"),
}
NOTHING = "kt-nothing"  # the class of what says why a section is empty
NUMBER = '<b class="kt-number" title="{}"></b>'  # filled in the page
TWIN = re.compile("(<p class='kt-twin'>To explore: )<a href='([^']*)'>(.*?)</a>")
# In a frame without an address of its own, a link to a place would load the notebook's own page.
TO_PLACES = """<script>
document.addEventListener("click", event => {
  const link = event.target.closest("a[href^='#']");
  if (!link) return;
  event.preventDefault();
  document.getElementById(decodeURIComponent(link.hash.slice(1)))?.scrollIntoView();
});
</script>"""


def begin() -> None:
    """Set up a notebook: the style of figures, and log messages below the cell, not in red."""
    from kt_core.plots.style import use_style  # takes seconds to load, for figures alone

    use_style()
    log_to_output(below_cell=True)


def show(table: pd.DataFrame, caption: str = "", digits: int = 3, marks: Sequence[str] = ()):
    """A table for a notebook, with every cell escaped and a caption that says how to read it.

    Parameters
    ----------
    marks : a state for each row (good, unsure, bad, open), shown in words and colour before the
        text of the last column.
    """
    from IPython.display import HTML

    numbers = [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    classes = [" class='kt-num'" if number else "" for number in numbers]
    head = "".join(
        f"<th scope='col'{kind}>{html.escape(str(name))}</th>"
        for name, kind in zip(table.columns, classes, strict=True)
    )
    rows = []
    for number, values in enumerate(table.itertuples(index=False, name=None)):
        cells = [html.escape(_text(value, digits)) for value in values]
        if len(marks):
            cells[-1] = f"{_mark(marks[number])} {cells[-1]}"
        pairs = zip(cells, classes, strict=True)
        rows.append("<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in pairs) + "</tr>")
    above = f"<caption class='kt-caption'>{NUMBER.format('Table')}{html.escape(caption)}</caption>"
    return HTML(
        f"<div class='kt-table'><table>{above if caption else ''}<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _text(value: object, digits: int) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "not defined"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _mark(state: str, word: str = "") -> str:
    """A word on its colour, which also a page without our styles shows."""
    usual, back, front = MARKS[state]
    style = f"background:{back};color:{front};padding:.05em .45em;border-radius:.25em;"
    style += "font-weight:600;print-color-adjust:exact;-webkit-print-color-adjust:exact"
    return f"<span class='kt-mark' style='{style}'>{html.escape(word or usual)}</span>"


def answers(sentences: Iterable[tuple[str, str, str, str]]):
    """Questions with their answers, each with a word in colour.

    Parameters
    ----------
    sentences : question, word (may be empty), text, and state (good, unsure, bad, open).
    """
    from IPython.display import HTML

    rows = []
    for question, word, text, state in sentences:
        mark = f"{_mark(state, word)} " if word else ""
        rows.append(f"<dt>{html.escape(question)}</dt><dd>{mark}{html.escape(text)}</dd>")
    return HTML(f"<dl class='kt-answers'>{''.join(rows)}</dl>")


def figure(fig: Figure, folder: str | Path, name: str, caption: str, alt: str):
    """Save a figure (`kt_core.plots.save`), and show it with a caption.

    Parameters
    ----------
    alt : what can be seen in it, for those who cannot see it.
    """
    import matplotlib.pyplot as plt
    from IPython.display import HTML

    from kt_core.plots.style import save

    _, svg, png = save(fig, folder, name)
    plt.close(fig)  # or the notebook would show it once more
    small = svg.stat().st_size <= MOST_SVG
    kind, content = ("svg+xml", svg) if small else ("png", png)
    data = base64.b64encode(content.read_bytes()).decode()
    width = round(WIDTH * fig.get_size_inches()[0])
    return HTML(
        f"<figure class='kt-figure'><img width='{width}' alt='{html.escape(alt)}' "
        f"src='data:image/{kind};base64,{data}'><figcaption class='kt-caption'>"
        f"{NUMBER.format('Figure')}{html.escape(caption)}</figcaption></figure>"
    )


def twin(chart: Chart, folder: str | Path, name: str, title: str, about: str):
    """Save an interactive figure (`kt_core.plots.interactive`) in ``folder/interactive``, and link
    to it, from the notebook's own folder in JupyterLab, and from a page in `folder` elsewhere.

    Parameters
    ----------
    about : what can be done with it.
    """
    from IPython.display import HTML

    from kt_core.plots.interactive import save_page

    path = save_page(chart, Path(folder) / INTERACTIVE, name, title, about)
    place = f"{INTERACTIVE}/{path.name}"
    if in_jupyterlab():
        place = urllib.parse.quote(Path(os.path.relpath(path)).as_posix())
    return HTML(
        f"<p class='kt-twin'>To explore: <a href='{place}'>{html.escape(title)}"
        f"</a>. {html.escape(about)}</p>"
    )


def framed(page: Path) -> str:
    """A written page for a notebook, in a frame that holds all of it.

    Links to its sections move to them. Interactive figures do not travel along, so that it is said
    where they are.
    """
    folder = page.parent
    text = page.read_text(encoding="utf-8")
    text = TWIN.sub(lambda m: f"{m[1]}{m[3]}, in {html.escape(str(folder / m[2]))}", text)
    before, end, after = text.rpartition("</body>")
    inside = html.escape(f"{before}{TO_PLACES}\n{end}{after}")
    style = "width:100%; height:45em; border:1px solid #ccc"
    return f'<div><iframe srcdoc="{inside}" style="{style}"></iframe></div>'


def nothing(why: str):
    """Say why there is nothing to show. A section with nothing else is left out of the page, which
    says so below its contents."""
    from IPython.display import HTML

    return HTML(f"<p class='{NOTHING}'>{html.escape(why)}</p>")


def export_html(notebook: str | Path, target: str | Path, title: str) -> Path:
    """An executed notebook as one HTML page: no code, no network, images inside.

    Its contents come below the title and what is before the first section. Sections without
    anything to show are left out. Tables and figures are numbered.

    Parameters
    ----------
    notebook : executed by papermill; cells tagged `hide` are left out.
    """
    import nbformat
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="report",
        extra_template_basedirs=[str(Path(__file__).parent / "templates")],
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    content = nbformat.read(notebook, as_version=4)
    content.cells = _arranged(content.cells)
    body, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": title}})
    target = Path(target)
    write_text(target, _numbered(body))
    return target


def _arranged(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells of a page: those that are shown, with date and contents."""
    before, sections = [], []
    for cell in cells:
        if HIDDEN & set(cell.metadata.get("tags", ())):
            continue
        if heading := _heading(cell):
            sections.append((heading, [cell]))
        else:
            (sections[-1][1] if sections else before).append(cell)
    shown = [(heading, own) for heading, own in sections if not _empty(own)]
    left_out = [(heading, why) for heading, own in sections if (why := _empty(own))]
    front = [*before[:1], _written(_date()), *before[1:]]
    if shown:
        front.append(_written(_contents([heading for heading, _ in shown], left_out)))
    return front + [cell for _, own in shown for cell in own]


def _heading(cell: NotebookNode) -> str:
    """The heading of the section that a cell begins; empty where it begins none."""
    lines = cell.source.splitlines() if cell.cell_type == "markdown" else ()
    return next((line[3:].strip() for line in lines if line.startswith("## ")), "")


def _empty(section: list[NotebookNode]) -> str:
    """Why a section has nothing to show; empty where it has something."""
    outputs = [_html(output) for cell in section for output in cell.get("outputs", ())]
    if not outputs or any(f"class='{NOTHING}'" not in text for text in outputs):
        return ""
    return " ".join(html.unescape(re.sub("<[^>]*>", "", text)) for text in outputs)


def _html(output: Any) -> str:
    text = output.get("data", {}).get("text/html", "")
    return text if isinstance(text, str) else "".join(text)


def _date() -> str:
    now = datetime.date.today()
    made = f"{now.day} {now:%B %Y}"
    return f"<p class='kt-date'>Made on {made} with kt-core {version('kt-core')}.</p>"


def _contents(headings: list[str], left_out: list[tuple[str, str]]) -> str:
    links = "".join(
        f'<li><a href="#{html.escape(heading.replace(" ", "-"))}">{html.escape(heading)}</a></li>'
        for heading in headings
    )
    text = f'<nav aria-label="Contents"><h2>Contents</h2><ul>{links}</ul>'
    for heading, why in left_out:
        text += f"<p class='kt-left-out'>Left out: {html.escape(heading)}. {html.escape(why)}</p>"
    return f"{text}</nav>"


def _written(text: str) -> NotebookNode:
    """A cell that shows this HTML."""
    from nbformat.v4 import new_code_cell, new_output

    return new_code_cell(outputs=[new_output("display_data", {"text/html": text})])


def _numbered(page: str) -> str:
    """The page with its tables and figures numbered."""
    for kind in ("Table", "Figure"):
        count = itertools.count(1)
        mark = re.escape(NUMBER.format(kind))
        page = re.sub(mark, lambda _, k=kind, c=count: f"<b>{k} {next(c)}.</b> ", page)
    return page
