"""The checks of the doctor, a module for each part of a run; importing one registers its checks."""

from recipes.doctor.checks import config, data, finished, labels, learning, model, strength, tricks

__all__ = ["config", "data", "finished", "labels", "learning", "model", "strength", "tricks"]
