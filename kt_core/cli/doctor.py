"""`doctor`: checks of everything that a run needs."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from kt_core.data.registry import DATASETS, found
from kt_core.losses import next_step
from kt_core.model import GainAKT2
from kt_core.presets import preset
from kt_core.runs.provenance import PACKAGES
from kt_core.runs.run import free_folder


def check(out: Path) -> int:
    """Print one line per check; return 1 if one has failed."""
    checks: dict[str, Callable[[], str]] = {
        "python": _python,
        "packages": _packages,
        "device": _device,
        "kernel": _kernel,
        "run folder": lambda: _writable(out),
        "forward and backward": _step,
        "data": _data,
    }
    failed = 0
    for name, run in checks.items():
        try:
            print(f"ok      {name:22s}{run()}")
        except Exception as error:  # a check that fails for any reason is a finding
            failed += 1
            print(f"FAILED  {name:22s}{error}")
    print("all is well" if not failed else f"{failed} of {len(checks)} checks failed")
    return int(failed > 0)


def _python() -> str:
    return platform.python_version()


def _packages() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads (torch finds no GPU)"


def _kernel() -> str:
    from jupyter_client.kernelspec import KernelSpecManager

    return KernelSpecManager().get_kernel_spec("python3").display_name


def _writable(out: Path) -> str:
    free_folder(out / "run")
    return str(out)


def _step() -> str:
    model = GainAKT2(preset("smoke").model, n_skills=5)
    skills, responses = torch.randint(0, 5, (4, 12)), torch.randint(0, 2, (4, 12))
    loss = next_step(model(skills, responses), responses, torch.ones(4, 12, dtype=torch.bool))
    loss.backward()
    if not torch.isfinite(loss):
        raise RuntimeError(f"the loss is {loss}")
    return f"loss {loss.item():.3f}"


def _data() -> str:
    return "; ".join(f"{name}: {found(name)}" for name in DATASETS)
