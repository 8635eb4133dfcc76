"""Single values of a configuration, converted to the type of their field."""

from __future__ import annotations

import os
import typing
from pathlib import Path
from typing import Any, Literal

import yaml

from kt_core.base.errors import KTError, brief


def convert(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`: int, float, bool, str, a Literal of texts, or a dict of texts to texts or
    numbers.

    Text is converted as from the command line; other values are not converted.

    Raises
    ------
    KTError
        When it is not of that kind. The message begins with `name`.
    """
    origin = typing.get_origin(kind)
    if origin is Literal:
        if not isinstance(value, str) or value not in typing.get_args(kind):
            choices = ", ".join(map(str, typing.get_args(kind)))
            raise KTError(f"{name} = {brief(value)}: choose one of: {choices}")
        return value
    if origin is dict:
        named = _mapping(name, value)
        if typing.get_args(kind)[1] is float:
            return {key: convert(f"{name}[{key!r}]", text, float) for key, text in named.items()}
        return named
    if kind is bool:
        return _truth(name, value)
    wrong = KTError(f"{name} = {brief(value)}: expected {kind.__name__}")
    if kind is str:
        if not isinstance(value, str | os.PathLike):
            raise wrong
        return str(value)
    if isinstance(value, bool) or (kind is int and _fraction(value)):
        raise wrong
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None


def _truth(name: str, value: Any) -> bool:
    known = isinstance(value, str) or (isinstance(value, int) and value in (0, 1))
    text = str(value).lower() if known else ""
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise KTError(f"{name} = {brief(value)}: expected true or false")
    return text in ("true", "1", "yes")


def _mapping(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, str):
        value = _yaml(value)
    plain = isinstance(value, dict) and all(
        isinstance(part, str | int | float) for pair in value.items() for part in pair
    )
    if not plain:
        raise KTError(f"{name} = {brief(value)}: expected a mapping of names to names")
    return {str(k): str(v) for k, v in value.items()}


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _fraction(value: Any) -> bool:
    return isinstance(value, float) and not value.is_integer()


def whole_number(name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an int of at least `low` and at most `high`.

    Raises
    ------
    KTError
        When it is not one.
    """
    number = convert(name, value, int)
    if number < low or (high is not None and number > high):
        wanted = f"at least {low}" if high is None else f"between {low} and {high:,}"
        raise KTError(f"{name} = {brief(value)}: must be {wanted}")
    return number


def counted(thing: str, number: int) -> str:
    """A number of things in words, such as 1 skill and 2 skills."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def is_text(value: str) -> bool:
    """Whether a text can be written as UTF-8, that is, has no unpaired surrogate."""
    return not any("\ud800" <= c <= "\udfff" for c in value)


def path_of(name: str, value: Any) -> Path:
    """`value` as a path.

    Raises
    ------
    KTError
        When it is empty or not text.
    """
    text = convert(name, value, str)
    if not text or "\0" in text:
        raise KTError(f"{name} = {brief(text)}: expected the name of a file or folder")
    return Path(text)


def names_of(name: str, value: Any) -> list[str]:
    """`value` as a list of names; numbers count as names.

    Raises
    ------
    KTError
        When it is not a list, or holds anything else.
    """
    plain = isinstance(value, list | tuple) and all(
        isinstance(v, str | int | os.PathLike) and not isinstance(v, bool) for v in value
    )
    if not plain:
        raise KTError(f"{name} = {brief(value)}: expected a list of names, such as ['a', 'b']")
    return [str(v) for v in value]
