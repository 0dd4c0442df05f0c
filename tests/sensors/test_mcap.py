"""The MCAP container: what we write others read, what others write we read, and what is cut or damaged is told."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import drive_media
import file_limit
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap import records
from mcap.data_stream import RecordBuilder
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.writer import CompressionType, IndexType, Writer

from sensors.drives.mcap.chunk import DamagedError
from sensors.drives.mcap.layout import CHUNK_HEAD, MAGIC, RECORD_HEAD
from sensors.drives.mcap.reading import McapFile
from sensors.drives.mcap.writing import CHUNK_BYTES, McapWriter, NotWrittenError
from sensors.errors import RequestError

Row = tuple[str, int, int, bytes]  # topic, log time, sequence, data

EXAMPLES = int(os.environ.get("SOURCE_FUZZ_EXAMPLES", "60"))
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(path: Path, messages: int = 60, *, end: bool = True) -> list[Row]:
    """Write two channels, one compressed, with chunks of some messages; give them by time."""
    writer = McapWriter(path)
    schema = writer.add_schema("Blob", "", b"")
    channels = {
        "/picture": writer.add_channel("/picture", "raw", schema, {"a": "b"}, compress=False),
        "/words": writer.add_channel("/words", "raw", 0, compress=True),
    }
    rows: list[Row] = []
    for number in range(messages):
        for place, (topic, channel) in enumerate(channels.items()):
            data = np.random.default_rng(number).bytes(300) if place == 0 else b"word" * (number % 7)
            rows.append((topic, 1000 * number + place, number, data))
            writer.add(channel, rows[-1][1], data, publish_time=7, sequence=number)
        if number % 10 == 9:
            writer.flush(to_disk=False)
    writer.add_metadata("about", {"key": "value"})
    if end:
        assert writer.finish() == {}
    else:
        writer.flush(to_disk=True)
        writer.abandon()
    return rows


def read_by_ours(path: Path) -> list[Row]:
    with McapFile(path) as file:
        return [
            (file.channels[m.channel].topic, m.log_time, m.sequence, bytes(m.data)) for m in file.messages(check=True)
        ]


def read_by_plain(path: Path) -> list[Row]:
    with path.open("rb") as stream:
        found = make_reader(stream, validate_crcs=True).iter_messages()
        return [(channel.topic, m.log_time, m.sequence, m.data) for _, channel, m in found]


def damage_of(file: McapFile, entry: tuple[int, int, int, int]) -> str:
    """Why a message cannot be read; nothing where it can."""
    try:
        file.message(entry)
    except DamagedError as damage:
        return str(damage)
    return ""


def test_the_plain_reader_reads_what_was_written(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.mcap")
    assert read_by_plain(tmp_path / "a.mcap") == rows
    with (tmp_path / "a.mcap").open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.channel_message_counts == {1: 60, 2: 60}
        assert (summary.statistics.message_start_time, summary.statistics.message_end_time) == (0, 59_001)
        assert [record.metadata for record in reader.iter_metadata()] == [{"key": "value"}]
        assert summary.channels[1].metadata == {"a": "b"}


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("kind", ["whole", "without an index", "without chunks"])
def test_what_the_plain_writer_wrote_is_read(tmp_path: Path, kind: str, compression: CompressionType) -> None:
    path = tmp_path / "a.mcap"
    rows = []
    with path.open("wb") as stream:
        writer = Writer(
            stream,
            chunk_size=2000,
            compression=compression,
            index_types=IndexType.NONE if kind == "without an index" else IndexType.ALL,
            use_chunking=kind != "without chunks",
        )
        writer.start()
        channel = writer.register_channel("/a", "raw", writer.register_schema("Blob", "", b""))
        for number in np.random.default_rng(1).permutation(50).tolist():
            rows.append(("/a", number, number, bytes([number]) * 200))
            writer.add_message(channel, number, rows[-1][3], 0, number)
        writer.finish()
    assert read_by_ours(path) == sorted(rows, key=lambda row: row[1])


def test_any_span_has_exactly_its_messages(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.mcap")
    with McapFile(tmp_path / "a.mcap") as file:
        for start, end in ((0, None), (1000, 2000), (1001, 1002), (30_000, 59_001), (59_001, None), (70_000, None)):
            found = [(m.log_time, m.channel) for m in file.messages(start_ns=start, end_ns=end)]
            assert [time for time, _ in found] == [r[1] for r in rows if start <= r[1] and (end is None or r[1] < end)]
        assert {m.channel for m in file.messages([2])} == {2}


def test_equal_times_stay_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    writer = McapWriter(tmp_path / "a.mcap")
    channels = [writer.add_channel(f"/{n}", "raw", 0, compress=False) for n in range(3)]
    for number in range(9):
        writer.add(channels[number % 3], 5, b"", publish_time=0, sequence=number)
    writer.finish()
    assert [row[2] for row in read_by_ours(tmp_path / "a.mcap")] == list(range(9))


def test_a_chunk_is_written_when_it_is_large_enough(tmp_path: Path) -> None:
    writer = McapWriter(tmp_path / "a.mcap")
    channel = writer.add_channel("/a", "raw", 0, compress=False)
    before = writer.bytes_written
    writer.add(channel, 0, bytes(CHUNK_BYTES // 2), publish_time=0, sequence=0)
    assert (writer.bytes_written, writer.bytes_waiting > 0) == (before, True)
    writer.add(channel, 1, bytes(CHUNK_BYTES // 2), publish_time=0, sequence=1)
    assert writer.bytes_written > before + CHUNK_BYTES
    assert writer.bytes_waiting == 0
    writer.abandon()


# --- Cut off


@fuzzed
@given(draws=st.data())
def test_a_file_cut_anywhere_gives_the_messages_before_the_cut(draws: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.unlink(missing_ok=True)
    rows = written(path, end=draws.draw(st.booleans()))
    with McapFile(path) as file:
        places = [(chunk.index_offset, number) for number, chunk in enumerate(file.chunks)]
        of_chunk = {number: int((file.entries["chunk"] == number).sum()) for _, number in places}
    whole = path.read_bytes()
    cut = draws.draw(st.integers(len(MAGIC), len(whole)))
    path.write_bytes(whole[:cut])
    found = read_by_ours(path)
    assert set(found) <= set(rows), "nothing is invented"
    assert len(found) >= sum(of_chunk[number] for end, number in places if end <= cut), "whole chunks lose nothing"
    with McapFile(path) as file:
        assert file.has_end == (cut == len(whole) and whole.endswith(MAGIC) and len(whole) > 8)


def test_the_plain_reader_needs_the_end_that_ours_can_do_without(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.mcap", end=False)
    assert read_by_ours(tmp_path / "a.mcap") == rows
    with pytest.raises(McapError):
        read_by_plain(tmp_path / "a.mcap")


def test_of_a_torn_chunk_that_is_not_compressed_the_first_messages_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    written(path, end=False)
    with McapFile(path) as file:
        last = [chunk for chunk in file.chunks if chunk.length > 3000][-1]
    path.write_bytes(path.read_bytes()[: last.offset + 1000])
    pictures = [row[2] for row in read_by_ours(path) if row[0] == "/picture"]
    assert pictures == list(range(52)), "50 of whole chunks, and two of 331 bytes before the cut"
    with McapFile(path) as file:
        assert file.torn_bytes == 1000


# --- Damaged


def test_a_damaged_chunk_is_told_and_the_index_still_names_its_messages(tmp_path: Path) -> None:
    path = drive_media.write_mcap(tmp_path / "a.mcap")
    with McapFile(path) as file:
        whole = file.entries
    held = drive_media.damage_chunk(path, 2)
    with McapFile(path) as file:
        assert np.array_equal(file.entries, whole)
        told = [reason for reason in map(partial(damage_of, file), file.entries.tolist()) if reason]
        assert len(told) == held
        assert all("its checksum does not fit" in reason for reason in told)


@fuzzed
@given(draws=st.data())
def test_a_file_damaged_anywhere_is_read_or_refused_in_words(draws: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.unlink(missing_ok=True)
    written(path, 20)
    data = bytearray(path.read_bytes())
    for _ in range(draws.draw(st.integers(1, 5))):
        place = draws.draw(st.integers(0, len(data) - 1))
        change = draws.draw(st.binary(min_size=1, max_size=9))
        data[place : place + len(change)] = change
    path.write_bytes(data)
    try:
        file = McapFile(path)
    except RequestError:
        return
    with file:
        for entry in file.entries.tolist():
            damage_of(file, entry)


@pytest.mark.parametrize("content", [b"", b"\x89MCAP", b"not an mcap file at all" * 10])
def test_what_is_no_mcap_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mcap").write_bytes(content)
    with pytest.raises(RequestError, match=r"is empty|is no MCAP file"):
        McapFile(tmp_path / "a.mcap")


def _chunk(size: int, data: bytes, compression: bytes, crc: int = 0) -> bytes:
    length = CHUNK_HEAD.size + 4 + len(compression) + 8 + len(data)
    name = len(compression).to_bytes(4, "little") + compression
    return (
        RECORD_HEAD.pack(6, length) + CHUNK_HEAD.pack(1, 2, size, crc) + name + len(data).to_bytes(8, "little") + data
    )


def _record(record: object) -> bytes:
    builder = RecordBuilder()
    record.write(builder)  # type: ignore[attr-defined]
    return builder.end()


def _summary(*found: object) -> bytes:
    """A file whose summary alone says what is in it."""
    head = MAGIC + _record(records.DataEnd(0))
    body = b"".join(_record(one) for one in found)
    return head + body + _record(records.Footer(len(head), 0, 0)) + MAGIC


def _chunk_index(**changes: object) -> records.ChunkIndex:
    values: dict[str, object] = {
        "chunk_length": 10,
        "chunk_start_offset": 8,
        "compression": "",
        "compressed_size": 1,
        "message_end_time": 5,
        "message_index_length": 5,
        "message_index_offsets": {1: 20},
        "message_start_time": 1,
        "uncompressed_size": 1,
    }
    return records.ChunkIndex(**{**values, **changes})  # type: ignore[arg-type]


BOMB = zstandard.ZstdCompressor(level=1).compress(bytes(150 << 20))
HOSTILE = {
    "a record of 2^63 bytes": MAGIC + RECORD_HEAD.pack(6, 1 << 63) + bytes(60),
    "a chunk of 2^60 bytes": MAGIC + _chunk(1 << 60, b"x", b"zstd"),
    "a bomb": MAGIC + _chunk(100, BOMB, b"zstd"),
    "a bomb that says it is larger": MAGIC + _chunk(300 << 20, BOMB, b"zstd"),
    "a chunk of an unknown compression": MAGIC + _chunk(4, b"abcd", b"rar"),
    "a schema of 4 GB": MAGIC + RECORD_HEAD.pack(3, 1 << 32) + bytes(100),
    "an index outside of the file": _summary(_chunk_index(chunk_start_offset=1 << 62)),
    "an index of 2^63 bytes": _summary(_chunk_index(message_index_length=1 << 63)),
    "an index read again and again": _summary(*[_chunk_index(message_index_length=90)] * 3000),
    "a footer that leads nowhere": MAGIC + bytes(50) + _record(records.Footer(1 << 62, 1 << 62, 0)) + MAGIC,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_lengths_take_no_memory(tmp_path: Path, name: str) -> None:
    """In a process of its own that may ask for 200 MB more than it has after its imports, and use 50."""
    (tmp_path / "a.mcap").write_bytes(HOSTILE[name])
    code = (
        "import resource, sys, pathlib\n"
        "from sensors.drives.mcap.reading import McapFile\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with McapFile(pathlib.Path(sys.argv[1])) as file: print(len(file.entries))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.mcap")], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "0\nTrue\n"), ran.stderr


def test_an_index_that_names_one_chunk_again_and_again_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = McapWriter(path)
    channel = writer.add_channel("/a", "raw", 0, compress=False)
    for number in range(5000):
        writer.add(channel, number, b"", publish_time=0, sequence=0)
    writer.flush(to_disk=False)
    writer._chunk_indexes *= 5000  # 25 million messages, in 1.5 MB
    writer.finish()
    with McapFile(path) as file:
        assert len(file.entries) == 5000


# --- A full disk


def test_what_a_full_disk_does_not_take_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = McapWriter(path)
    channel = writer.add_channel("/a", "raw", 0, compress=False)
    writer.add(channel, 1, b"before", publish_time=0, sequence=0)
    writer.flush(to_disk=False)
    size = writer.bytes_written
    writer.add(channel, 2, bytes(100_000), publish_time=0, sequence=1)
    writer.add(channel, 3, bytes(100_000), publish_time=0, sequence=2)
    with file_limit.files_no_larger_than(size + 50_000), pytest.raises(NotWrittenError) as told:
        writer.flush(to_disk=False)
    assert told.value.messages == {channel: 2}
    assert path.stat().st_size == size
    writer.add(channel, 4, b"after", publish_time=0, sequence=3)
    assert writer.finish() == {}
    assert [row[3] for row in read_by_plain(path)] == [b"before", b"after"]


def test_where_there_is_no_room_for_the_end_the_last_chunks_make_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = McapWriter(path)
    channel = writer.add_channel("/a", "raw", 0, compress=False)
    for number in range(20):
        writer.add(channel, number, bytes(300), publish_time=0, sequence=number)
        writer.flush(to_disk=False)
    with file_limit.files_no_larger_than(writer.bytes_written + 100):
        lost = writer.finish()
    assert lost[channel] > 0
    assert [row[2] for row in read_by_plain(path)] == list(range(20 - lost[channel]))


def test_a_checksum_stands_in_every_chunk(tmp_path: Path) -> None:
    written(tmp_path / "a.mcap")
    data = (tmp_path / "a.mcap").read_bytes()
    with McapFile(tmp_path / "a.mcap") as file:
        for place in file.chunks:
            _, _, size, crc = CHUNK_HEAD.unpack_from(data, place.offset + RECORD_HEAD.size)
            assert crc
            if data[place.offset + 9 + 28 : place.offset + 9 + 32] == b"\0\0\0\0":
                begin = place.offset + 9 + 28 + 4 + 8
                assert zlib.crc32(data[begin : begin + size]) == crc
