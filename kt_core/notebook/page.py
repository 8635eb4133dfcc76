"""What a notebook shows: tables with captions, and the whole notebook as one HTML page."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd

from kt_core.base.files import write_text
from kt_core.base.log import log_to_output


def begin() -> None:
    """Set up a notebook: the style of figures, and log messages below the cell."""
    from kt_core.plots.style import use_style  # takes seconds to load, for figures alone

    use_style()
    log_to_output()


def show(table: pd.DataFrame, caption: str = "", digits: int = 3):
    """A table for a notebook, with every cell escaped and a caption that says how to read it."""
    from IPython.display import HTML

    body = table.to_html(
        index=False, border=0, na_rep="not defined", float_format=lambda x: f"{x:.{digits}f}"
    )
    text = f"<p class='kt-caption'>{html.escape(caption)}</p>" if caption else ""
    return HTML(f"<div class='kt-table'>{body}</div>{text}")


def export_html(notebook: str | Path, target: str | Path, title: str) -> Path:
    """An executed notebook as one HTML page: no code, no network, images inside.

    Parameters
    ----------
    notebook : executed by papermill; cells tagged `hide` are left out.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.remove_cell_tags = ("hide", "injected-parameters", "parameters")
    config.HTMLExporter.preprocessors = ["nbconvert.preprocessors.TagRemovePreprocessor"]
    exporter = HTMLExporter(
        config=config,
        template_name="report",
        extra_template_basedirs=[str(Path(__file__).parent / "templates")],
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    content = nbformat.read(notebook, as_version=4)
    headings = [
        line.removeprefix("## ").strip()
        for cell in content.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    resources = {"metadata": {"name": title}, "contents": headings}
    body, _ = exporter.from_notebook_node(content, resources=resources)
    target = Path(target)
    write_text(target, body)
    return target
