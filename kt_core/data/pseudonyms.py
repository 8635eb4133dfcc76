"""Pseudonyms for learner ids: a keyed hash, so that no file contains an id.

A pseudonym is the first 12 hexadecimal digits of HMAC-SHA-256 of the id. The same key gives the
same pseudonyms; without the key, ids cannot be guessed and checked. The key is `KT_PSEUDONYM_KEY`,
or else a file made on first use that only the user can read; it is not written or shown elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import secrets
from pathlib import Path

import pandas as pd

from kt_core.base.errors import KTError, reason

KEY = "KT_PSEUDONYM_KEY"
DIGITS = 12  # in 1 of 560 data sets of a million learners two share a pseudonym, which is an error
WHOLE = 32  # digits that tell two ids with the same pseudonym apart
SHORTEST_KEY = 16  # characters; a shorter key can be guessed
DIFFERENT = 8  # characters that differ
TURNS = 7  # neighbours that are not next to each other in one of `ROWS`
ROWS = ("0123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm")


class Pseudonyms:
    """The pseudonyms under one key.

    Attributes
    ----------
    fingerprint : 8 hexadecimal digits that tell keys apart without revealing them.
    """

    def __init__(self, key: str):
        self._key = key.encode()
        self.fingerprint = self._digest("\0kt_core: fingerprint of the key")[:8]

    def of(self, ids: pd.Series) -> pd.Series:
        """The pseudonym of each id. Blank ids stay blank, and the readers refuse them.

        Raises
        ------
        KTError
            When two ids have the same pseudonym.
        """
        return shortened(self.whole(ids))

    def whole(self, ids: pd.Series) -> pd.Series:
        """The full hashes, of which pseudonyms are the first digits."""
        names = {name: self._digest(name) if name.strip() else "" for name in ids.unique()}
        return ids.map(names)

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:WHOLE]


def shortened(whole: pd.Series) -> pd.Series:
    """Hashes cut to the length of pseudonyms.

    Raises
    ------
    KTError
        When two become the same.
    """
    short = whole.str[:DIGITS]
    if short.nunique() < whole.nunique():
        raise KTError(
            f"two learners have the same pseudonym of {DIGITS} digits; use another key: set {KEY}"
        )
    return short


def pseudonyms() -> Pseudonyms:
    """The pseudonyms under the user's key, which is made if there is none.

    Raises
    ------
    KTError
        For a key that can be guessed, or a file that others can read or that cannot be read.
    """
    key = os.environ.get(KEY)
    if key is None:
        key = _kept()
    if _weak(key):
        where = KEY if KEY in os.environ else key_file()
        raise KTError(
            f"{where}: expected a key of {SHORTEST_KEY} characters or more, of which at least "
            f"{DIFFERENT} differ, not one part repeated, and not in the order of digits, alphabet "
            "or keyboard; for instance the output of: openssl rand -hex 32"
        )
    return Pseudonyms(key)


def _weak(key: str) -> bool:
    """Whether a key can be guessed: too short, few characters, repeated, or a known sequence."""
    half = len(key) // 2
    repeated = any(key[part:] == key[:-part] for part in range(1, half + 1))
    turns = sum(not _in_a_row(a, b) for a, b in itertools.pairwise(key.lower()))
    short = len(key) < SHORTEST_KEY or len(set(key)) < DIFFERENT
    return short or repeated or turns < TURNS


def _in_a_row(a: str, b: str) -> bool:
    return a == b or any(a + b in row or b + a in row for row in ROWS)


def key_file() -> Path:
    """The file of the key that is made on first use."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "kt_core" / "pseudonym.key"


def same_key(was: str, now: str, what: str) -> None:
    """Raise a KTError if `what` was read under another key than the present one."""
    if was != now:
        raise KTError(
            f"{what}: its learners' pseudonyms were made with another key (fingerprint "
            f"{reason(was)} then, {now or 'none'} now); set {KEY} to the earlier key, or restore "
            f"{key_file()}"
        )


def _kept() -> str:
    file = key_file()
    try:
        if not file.exists():
            _make(file)
        if file.stat().st_mode & 0o077:
            raise KTError(f"{file}: others can read this key; chmod 600 {file}")
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KTError(
            f"{file}: the key for pseudonyms can be neither read nor made ({error}); set {KEY}"
        ) from None


def _make(file: Path) -> None:
    """A new key, complete or not at all; if two processes make one, the first is kept."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
            out.write(secrets.token_hex(32) + "\n")
        try:
            os.link(scratch, file)
        except FileExistsError:
            return
    finally:
        scratch.unlink(missing_ok=True)
