"""A search for a better recipe, by short trainings: Optuna proposes, the trainer tries, seeds decide."""

from __future__ import annotations

from engines.training.tuning.search import Tuning
from engines.training.tuning.space import Space, read_space, usual_space
from engines.training.tuning.tuning import Outcome, tune

__all__ = ["Outcome", "Space", "Tuning", "read_space", "tune", "usual_space"]
