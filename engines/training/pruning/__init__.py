"""Structured pruning: whole channels go, and what stays is a smaller network of the same plain operators.

`structured` takes the channels away, by the dependency graph of Torch-Pruning (Fang et al. 2023, "DepGraph: Towards
Any Structural Pruning"); `fine_tuning` goes from a trained run to a pruned one, whose training is `trainer`'s.
"""

from engines.training.pruning.fine_tuning import Stage, prune
from engines.training.pruning.structured import IMPORTANCES, PruningRequest

__all__ = ["IMPORTANCES", "PruningRequest", "Stage", "prune"]
