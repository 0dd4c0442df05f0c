"""Quantisation-aware training: a trained network learns to live with INT8 (Jacob et al. 2018, "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference").

The exported float graph itself is trained, in torch (`operators`, `fake_quantised`), with every value rounded where
`engines.quantize.placement` puts a pair into the file; so what is learnt (`fine_tuning`) is what engines compute.
"""

from engines.training.qat.fake_quantised import FakeQuantised
from engines.training.qat.fine_tuning import RATE, fine_tune

__all__ = ["RATE", "FakeQuantised", "fine_tune"]
