"""Results over ZeroMQ, out and in: the only room that knows it.

`outbox.py` numbers, encodes and sums up what is sent; `publisher.py` puts it on a socket and never waits
for a reader; `subscriber.py` reads it, `continuity.py` counts what was lost, `connection.py` knows who is at
the other end. `endpoint.py` says which addresses are allowed, `keys.py` reads and makes keys, `admission.py` lets
readers in by them. Imports `perception.message`.
"""

from perception.stream.outbox import Outbox
from perception.stream.publisher import NullPublisher, Publisher
from perception.stream.subscriber import Subscriber

__all__ = ["NullPublisher", "Outbox", "Publisher", "Subscriber"]
