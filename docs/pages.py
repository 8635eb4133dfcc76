"""Pages that are executed before the site is built: the first notebook, and the gallery's figures.

python docs/pages.py build/docs
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
NOTEBOOK, PAGE = "00_first_hour", "first-hour"


def main() -> None:
    """Write the executed pages into a folder, which is emptied before."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "gallery").mkdir(parents=True)
    first_hour(folder)
    gallery(folder / "gallery")


def first_hour(folder: Path) -> None:
    """The executed notebook as Markdown, with its figures in a folder of their own."""
    from nbconvert import MarkdownExporter

    from kt_core.notebook.headless import executed

    with executed(NOTEBOOK, {}) as done:
        resources = {"output_files_dir": PAGE}
        text, made = MarkdownExporter().from_filename(str(done), resources)
    (folder / PAGE).mkdir()
    for name, content in made["outputs"].items():
        (folder / name).write_bytes(content)
    (folder / f"{PAGE}.md").write_text(text, encoding="utf-8")


def gallery(folder: Path) -> list[Path]:
    """Run the code of the gallery, block after block, and save the figure of each."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("agg")
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    names, made = {"__name__": "gallery"}, []
    plt.close("all")
    for block in BLOCK.findall(text):
        exec(block, names)
        drawn = [plt.figure(number) for number in plt.get_fignums()]
        if "figure" in names:  # what a function made without pyplot
            drawn.append(names.pop("figure"))
        for figure in dict.fromkeys(drawn):
            made.append(folder / f"{len(made) + 1}.png")
            figure.savefig(made[-1], dpi=150)
        plt.close("all")
    shown = re.findall(r"\(gallery/(\d+)\.png\)", text)
    if shown != [path.stem for path in made]:
        raise SystemExit(f"gallery.md shows the figures {shown}, but {len(made)} were drawn")
    return made


if __name__ == "__main__":
    main()
