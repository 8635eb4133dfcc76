"""A notebook as a page: contents of what is there, numbered captions, nothing hidden or empty."""

import html
import logging
import re

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kt_core.base.log import log
from kt_core.notebook import page as pages
from kt_core.notebook.headless import keep
from kt_core.notebook.page import answers, export_html, figure, framed, nothing, show, twin
from kt_core.plots import interactive

TABLE = pd.DataFrame({"name": ["<i>a</i>", None], "value": [0.12345, float("nan")]})


def code(*shown, tags=()):
    outputs = [nbformat.v4.new_output("display_data", {"text/html": s.data}) for s in shown]
    return nbformat.v4.new_code_cell("1", outputs=outputs, metadata={"tags": list(tags)})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    text, picture = nbformat.v4.new_markdown_cell, Figure()
    picture.subplots().plot([1, 2])
    cells = [
        text("# A title\n\nWhat it is."),
        code(
            answers([("Is it?", "Yes.", "It is <so>.", "good"), ("What not?", "", "This.", "open")])
        ),
        text("## Tables & more"),
        code(show(TABLE, "The first."), show(TABLE, "The second.", marks=["bad", "open"])),
        text("## Explore", metadata={"tags": ["hide"]}),
        code(nothing("gone"), tags=["hide"]),
        text("## Recovery"),
        code(nothing("This data has no <true> mastery.")),
        text("## A figure"),
        code(figure(picture, folder, "line", "A line.", 'From "one" to two.'), nothing("No more.")),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "n.ipynb")
    export_html(folder / "n.ipynb", folder / "n.html", "Title")
    return (folder / "n.html").read_text(encoding="utf-8")


def test_title_date_and_answers_come_before_the_contents(page):
    order = ["<h1", "Made on ", "Is it?", "<nav", "Tables &amp; more", "The first."]
    places = [page.index(part) for part in order]
    assert places == sorted(places)
    assert re.search(r"Made on \d+ [A-Z][a-z]+ \d{4} with kt-core", page)


def test_a_framed_page_moves_to_its_sections_and_has_no_link_to_other_files(page, tmp_path):
    link = "<p class='kt-twin'>To explore: <a href='interactive/c.html'>Parts &amp; more</a>. It."
    file = tmp_path / "report.html"
    file.write_text(page.replace("<nav", f"{link}</p><nav", 1), encoding="utf-8")
    shown = framed(file)
    assert shown.count("<iframe") == 1 and shown.count('"') == 4
    inside = html.unescape(re.search('srcdoc="([^"]*)"', shown)[1])
    place = tmp_path / "interactive/c.html"
    assert f"To explore: Parts &amp; more, in {place}. It." in inside
    links = re.findall("""<a [^>]*href=["']([^"']*)""", inside)
    assert links and all(link.startswith("#") for link in links)
    assert "scrollIntoView" in inside and inside.rstrip().endswith("</html>")


def test_contents_link_to_what_is_there(page):
    anchors = re.findall(r'<li><a href="#([^"]+)">', page)
    assert len(anchors) == 2 and all(f'id="{a}"' in page for a in anchors)
    assert "Explore" not in page and "gone" not in page
    assert page.count("Recovery") == 1  # where it is said why it is left out
    assert "Left out: Recovery. This data has no &lt;true&gt; mastery." in page
    assert "No more." in page  # next to something else it is shown


def test_captions_are_numbered_and_figures_described(page):
    assert "<b>Table 1.</b> The first." in page and "<b>Table 2.</b> The second." in page
    assert "<b>Figure 1.</b> A line." in page and "kt-number" not in page
    assert re.search(r"<img alt=['\"]From .*two\.['\"] src=\"data:image/svg\+xml;base64,", page)


def test_verdicts_have_words_and_colours(page):
    assert re.search(r'<span class="kt-mark" style="background:#fadccf[^>]*>fails</span>', page)
    assert re.search(r'style="background:#d5efe3[^>]*>Yes\.</span> It is &lt;so&gt;\.', page)


def test_cells_are_text():
    table = show(TABLE).data
    assert "&lt;i&gt;a&lt;/i&gt;" in table and "0.123" in table and table.count("not defined") == 2
    assert "<caption" not in table and "yes" in show(pd.DataFrame({"a": [True]})).data


def test_a_large_drawing_is_shown_as_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "MOST_SVG", 10)
    drawn = figure(Figure(), tmp_path, "x", "Nothing.", "Nothing.").data
    assert "data:image/png;base64,iVBOR" in drawn


def test_links_to_interactive_figures_lead_from_where_they_are_read(tmp_path, monkeypatch):
    parts = {"kind": ["skills"], "name": ["s"], "answers": [9]}
    parts |= {"first": [0.6], "second": [0.5], "difference": [-0.1]}
    chart = interactive.comparison(pd.DataFrame(parts))
    folder = tmp_path / "runs" / "it's 1"
    link = twin(chart, folder, "c", "<i>Parts</i>", "Choose.")
    assert "<a href='interactive/c.html'>&lt;i&gt;Parts&lt;/i&gt;</a>" in link.data
    cells = [nbformat.v4.new_markdown_cell("# A title"), code(link)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    keep(tmp_path / "n.ipynb", folder)
    kept = nbformat.read(folder / "notebooks" / "n.ipynb", 4).cells[1].outputs[0].data["text/html"]
    (place,) = re.findall("href='(.*?)'", kept)
    assert (folder / "notebooks" / place).resolve() == (folder / "interactive" / "c.html").resolve()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setattr(pages, "in_jupyterlab", lambda: True)
    shown = twin(chart, folder, "c", "Parts", "Choose.").data
    assert "<a href='../runs/it%27s%201/interactive/c.html'>" in shown


def test_a_notebook_tells_a_note_once_and_every_warning(capsys, monkeypatch):
    mine = logging.NullHandler()
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", False)
    for _ in range(2):  # a second notebook in the same kernel tells it again
        pages.begin()
        for level in (logging.INFO, logging.INFO, logging.WARNING, logging.WARNING):
            log.log(level, "read")
        assert capsys.readouterr() == ("read\n" * 3, "")
    assert len(log.handlers) == 1
    monkeypatch.setattr(log, "handlers", [mine])
    pages.begin()
    assert log.handlers == [mine]  # what the user has set up stays
