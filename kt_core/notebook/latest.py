"""Answers to controls that fire faster than one can compute, such as a slider that is dragged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

PAUSE = 0.05  # seconds for events that have come meanwhile, before something is computed
WORD = "computing ..."


class Latest:
    """Of all that is asked for while something is computed, each thing is done once, afterwards.

    What is done reads its values from the controls, so it sees the newest ones. In a kernel it is
    done by a task, which lets the kernel read all events that are waiting before it computes;
    without an event loop it is done at once.

    Parameters
    ----------
    work : does a list of things.
    say : shows a word while they are done, and "" afterwards.
    """

    def __init__(self, work: Callable[[list[Any]], None], say: Callable[[str], None]):
        self._work, self._say = work, say
        self._asked: dict[Any, None] = {}  # a set that keeps its order
        self._task: asyncio.Task[None] | None = None

    def ask(self, thing: Any) -> None:
        """Have a thing done: by the task, or at once without an event loop."""
        self._asked[thing] = None
        if self._task is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        self._say(WORD)
        if loop is None:
            try:
                self._do()
            finally:
                self._say("")
        else:
            self._task = loop.create_task(self._until_nothing_is_asked())

    async def _until_nothing_is_asked(self) -> None:
        try:
            await asyncio.sleep(PAUSE)
            while self._asked:
                self._do()
                await asyncio.sleep(PAUSE)
        finally:
            self._task = None
            self._say("")

    def _do(self) -> None:
        things, self._asked = list(self._asked), {}
        self._work(things)
