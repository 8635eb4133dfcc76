"""What a user adds to the package in Python: things of some kind, known by name in this process.

Processes that this one starts (cells of a study, notebooks without a screen) learn through an
environment variable which module each thing comes from, and import it. What is defined in a
notebook or in the script that runs cannot be imported, and stays in this process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from kt_core.base.digests import sha256
from kt_core.base.errors import KTError, brief, reason

KINDS = MODEL, LOSS, MEASURE, WORLD = ("model", "loss", "measure", "world")
VARIABLE = "KT_OWN"  # for child processes; it is not meant to be set by hand
_KNOWN: dict[tuple[str, str], Own] = {}
_READ: dict[str, str] = {}  # files of `among`, and their SHA-256
Result = TypeVar("Result")


@dataclass(frozen=True)
class Own:
    """A registered thing.

    Attributes
    ----------
    note : a word about it that its kind needs; empty for the others.
    """

    kind: str
    name: str
    what: Any
    note: str = ""

    @property
    def home(self) -> tuple[Path, str, str] | None:
        """The folder to import from, the module and the name in it; None if it has no such home."""
        module = sys.modules.get(getattr(self.what, "__module__", None) or "")
        file, name = getattr(module, "__file__", None), getattr(self.what, "__qualname__", "")
        if module is None or file is None or module.__name__ == "__main__":
            return None
        if _found(module, name) is not self.what:
            return None
        path = Path(file).absolute()
        levels = module.__name__.count(".") + (path.name == "__init__.py")
        return path.parents[levels], module.__name__, name

    @property
    def source(self) -> str:
        """The SHA-256 of the file that it is defined in.

        Raises
        ------
        KTError
            When it cannot be imported.
        """
        if self.home is None:
            raise KTError(
                f"{self.kind} {self.name!r}: this runs in processes of its own, and they cannot "
                "import it from a notebook or from the script that is running; define it in a "
                "module, such as my_models.py, and register it from there"
            )
        return sha256(str(sys.modules[self.home[1]].__file__))


def add(own: Own) -> None:
    """Make a thing known in this process and in those that it starts; a former one of the same kind
    and name is replaced."""
    _KNOWN[own.kind, own.name] = own
    told = {
        (o.kind, o.name): [o.kind, o.name, o.note, *map(str, o.home)]
        for o in _KNOWN.values()
        if o.home is not None
    }
    os.environ[VARIABLE] = json.dumps(list(told.values()))


def of(kind: str) -> dict[str, Own]:
    """What is known of a kind, by name, with what the parent process registered.

    Raises
    ------
    KTError
        When something that the parent process registered cannot be imported.
    """
    for k, name, note, folder, module, qualname in json.loads(os.environ.get(VARIABLE, "[]")):
        if k == kind and (k, name) not in _KNOWN:
            found = _imported(Path(folder), module)
            if not Path(found.__file__ or "").absolute().is_relative_to(folder):
                raise KTError(
                    f"{k} {name!r}: {module} in {folder} is also the name of {found.__file__}; "
                    "rename the file"
                )
            what = _found(found, qualname)
            if what is None:
                raise KTError(f"{k} {name!r}: {module} has no {qualname} any more")
            _KNOWN.setdefault((k, name), Own(k, name, what, note))
    return {name: own for (k, name), own in _KNOWN.items() if k == kind}


def carried() -> tuple[str, dict[str, str]]:
    """What `among` needs to know all of it elsewhere: `VARIABLE`, and the SHA-256 of the files."""
    homes = (own.home for own in _KNOWN.values())
    files = {str(sys.modules[home[1]].__file__) for home in homes if home is not None}
    return os.environ.get(VARIABLE, "[]"), {file: sha256(file) for file in files}


def among(
    things: tuple[str, dict[str, str]], call: Callable[..., Result], *arguments: Any
) -> Result:
    """Call a function where the things are known that another process has `carried` here, such as
    a worker of a cluster, and nothing else.

    Raises
    ------
    KTError
        When one of their files has changed since either process read it.
    """
    os.environ[VARIABLE], files = things
    for file, digest in files.items():
        now = sha256(file)
        if now != digest:
            raise KTError(f"{file}: it has changed since the command read it; call it again")
        if _READ.setdefault(file, now) != digest:
            raise KTError(f"{file}: it has changed since a worker read it; restart the workers")
    told = {(kind, name): tuple(home) for kind, name, _, *home in json.loads(things[0])}
    for key, own in list(_KNOWN.items()):  # of another command before
        if own.home is None or told.get(key) != tuple(map(str, own.home)):
            del _KNOWN[key]
    return call(*arguments)


def load(file: str | Path) -> None:
    """Import a module by its file, for what it registers.

    Raises
    ------
    KTError
        When it is not there, cannot be imported, or registers nothing.
    """
    path, before = Path(file).absolute(), dict(_KNOWN)
    if path.suffix != ".py" or not path.is_file():
        raise KTError(f"{file}: no such Python file")
    module = _imported(path.parent, path.stem)
    if Path(module.__file__ or "").absolute() != path:
        raise KTError(f"{file}: {path.stem} is also the name of {module.__file__}; rename the file")
    if before == _KNOWN:
        raise KTError(f"{file}: it registers nothing; call kt_core.register(NAME, ...) in it")


def _imported(folder: Path, name: str) -> Any:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return import_module(name)
    except KTError:
        raise
    except Exception as error:  # a user's module may raise anything
        kind = type(error).__name__
        raise KTError(
            f"{folder / name}: it cannot be imported ({kind}: {reason(error)})"
        ) from error


def _found(module: Any, qualname: str) -> Any:
    """What a module has under a name with dots; None if there is nothing."""
    for part in qualname.split("."):
        module = getattr(module, part, None)
    return module


def checked_name(name: Any, taken: tuple[str, ...]) -> None:
    """Check a name for something of a user's own.

    Raises
    ------
    KTError
        When it is not a short plain text, or is one of the package's own.
    """
    plain = isinstance(name, str) and 0 < len(name) <= 40
    plain = plain and all(c.isalnum() or c in " ._-,()" for c in name) and name[0].isalnum()
    if not plain:
        raise KTError(
            f"name {brief(name)}: expected up to 40 letters, digits, spaces or any of . , - _ ( )"
        )
    if name in taken:
        raise KTError(f"name {name!r} is taken by the package itself; choose another one")
