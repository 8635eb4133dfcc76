"""The words of the pages, from one file per language.

A language is a file in ``words/``, such as ``en.toml``, or any file of that form
(docs/guide.md, "Another language"). English says which words there are and which values each has.
"""

from __future__ import annotations

import string
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kt_core.base.errors import KTError, brief, reason

FOLDER = Path(__file__).parent / "words"
USUAL = "en"
FORMS = {"one", "many"}  # of a word that is chosen by the value of {n}


@dataclass(frozen=True)
class Words:
    """The words of one language.

    >>> read("de")("learner.stuck", n=2)
    'Festgefahren bei 2 Fertigkeiten.'
    """

    texts: dict[str, Any]  # dotted name -> text, or its forms

    def __call__(self, name: str, **values: Any) -> str:
        """A text with its values; whole numbers are written as the language groups their digits."""
        text = self.texts[name]
        if isinstance(text, dict):
            text = text["one" if values["n"] == 1 else "many"]
        return text.format(**{key: self.number(value) for key, value in values.items()})

    def number(self, value: Any) -> Any:
        """A whole number as text; anything else as it is."""
        if not isinstance(value, int):
            return value
        return f"{value:,}".replace(",", self.texts["thousands"])

    def percent(self, share: float) -> str:
        """A share in [0, 1] in per cent."""
        return self.texts["percent"].format(value=f"{100 * share:.0f}")


def languages() -> list[str]:
    """The languages of the package, by their codes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(language: str = USUAL) -> Words:
    """The words of a language of the package, or of a file of one's own.

    Parameters
    ----------
    language : a code such as ``de``, or the path of a ``.toml`` file.

    Raises
    ------
    KTError
        For an unknown language, or a file that cannot be read, lacks a word, or has one that the
        pages do not use.
    """
    own = language.endswith(".toml")
    if not own and language not in languages():
        raise KTError(
            f"language {brief(language)}: choose {' or '.join(languages())}, or name a .toml file "
            "with the words of another one (docs/guide.md)"
        )
    path = Path(language) if own else FOLDER / f"{language}.toml"
    texts = _texts(path)
    if path != FOLDER / f"{USUAL}.toml":
        _check(path, texts, _texts(FOLDER / f"{USUAL}.toml"))
    return Words(texts)


def _texts(path: Path) -> dict[str, Any]:
    """The texts of a file by dotted name."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KTError(f"{path}: cannot be read ({reason(error.strerror)})") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise KTError(f"{path}: not a TOML file in UTF-8 ({reason(error)})") from None
    texts = {}
    for name, value in content.items():
        if isinstance(value, dict):
            texts |= {f"{name}.{key}": text for key, text in value.items()}
        else:
            texts[name] = value
    return texts


def _check(path: Path, texts: dict[str, Any], usual: dict[str, Any]) -> None:
    """Raise a KTError unless a language has the words of English, with their values."""
    for what, names in (("lacks", usual.keys() - texts), ("unknown:", texts.keys() - usual)):
        if names:
            listed = ", ".join(sorted(names))
            raise KTError(f"{path}: {what} {listed}; compare it with {FOLDER / 'en.toml'}")
    for name, text in texts.items():
        counted = isinstance(usual[name], dict)
        forms = text if isinstance(text, dict) else {"": text}
        if set(forms) != (FORMS if counted else {""}) or not all(map(_is_text, forms.values())):
            kind = 'texts "one" and "many"' if counted else "a text"
            raise KTError(f"{path}: {name} = {brief(text)}: expected {kind}")
        known = _values(path, name, usual[name])
        if unknown := _values(path, name, text) - known:
            listed = ", ".join(sorted(known)) or "no values"
            raise KTError(f"{path}: {name} has {{{min(unknown)}}}; the pages give it {listed}")


def _is_text(text: Any) -> bool:
    return isinstance(text, str) and bool(text)


def _values(path: Path, name: str, text: Any) -> set[str]:
    """The names of the values in a text, or in its forms."""
    forms = text.values() if isinstance(text, dict) else [text]
    try:
        parsed = [field for form in forms for _, field, _, _ in string.Formatter().parse(form)]
    except ValueError as error:
        raise KTError(f"{path}: {name}: {reason(error)}; write a brace as {{{{ or }}}}") from None
    return {field for field in parsed if field is not None}
