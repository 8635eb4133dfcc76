"""The house's docstrings for the reference: descriptions stand where numpydoc expects types.

Types are in the signatures. So ``name : what it is`` becomes a name with a description, and what a
function returns is described, not named.
"""

from __future__ import annotations

import re
import textwrap

from griffe import Extension

SECTION = re.compile(r"^([A-Z]\w+)\n-{3,}\n", re.MULTILINE)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*) : (.+(?:\n    .+)*)$", re.MULTILINE)


class HouseStyle(Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj, **_):
        """A module, class, function or attribute has been read."""
        if obj.docstring:
            obj.docstring.value = as_numpydoc(obj.docstring.value)


def as_numpydoc(text: str) -> str:
    """The docstring with names and descriptions where numpydoc has them."""
    summary, *parts = SECTION.split(text)
    found = [summary]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in ("Parameters", "Attributes"):
            body = ENTRY.sub(_each, body)
        elif name == "Returns":
            body = ":\n" + textwrap.indent(body, "    ")
        found.append(f"{name}\n{'-' * len(name)}\n{body}")
    return "".join(found)


def _each(entry: re.Match[str]) -> str:
    """An entry for each of the names that share a description, as each has a type of its own."""
    names, description = entry.groups()
    return "\n".join(f"{name}\n    {description}" for name in names.split(", "))
