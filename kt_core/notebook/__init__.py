"""All that knows Jupyter: headless runs, the dashboard, the explorer, pages and PDF."""

from importlib import import_module

from kt_core.notebook.page import answers, begin, figure, nothing, show, twin

_HOME = {"Dashboard": "dashboard", "Explorer": "explorer", "in_jupyterlab": "headless"}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
