"""From a float bundle to an INT8 one: what to quantise, how, and what it cost.

Start at `calibration.py`, which reads from top to bottom. Below it: `float_network.py` (an ONNX file made ready),
`placement.py` (where the scales go), `lint.py` (what TensorRT would refuse or, worse, accept and run in float),
`ranges.py` (scales of activations), `agreement.py` (the same things found?), `judge.py` (what it costs), `search.py`
(what stays in float).
Imports nothing of training; needs the packages onnx and onnxruntime.
"""
