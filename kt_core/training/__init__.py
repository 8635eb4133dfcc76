"""Training: one function, the callbacks it is given, and checkpoints to resume from."""

from kt_core.training.train import train
