"""The engine of TensorRT over the real pycuda, over a driver that is the host. Run by test_pycuda.py.

Prints what was seen. Everything between the engine and `libcuda.so.1` is what runs on a vehicle.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pytest
import tiny_networks
from simulated_tensorrt import VERSION, SimulatedTensorRt, write_plan

from engines.decoders.grids import total_cells
from engines.errors import EngineError
from engines.gpu import find_gpu
from engines.inference import decoder_for
from engines.letterbox import Preprocessor
from engines.reduction import CANDIDATES
from engines.results import Thresholds
from engines.runtime.cuda import CudaError
from engines.runtime.machine import Machine
from engines.runtime.opening_cuda import open_cuda
from engines.runtime.restarts import Restarts
from engines.runtime.tensorrt import TensorRtEngine
from engines.tensorrt_library import Library

DRIVER = ctypes.CDLL("libcuda.so.1")


class HostTensorRt:
    """What the simulated TensorRT asks of a device, answered at once from the host's memory."""

    is_lost = is_integrated = False
    refuse_enqueues = 0

    def __init__(self) -> None:
        self.calls = {"deserialize": 0}
        self.computed: list[int] = []

    def current(self) -> HostTensorRt | None:
        return self if DRIVER.host_driver_depth() else None

    @property
    def gpu(self) -> HostTensorRt:
        return self

    def stream(self, handle: int) -> Any:
        assert handle
        return SimpleNamespace(capture=None)

    def put(self, stream: Any, kind: str, do: Any, *addresses: int) -> None:
        do()

    def memory(self, address: int, size: int) -> Any:
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def contract() -> dict[str, Any]:
    """Each call of the contract, in two threads."""
    cuda = open_cuda(0)
    with suppress(CudaError):
        cuda.new_stream()
        raise AssertionError("a call without a context went through")
    found: dict[str, Any] = {"integrated": cuda.is_integrated, "name": cuda.name}
    with cuda.attached(), cuda.attached():
        stream, first, second = cuda.new_stream(), cuda.new_event(), cuda.new_event()
        host, device, back = cuda.host_memory(1000), cuda.device_memory(1000), cuda.host_memory(1000)
        host.array[:] = np.arange(1000) % 251
        cuda.record(first, stream)
        cuda.copy_in(device, host, 1000, stream)
        cuda.copy_out(back, device, 1000, stream)
        cuda.record(second, stream)
        cuda.synchronize(second)
        np.testing.assert_array_equal(back.array, host.array)
        host.array[:] = 7
        cuda.copy_in(device, host, 300, stream, 500)
        cuda.copy_out(back, device, 1000, stream)
        cuda.record(second, stream)
        cuda.synchronize(second)
        assert np.flatnonzero(back.array == 7)[-300:].tolist() == list(range(500, 800))
        assert back.array[800:].tolist() == [place % 251 for place in range(800, 1000)]
        host.array[:] = np.arange(1000) % 251
        assert cuda.elapsed_ms(first, second) > 0
        assert (host.address != 0) is cuda.is_integrated
        found["free"] = cuda.free_bytes()
        with cuda.captured(stream) as graphs:
            pass
        assert graphs == []
        view = host.array[10:20]

    def elsewhere(event: Any, on: Any) -> None:
        with cuda.attached():
            cuda.record(event, on)
            cuda.synchronize(event)

    thread = threading.Thread(target=elsewhere, args=(first, stream))
    thread.start()
    thread.join()
    del thread
    with cuda.attached():
        del stream, first, second, host, device, back
    found["view"] = view.tolist()
    with cuda.attached():
        del view
    cuda.close()
    return found


def engine(folder: Path) -> dict[str, Any]:
    bundle = tiny_networks.make_bundle(folder / "net", batch=2)
    card = find_gpu(0)
    assert card is not None
    write_plan(bundle, SimpleNamespace(facts=card))
    module = SimulatedTensorRt(HostTensorRt())
    machine = Machine(
        open_library=lambda flavor: Library(flavor, module), cuda_is_missing=lambda: None, compiled=lambda *_: b"ptx"
    )
    preprocessor = Preprocessor(bundle.settings.pixels, 32, 32)
    tensor = np.zeros((3, 32, 32), np.float32)
    with TensorRtEngine(bundle, 2, machine=machine, restarts=Restarts()) as opened:
        decoder = decoder_for(bundle, opened)
        times = None
        for number in range(8):
            image = tiny_networks.solid(20 * number, 200 - number, 10, (64, 20 + number // 4))
            place = opened.place(64, image.shape[0])
            rows = 1 + number % 3 % 2
            for row in range(rows):
                opened.stage(number % 2, row, image[:, :, ::-1] if row else image, place)
            opened.submit(number % 2, rows)
            if number == 5:
                DRIVER.host_driver_lose()
                with pytest.raises(EngineError, match="illegal memory access"):
                    opened.wait(number % 2)
                continue
            done = opened.wait(number % 2)
            assert len(done.rows) == rows
            for row, outputs in reversed(list(enumerate(done.rows))):  # the first one last: `wanted` is its
                preprocessor.write(image[:, :, ::-1] if row else image, place, tensor)
                wanted = tiny_networks.answer(tensor, total_cells(32, 32))
                np.testing.assert_allclose(outputs["predictions"], wanted, atol=1e-4)
            assert done.started_ns <= done.inferred_ns <= time.monotonic_ns()
            times = done.gpu
        assert decoder.reduction is not None
        assert opened.reduce(decoder.reduction, Thresholds())
        opened.stage(0, 0, image, place)
        opened.submit(0, 1)
        kept = opened.wait(0).rows[0]
        boxes = len(kept[CANDIDATES])
        found = decoder.decode(kept, place, Thresholds())
        assert len(found) == len(decoder.decode({"predictions": wanted}, place, Thresholds()))
        del kept, done
        return {"notes": opened.notes, "boxes": boxes, "compute_ms": times and times.compute_ms, "version": VERSION}


if __name__ == "__main__":
    seen = {"contract": contract(), "retained after the contract": DRIVER.host_driver_retained()}
    seen["engine"] = engine(Path(sys.argv[1]))
    seen["retained at the end"] = DRIVER.host_driver_retained()
    seen["contexts on the stack"] = DRIVER.host_driver_depth()
    print(json.dumps(seen))
