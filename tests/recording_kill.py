"""A recording killed at random moments: what of it is on the disk, how late it ends, and what `recover` makes of it.

    python tests/recording_kill.py --kills 10

Each time: `perception record` of a 30 Hz camera, `kill -9` after a random time, then ours on the file as it is,
`recover` on it, and the plain reader on what that wrote. Lost is the time from the last frame that is read to the kill,
on the wall clock; at most a second is allowed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import tiny_networks
from mcap.reader import make_reader

from sensors.drives.mcap.reading import McapFile

MOST_LOST_S = 1.0
COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()"]


def vehicle(folder: Path, width: int = 1280, height: int = 720) -> Path:
    """A vehicle whose camera is a recording of 30 pictures a second, again and again."""
    tiny_networks.make_bundle(folder / "tiny")
    rows = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    image = rows.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(folder / "front.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(np.roll(image, 8 * number, axis=1), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path = folder / "vehicle.toml"
    path.write_text(
        '[[camera]]\nname = "front"\nuri = "front.mp4"\nloop = true\n[[network]]\nbundle = "tiny"\n'
        '[record]\nimages = "jpeg"\n'
    )
    return path


def kill_once(config: Path, out: Path, after_s: float) -> tuple[float, int, int, int]:
    """Record and kill: seconds lost, frames that ours and the plain reader read, and what `recover` ended with."""
    with subprocess.Popen([*COMMAND, "record", str(config), str(out)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it records
        time.sleep(after_s)
        process.kill()
        killed_ns = time.time_ns()
        process.wait()
    with McapFile(out) as file:
        frames = [message.publish_time for message in file.messages()]
    recovered = out.with_suffix(".whole.mcap")
    ended = subprocess.run(
        [*COMMAND, "drive", "recover", str(out), str(recovered)], capture_output=True, text=True, check=False
    )
    with recovered.open("rb") as stream:
        plain = sum(1 for _ in make_reader(stream, validate_crcs=True).iter_messages())
    lost_s = (killed_ns - max(frames)) / 1e9 if frames else after_s
    return lost_s, len(frames), plain, ended.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10_000)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    print(f"seed {options.seed}")
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = vehicle(folder)
        for number in range(options.kills):
            after_s = moments.uniform(0.2, 4.0)
            lost_s, ours, plain, code = kill_once(config, folder / f"{number}.mcap", after_s)
            worst = max(worst, lost_s)
            print(f"killed after {after_s:.2f} s: {ours} frames read, {plain} by the plain reader, lost {lost_s:.3f} s")
            assert ours == plain, "recover leaves nothing out"
            assert code == 1, "recover says that something was lost"
    print(f"most lost {worst:.3f} s of {MOST_LOST_S} {'kept' if worst <= MOST_LOST_S else 'MISSED'}")
    sys.exit(worst > MOST_LOST_S)


if __name__ == "__main__":
    main()
