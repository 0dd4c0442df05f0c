"""Results over ZeroMQ, out and in: the only room that knows it.

`outbox.py` numbers, encodes and sums up what is sent; `publisher.py` puts it on a socket and never waits
for a reader; `stream_subscriber.py` reads it (`subscriber.py`: messages of one kind), `continuity.py` counts what was
lost, `connection.py` knows who is at the other end, `question.py` asks it whether it wants keys. `endpoint.py` says
which addresses are allowed, `keys.py` reads and makes keys, `admission.py` lets readers in by them. Imports
`perception.message`.
"""

from perception.stream.outbox import Outbox
from perception.stream.publisher import NullPublisher, Publisher
from perception.stream.stream_subscriber import StreamSubscriber
from perception.stream.subscriber import HealthSubscriber, Subscriber

__all__ = ["HealthSubscriber", "NullPublisher", "Outbox", "Publisher", "StreamSubscriber", "Subscriber"]
