"""What a network learns from: datasets mixed by weight, mapped to one list of classes, and varied.

`example.py` is the value, `mixture.py` reads it, `augmentation.py` varies it. Knows numpy and OpenCV, and no torch.
"""

from engines.training.datasets.augmentation import Augmentation, augment, letterboxed, varied
from engines.training.datasets.example import UNLABELLED, Example, Labels
from engines.training.datasets.mixture import Mixture
from engines.training.datasets.mixture_file import TaughtClasses
from engines.training.datasets.opening import open_mixture, taught_classes

__all__ = [
    "UNLABELLED",
    "Augmentation",
    "Example",
    "Labels",
    "Mixture",
    "TaughtClasses",
    "augment",
    "letterboxed",
    "open_mixture",
    "taught_classes",
    "varied",
]
