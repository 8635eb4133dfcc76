"""The shapes of a model's tensors, without the memory that the tensors would take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from kt_core.model import GainAKT2


class _NoValues(TorchFunctionMode):
    """Skips initial values, except the few that are used in computations: these are on the CPU. To
    draw or compute on the meta device, torch would load its compiler, which takes seconds."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if function in (torch.arange, torch.logspace, torch.randn):
            kwargs = kwargs | {"device": "cpu"}
        return (torch.empty if function is torch.randn else function)(*args, **kwargs)


def shapes(*model: Any) -> dict[str, Tensor]:
    """The state of `GainAKT2(*model)` as tensors with shapes and kinds, but without values."""
    with torch.device("meta"), _NoValues():
        return GainAKT2(*model).state_dict()
