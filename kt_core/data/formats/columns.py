"""Which column of a long table means what, by its header alone.

A format that is known by its columns (`layouts.py`) says which it uses. In any other table the
names in `GENERAL` are searched tier by tier: a column of an earlier tier is used before one of a
later tier, and the note lists the others. Two columns of the same tier are refused, unless they are
the id and the name of the same thing.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

from kt_core.base.errors import KTError, one_line
from kt_core.data.formats.layouts import GENERAL, layout_of
from kt_core.data.reading import Layout
from kt_core.data.reading.note import ROLES as WORDS
from kt_core.data.reading.note import Use
from kt_core.data.reading.values import Show, hidden, plain

ROLES = ("user", "skill", "correct", "item", "timestamp", "fold")
REQUIRED = ("user", "skill", "correct")
KC_MODEL = re.compile(r"^kc\((.+)\)$")
JOINED = "+"  # in --column timestamp=Date+Time

KEYS = "correctanswer correctresponse rightanswer answerkey solution key"
TIME_LIKE = re.compile(r"time|date")  # in a name that is not used, and which the note lists
MAY_BE_DURATION = ("time",)
ORDERS = ("orderid", "logid", "problemlogid")  # they number answers: as good as a time


@dataclass(frozen=True)
class Columns:
    """What the columns of one long table are used as.

    Attributes
    ----------
    layout : the format.
    places : part -> positions; a part is a role, or `skill_id`, `step`, `clock`, `attempt`, ...
    uses : for the note.
    time_named : whether the column of times can only be that.
    numbered : whether the "time" is a number of the answer.
    header : the whole header.
    lookups : role -> part whose values are the keys, the table of values, and its name.
    """

    layout: Layout
    places: dict[str, tuple[int, ...]]
    uses: tuple[Use, ...]
    time_named: bool
    numbered: bool
    header: tuple[str, ...]
    lookups: dict[str, tuple[str, dict[str, str], str]] = field(default_factory=dict)

    def name(self, part: str) -> str:
        """The names of a part's columns."""
        return JOINED.join(dict.fromkeys(self.header[p] for p in self.places.get(part, ())))


def looks_long(header: list[str], columns: dict[str, str]) -> bool:
    """Whether a line can be the header of a long table."""
    names = set(map(plain, header))
    usual = {role: set(" ".join(tiers).split()) for role, tiers in GENERAL.items()}
    named = names & {plain(name) for name in columns.values() if name}
    told = names & usual["correct"] or (names & usual["user"] and names & usual["skill"])
    return bool(named or told or layout_of(header).needs)


def choose(
    header: list[str],
    columns: dict[str, str],
    path: Path,
    show: Show,
    kc_model: str = "",
    optional: tuple[str, ...] = (),
) -> Columns:
    """Choose the columns of a long table.

    Parameters
    ----------
    columns : role -> name in the file, as given by the user; an empty name says "there is none".
    kc_model : the model of knowledge components to use, where a DataShop file has several.
    optional : required roles that come from elsewhere.

    Raises
    ------
    KTError
        When a required column is missing, two columns could have the same meaning, or the name of a
        chosen column occurs twice.
    """
    choice = _Choice(list(header), columns, path, show, layout_of(header))
    for role in columns:
        choice.given(role)
    for role in GENERAL:
        if role not in columns and not (role == "step" and "item" in columns):
            choice.search(role, kc_model)
    for part in choice.layout.names:
        if part not in GENERAL and part not in choice.places:
            choice.usual(part)
    for role in REQUIRED:
        if role not in choice.places and role not in optional:
            hint = choice.layout.hint if role == "skill" else ""
            text = missing(path, role, choice.header, show)
            raise KTError(f"{text}, or {hint}" if hint else text)
    return choice.done()


class _Choice:
    """The columns chosen so far."""

    def __init__(
        self, header: list[str], columns: dict[str, str], path: Path, show: Show, layout: Layout
    ):
        unknown = set(columns) - set(ROLES)
        if unknown:
            raise KTError(f"data.columns: {sorted(unknown)} unknown; choose from {list(ROLES)}")
        self.header, self.columns, self.path, self.show = header, columns, path, show
        self.layout = layout
        self.plain = [plain(name) for name in header]
        self.taken = {name for value in columns.values() for name in self._named(value)}
        self.places: dict[str, tuple[int, ...]] = {}
        self.uses: list[Use] = []
        self.time_named, self.numbered = True, False

    def _named(self, value: str) -> list[str]:
        """The columns that a user's value names: one, or two with a + between."""
        if value in self.header or JOINED not in value:
            return [value] if value else []
        return [part.strip() for part in value.split(JOINED)]

    def given(self, role: str) -> None:
        """Use the column that the user named."""
        names = self._named(self.columns[role])
        if not names:
            if role in REQUIRED:
                raise KTError(f"--column {role}=: a table cannot do without this column")
            self.uses.append(Use(role, "none", "as you said", self._rivals(role)))
            return
        if len(names) > 1 and role not in ("timestamp", "item"):
            raise KTError(missing(self.path, self.columns[role], self.header, self.show))
        for name in names:
            if name not in self.header:
                raise KTError(missing(self.path, name, self.header, self.show))
        parts = {"timestamp": ("timestamp", "clock"), "item": ("item", "step")}.get(role, (role,))
        if len(names) > len(parts):
            raise KTError(f"--column {role}={self.columns[role]}: at most {len(parts)} columns")
        for part, name in zip(parts, names, strict=False):
            model = KC_MODEL.match(plain(name)) if role == "skill" else None
            self._place(part, name, several=bool(model))
        self.uses.append(Use(role, JOINED.join(names), "named by you", self._rivals(role)))

    def usual(self, role: str) -> bool:
        """Use the column that the format has for a role."""
        for name in self.layout.names.get(role, "").split():
            if name in self.plain and self.header[self.plain.index(name)] not in self.taken:
                self._use(role, self.header[self.plain.index(name)])
                return True
        return False

    def search(self, role: str, kc_model: str) -> None:
        """Find the column of a role by its name."""
        if self.usual(role):
            return
        models = self._models() if role == "skill" else {}
        if models:
            self._model(models, kc_model)
            return
        if role == "skill" and kc_model:
            raise KTError(
                f"{self.path}: data.kc_model {kc_model!r}: no column KC (...); leave it out"
            )
        for rank, tier in enumerate(GENERAL[role]):
            found = self._present(tier)
            if role == "correct" and rank == len(GENERAL[role]) - 1 and found:
                self._check_chosen(found[0])
            if role == "timestamp" and {plain(n) for n in found} == {"time", "date"}:
                self._date_and_time(*sorted(found, key=plain))
                return
            if found:
                self._first(role, found)
                return

    def _check_chosen(self, name: str) -> None:
        """Raise a KTError where a response may be the option that was chosen."""
        keys = self._present(KEYS)
        if keys:
            raise KTError(
                f"{self.path}: {self._names([name])} may be the option that a learner chose, as "
                f"there is also {self._names(keys)}; add a column that says 1 for right and 0 for "
                f"wrong, or say that it does: --column correct={self._one(name)}"
            )

    def _present(self, names: str) -> list[str]:
        usual = names.split()
        found = [n for n, p in zip(self.header, self.plain, strict=True) if p in usual]
        return [n for n in dict.fromkeys(found) if n not in self.taken]

    def _rivals(self, role: str, but: str = "") -> tuple[str, ...]:
        names = " ".join((*GENERAL.get(role, ()), self.layout.names.get(role, "")))
        found = [n for n in self._present(names) if n != but]
        if role == "timestamp":
            like = zip(self.header, self.plain, strict=True)
            found += [n for n, p in like if TIME_LIKE.search(p) and n not in (*found, but)]
        return tuple(n for n in found if n not in self.taken)

    def _first(self, role: str, found: list[str]) -> None:
        """One of the columns of a tier, all of which must be about the same thing."""
        stems = {re.sub(r"(id|name|s)$", "", plain(n)) for n in found}
        if len(stems) > 1:
            a, b = map(self._one, found[:2])
            raise KTError(
                f"{self.path}: {self._names(found)} could each be the {WORDS.get(role, role)}; "
                f"name one of them: --column {role}={a} or --column {role}={b}"
            )
        ids = [n for n in found if plain(n).endswith("id")]
        others = [n for n in found if n not in ids]
        if role == "skill" and ids and others:
            self._place("skill", others[0])
            self._place("skill_id", ids[0])
            return
        why = "its id" if ids and others else ""
        self._use(role, (ids or others)[0], why)

    def _use(self, role: str, name: str, why: str = "") -> None:
        self._place(role, name)
        if role == "timestamp":
            self.time_named = plain(name) not in MAY_BE_DURATION
            self.numbered = plain(name) in ORDERS
        if role in GENERAL and role != "step":
            self.uses.append(Use(role, name, why, self._rivals(role, name)))

    def _date_and_time(self, date: str, time: str) -> None:
        self._place("timestamp", date)
        self._place("clock", time)
        others = tuple(n for n in self._rivals("timestamp") if n not in (date, time))
        self.uses.append(Use("timestamp", f"{date}{JOINED}{time}", "", others))

    def _models(self) -> dict[str, str]:
        """Models of knowledge components: plain name -> name."""
        names = zip(self.header, self.plain, strict=True)
        return {p: n for n, p in names if KC_MODEL.match(p) and n not in self.taken}

    def _model(self, models: dict[str, str], wanted: str) -> None:
        if wanted:
            asked = plain(wanted)
            chosen = models.get(asked) or models.get(f"kc({asked})")
            if chosen is None:
                raise KTError(
                    f"{self.path}: no model {wanted!r}; choose one with --kc-model: "
                    f"{self._names(models.values())}"
                )
        elif len(models) > 1:
            first = self._one(next(iter(models.values())).partition("(")[2].rstrip(") "))
            raise KTError(
                f"{self.path}: {len(models)} models of knowledge components: "
                f"{self._names(models.values())}; choose one, for instance --kc-model {first}"
            )
        else:
            chosen = next(iter(models.values()))
        self._place("skill", chosen, several=True)
        rivals = tuple(n for n in models.values() if n != chosen) + self._rivals("skill")
        why = "as you said" if wanted else "the only model of knowledge components"
        self.uses.append(Use("skill", chosen, why, rivals))

    def _place(self, part: str, name: str, several: bool = False) -> None:
        at = tuple(i for i, n in enumerate(self.header) if n == name)
        if len(at) > 1 and not several:
            raise KTError(
                f"{self.path}: {len(at)} columns are called {self.show(name)}; rename "
                f"those that are not the {WORDS.get(part, part)}"
            )
        self.places[part] = at

    def _names(self, names) -> str:
        return self.show(None) if self.show is hidden else ", ".join(map(one_line, names))

    def _one(self, name: str) -> str:
        return "NAME" if self.show is hidden else shlex.quote(one_line(name))

    def done(self) -> Columns:
        """The choice."""
        places = dict(self.places)
        if "step" in places and "item" not in places:
            places["item"] = places.pop("step")
            self.uses.append(Use("item", self.header[places["item"][0]]))
        elif "step" in places and not any(
            JOINED in u.column for u in self.uses if u.role == "item"
        ):
            step = self.header[places["step"][0]]
            self.uses = [
                replace(u, column=f"{u.column}{JOINED}{step}") if u.role == "item" else u
                for u in self.uses
            ]
        if "timestamp" not in places and "timestamp" not in self.columns:
            others = self._rivals("timestamp")
            if others:
                self.uses.append(Use("timestamp", "none", "no usual name", others))
        rank = {role: i for i, role in enumerate(ROLES)}
        uses = tuple(sorted(self.uses, key=lambda u: rank[u.role]))
        header = tuple(self.header)
        return Columns(self.layout, places, uses, self.time_named, self.numbered, header)


def missing(path: Path, name: str, header: list[str], show: Show) -> str:
    """What to say of a column that is not there."""
    found = show(None) if show is hidden else ", ".join(one_line(n, 40) for n in header[:30])
    return f"{path}: no column for {name!r}; it has: {found}. Name it with --column (data.columns)"
