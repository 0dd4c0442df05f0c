"""CUDA kernels of the runtime, and how they are compiled and launched. Needs no GPU and no CUDA to be imported.

A kernel takes one struct by value; what a launch needs comes as a `Launch` of plain values, for pycuda

    functions[launch.kernel](launch.arguments, grid=launch.grid, block=launch.block, stream=stream)

Preprocessing, once a geometry:
    letterbox = Letterbox(pixels, place, ImageFormat.NV12, np.float32)     # or float16; int8 with int8_scale=
    copy letterbox.taps (letterbox.taps.nbytes) into device memory once, at least 16-byte aligned
and once a frame, on the slot's stream:
    letterbox.launch(DeviceImage(ImageFormat.NV12, address, pitch), taps_address, tensor_address, is_padded=False)

Decoding, once a network (`reduction` is its decoder's):
    candidates = Candidates(reduction, thresholds, np.float32)      # nms_iou None: suppression stays with the decoder
    copy candidates.limits into device memory once; allocate candidates.work_bytes and candidates.result_bytes
and once an inference, on the slot's stream behind it, each of
    candidates.launches({role: address of this image's output}, limits_address, work_address, result_address)
then copy `result_bytes` out; `candidates.read(copied)` is what the decoder takes in place of the raw outputs.

PTX, once a card: `compile_kernels(source_of("letterbox_float32"), 87, driver=(12, 6)).ptx` for pycuda's
`module_from_buffer`, whose functions have the kernels' names.

This room imports numpy, `engines.letterbox`, `engines.results`, `engines.reduction` and `engines.errors`.
"""

from engines.runtime.kernels.candidates import Candidates
from engines.runtime.kernels.compiling import Compiled, compile_kernels, source_of
from engines.runtime.kernels.launch import Launch
from engines.runtime.kernels.letterbox import DeviceImage, ImageFormat, Letterbox

__all__ = [
    "Candidates",
    "Compiled",
    "DeviceImage",
    "ImageFormat",
    "Launch",
    "Letterbox",
    "compile_kernels",
    "source_of",
]
