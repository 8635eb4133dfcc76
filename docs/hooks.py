"""Hooks of the site (mkdocs.yml): pages from outside docs/, links to the source, and formulas.

The README is the first page. A link to a file of the package leads to a page with its source.
Formulas become MathML, which browsers show by themselves. What `docs/pages.py` has executed is
taken from build/docs.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
MADE = ROOT / "build" / "docs"
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
ITEM, INSIDE = re.compile(r"(-|\d+\.) "), re.compile(r"(-|\d+\.) |  ")
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"  # else code would come before its explanation
SOURCES: set[str] = set()  # files of the package that pages link to


def on_files(files, config):
    """Add the README, its pictures, what was executed, and the source files that are linked."""
    if not (MADE / "first-hour.md").is_file():
        raise PluginError(f"{MADE} holds no executed pages: build the site with `make docs`")
    files.append(File.generated(config, "index.md", content=_text(ROOT / "README.md")))
    for folder, base in ((ROOT / "figures", ROOT), (MADE, MADE)):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(base).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for name in ("CITATION.cff", "LICENSE"):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    SOURCES.clear()
    for page in files.documentation_pages():
        for _, target, *_ in LINK.findall(page.content_string):
            if target.endswith(".py"):
                SOURCES.add(_place(page.src_uri, target))
    for name in sorted(SOURCES):
        if not (ROOT / name).is_file():
            raise PluginError(f"a page links to {name}, which does not exist")
        code = f"{UNSEARCHED}# {name}\n\n````python\n{_text(ROOT / name)}````\n"
        files.append(File.generated(config, f"source/{name}.md", content=code))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links lead to where things are on the site, and lists be read as on other readers."""

    def led(match):
        start, target, anchor, end = match.groups()
        if target.endswith(".py"):
            place = f"source/{_place(page.file.src_uri, target)}.md"
        elif page.file.src_uri == "index.md" and not re.match(r"[a-z]+:", target):
            place = target.removeprefix("docs/")
        else:
            return match.group()
        here = posixpath.dirname(page.file.src_uri)
        return f"{start}{posixpath.relpath(place, here or '.')}{anchor or ''}{end}"

    return with_lists(LINK.sub(led, markdown))


def with_lists(markdown: str) -> str:
    """Lists as Python-Markdown wants them: a blank line before, and four spaces within an item."""
    lines, fenced, parted = [], False, False  # parted: the item has a blank line in it
    for line in markdown.split("\n"):
        fenced ^= line.lstrip().startswith("```")
        before = lines[-1] if lines else ""
        if not fenced and ITEM.match(line):
            if before.strip() and (parted or not INSIDE.match(before)):
                lines.append("")
            parted = False
        parted |= not line.strip()
        lines.append(f"  {line}" if not fenced and re.match(r"  \S", line) else line)
    return "\n".join(lines)


def on_page_content(content, page, config, files):
    """Replace LaTeX by MathML."""

    def drawn(match):
        _, bracket, formula = match.groups()
        display = "block" if bracket == "[" else "inline"
        return convert(html.unescape(formula), display=display)

    return FORMULA.sub(drawn, content)


def _place(page: str, target: str) -> str:
    """The path from the root of a file that a page links to."""
    here = "" if page == "index.md" else "docs"
    return posixpath.normpath(posixpath.join(here, posixpath.dirname(page), target))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
