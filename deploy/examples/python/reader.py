"""Reads a stream with nothing but pyzmq, protobuf and the code that protoc makes of perception.proto.

python reader.py tcp://127.0.0.1:5555
python reader.py tcp://vehicle:5555 laptop.key_secret vehicle.key    # a stream with keys
"""

import sys

import perception_pb2  # protoc made it: see README.md
import zmq
import zmq.auth
from google.protobuf.message import DecodeError


def main(endpoint: str, own_keys: str = "", server_key: str = "") -> int:
    """Print one line a frame until the stream's end; 1 if a message was lost."""
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.subscribe("detections/")  # a prefix; detections/front/ for one sensor
    if own_keys:  # before it connects
        socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate(own_keys)
        socket.curve_serverkey, _ = zmq.auth.load_certificate(server_key)
    socket.connect(endpoint)
    print("reading", endpoint, file=sys.stderr, flush=True)

    expected: dict[str, int] = {}  # the next sequence of each topic
    open_topics: set[str] = set()
    session, received, lost = "", 0, 0
    while True:
        parts = socket.recv_multipart()
        try:
            frame = perception_pb2.FrameResult.FromString(parts[-1])
            is_ours = len(parts) == 2 and frame.session != ""
        except DecodeError:
            is_ours = False
        if not is_ours:
            print("passed over what is no message of edge-perception", file=sys.stderr)
            continue
        topic = f"detections/{frame.sensor}/"

        if frame.session != session:  # the first message, or the publisher has started again
            session = frame.session
            expected = dict.fromkeys(expected, 0)
            open_topics.clear()
        lost += frame.sequence - expected.get(topic, frame.sequence)
        expected[topic] = frame.sequence + 1

        if frame.status == perception_pb2.END_OF_STREAM:
            open_topics.discard(topic)
            if not open_topics:  # every sensor has come to its end
                break
            continue
        open_topics.add(topic)
        received += 1
        if frame.status == perception_pb2.OK:
            boxes = ", ".join(f"{box.class_name} {box.score:.2f}" for box in frame.detections)
            what = f"{len(frame.detections)} boxes {boxes}".rstrip()
        else:
            what = f"{perception_pb2.Status.Name(frame.status)} {frame.status_reason}"
        print(f"{frame.sensor} frame {frame.frame_sequence} {frame.stamp_ns / 1e9:.3f} s: {what}", flush=True)

    print(f"received {received}, lost {lost}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or ["tcp://127.0.0.1:5555"]))
