"""Counts what the client's process sends and receives: its messages, and those of the scheduler that lives in it."""

from __future__ import annotations

import contextlib
import contextvars
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from distributed.comm import tcp

from tiler.engine.schedule import Pool

# By the clock, whatever is rendered.
BEATS = ("heartbeat_worker", "identity", "answer to heartbeat_worker", "answer to identity")
CHANNELS = ("client to scheduler", "scheduler to client", "scheduler to workers", "workers to scheduler")
_reading: contextvars.ContextVar[list[int]] = contextvars.ContextVar("reading")


@dataclass
class Traffic:
    """moved: bytes by channel and what they are: a question, its answer, or "batch" for all that is no question.
    messages: the same, those of batches one by one."""

    scheduler: str
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    messages: Counter[tuple[str, str]] = field(default_factory=Counter)
    _clients: set[str] = field(default_factory=set)
    _asked: dict[tuple[str, str], str] = field(default_factory=dict)

    def kilobytes(self, *channels: str, beats: bool = True) -> float:
        """Of these channels. beats: with those by the clock."""
        return sum(n for (at, kind), n in self.moved.items() if at in channels and (beats or kind not in BEATS)) / 1e3

    def copied(self) -> Traffic:
        """As it is now."""
        return Traffic(self.scheduler, Counter(self.moved), Counter(self.messages))

    def add(self, comm: Any, message: Any, moved: int, sent: bool) -> None:
        """A connection that leads to the scheduler is the client's; its other end is here too, and not counted. All
        others lead from the scheduler to workers, or to what looks after these."""
        if comm.peer_address == self.scheduler:
            self._clients.add(comm.local_address)
            channel = CHANNELS[0 if sent else 1]
        elif comm.peer_address in self._clients:
            return
        else:
            channel = CHANNELS[2 if sent else 3]
        batch, ends = isinstance(message, list | tuple), (comm.local_address, comm.peer_address)
        kinds = [self._kind(one, ends) for one in (message if batch else [message])]
        self.moved[channel, "batch" if batch else kinds[0]] += moved
        self.messages.update((channel, kind) for kind in kinds)

    def _kind(self, message: Any, ends: tuple[str, str]) -> str:
        if isinstance(message, dict) and "op" in message:
            self._asked[ends] = str(message["op"])
            return self._asked[ends]
        return f"answer to {self._asked.get(ends, 'what was asked before')}"


@contextlib.contextmanager
def counted(pool: Pool) -> Iterator[Traffic]:
    """What moves within the block."""
    found = Traffic(pool._client.scheduler.address)
    write, read, read_bytes = tcp.TCP.write, tcp.TCP.read, tcp.read_bytes_rw

    async def counted_write(self: Any, msg: Any, *arguments: Any, **options: Any) -> Any:
        moved = await write(self, msg, *arguments, **options)
        found.add(self, msg, moved, sent=True)
        return moved

    async def counted_bytes(stream: Any, count: int) -> Any:
        _reading.get([0])[0] += count
        return await read_bytes(stream, count)

    async def counted_read(self: Any, *arguments: Any, **options: Any) -> Any:
        size = [0]
        _reading.set(size)
        message = await read(self, *arguments, **options)
        found.add(self, message, size[0], sent=False)
        return message

    tcp.TCP.write, tcp.TCP.read, tcp.read_bytes_rw = counted_write, counted_read, counted_bytes
    try:
        yield found
    finally:
        tcp.TCP.write, tcp.TCP.read, tcp.read_bytes_rw = write, read, read_bytes


def between_workers(pool: Pool) -> tuple[int, int]:
    """(bytes, answers) that workers have sent to one another so far."""
    told = pool.everywhere(_sent)
    return sum(one["bytes"] for one in told.values()), sum(one["answers"] for one in told.values())


def _sent(dask_worker: Any = None) -> dict[str, int]:
    return {
        "bytes": int(dask_worker.transfer_outgoing_bytes_total),
        "answers": int(dask_worker.transfer_outgoing_count_total),
    }
