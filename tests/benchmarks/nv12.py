"""CPU of a live picture from the decoder's into the memory that a GPU copies from: in BGR, and left in NV12.

    python tests/benchmarks/nv12.py

In turns, on one thread, of pictures as a decoder gives them (yuv420p). The copy to the device itself is not in it: no
GPU is asked for.
"""

from __future__ import annotations

import time

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.cameras.upright_nv12 import UprightNv12
from sensors.drives.upright import UprightBgr

SIZES = ((1280, 720), (1920, 1080))
ROUNDS, PICTURES = 15, 20


def main() -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    print("picture      BGR, ms  NV12, ms   ratio")
    for width, height in SIZES:
        colours = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        image = cv2.resize(colours, (width, height))
        picture = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
        pinned = np.empty(width * height * 3, np.uint8)
        ways = UprightBgr(None), UprightNv12(None)
        each = np.array([[cpu_ms(way, picture, pinned) for way in ways] for _ in range(ROUNDS)])
        bgr_ms, nv12_ms = np.median(each, axis=0)
        print(f"{width}x{height:<6} {bgr_ms:8.3f} {nv12_ms:9.3f} {np.median(each[:, 1] / each[:, 0]):7.3f}")


def cpu_ms(way: UprightBgr, picture: av.VideoFrame, pinned: NDArray[np.uint8]) -> float:
    """Of one picture, the mean of some."""
    began_ns = time.thread_time_ns()
    for _ in range(PICTURES):
        made, _ = way.pixels(picture)
        np.copyto(pinned[: made.size].reshape(made.shape), made)
    return (time.thread_time_ns() - began_ns) / 1e6 / PICTURES


if __name__ == "__main__":
    main()
