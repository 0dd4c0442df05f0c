"""Frames of recorded drives that are worth labelling, found by what a network, and a teacher, make of them.

`mining` is the way of it: every frame looked at (`looking`), what is odd on it found, one file a reason (`flicker`,
`low_confidence`, `disagreement`), the best chosen without near-duplicates (`choice`), and written (`result`, `sheet`)
as a dataset with `pseudo_labels`. It judges nothing and trains nothing.
"""

from perception.mining.mining import Mined, Mining, MiningRequest, NothingFoundError
from perception.mining.result import check_place, facts, write_mined

__all__ = ["Mined", "Mining", "MiningRequest", "NothingFoundError", "check_place", "facts", "write_mined"]
