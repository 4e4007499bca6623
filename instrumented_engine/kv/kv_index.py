"""The KV index: which replica holds which prefix block, as the router believes it.

One writer applies block events at a finite rate (``writer_ops_per_s``), taking turns between the replicas' streams. A gap
in a stream's sequence numbers makes it ask that replica for a full dump, whose every key costs one write too (Dynamo's
event replay works this way; dynamo#7072 is its recovery loop). A rebalance opens a new map that starts empty and is
filled by a dump of every replica: with ``route_by = "new_map"`` the router reads it at once, with
``"old_map_until_synced"`` only when it is complete. The old map keeps taking the live events, so that the rebalance can
be undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, Protocol

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.kv.event_stream import EventStream

RouteBy = Literal["new_map", "old_map_until_synced"]
_TURN_NS = 50_000_000
"""The writer works in turns of this long: it applies what its rate allows, then looks again."""


class Publisher(Protocol):
    """What the index needs of a replica."""

    stream: EventStream

    def held_keys(self) -> list[int]:
        """All prefix block keys that the replica holds now."""


class KvIndex:
    """Replicas are numbers 0..n-1; a map holds, per block key, a bit mask of the replicas that are said to hold it."""

    def __init__(
        self, loop: VirtualLoop, *, writer_ops_per_s: float, route_by: RouteBy, lookups_wait: bool = False,
        told_of_losses: bool = True,
    ) -> None:
        self.writer_ops_per_s = writer_ops_per_s
        self.route_by: RouteBy = route_by
        self.lookups_wait = lookups_wait
        self.told_of_losses = told_of_losses
        self.applied = self.gaps = self.dumps = 0
        self.rebalancing = False
        self.reading: dict[int, int] | None = None
        self.writing = True
        self._loop = loop
        self._new: dict[int, int] = {}
        self._old: dict[int, int] | None = None
        self._publishers: list[Publisher] = []
        self._expected: list[int] = []
        self._dump: list[tuple[int, list[int]] | None] = []
        self._turn = 0
        self._work = asyncio.Event()

    def connect(self, publisher: Publisher) -> None:
        """Subscribe to one more replica; its number is the order of connecting."""
        self._publishers.append(publisher)
        self._expected.append(1)
        self._dump.append(None)

    def wake(self) -> None:
        """Something was published."""
        self._work.set()

    # -- what the router sees ------------------------------------------------------------------------------------

    @property
    def routing_map(self) -> dict[int, int]:
        """The map that routing decisions are made by (``reading``, if it is set)."""
        if self.reading is not None:
            return self.reading
        if self._old is not None and self.rebalancing and self.route_by == "old_map_until_synced":
            return self._old
        return self._new

    def prefix_lengths(self, keys: Sequence[int]) -> list[int]:
        """Per replica, how many leading ``keys`` it is said to hold."""
        lengths = [0] * len(self._publishers)
        alive = (1 << len(lengths)) - 1
        known = self.routing_map
        for position, key in enumerate(keys):
            left = alive & known.get(key, 0)
            gone = alive & ~left
            for replica in range(len(lengths)):
                if gone >> replica & 1:
                    lengths[replica] = position
            alive = left
            if not alive:
                return lengths
        for replica in range(len(lengths)):
            if alive >> replica & 1:
                lengths[replica] = len(keys)
        return lengths

    def read_wait_ns(self) -> int | None:
        """How long a lookup waits now for all writes before it; None when it is not served in turn with them."""
        if not self.lookups_wait:
            return None
        return round(self.pending / self.writer_ops_per_s * 1e9)

    # -- operations ----------------------------------------------------------------------------------------------

    def rebalance(self) -> None:
        """Change the map: the new one starts empty and every replica re-announces all it holds."""
        self._old = self._new
        self._new = {}
        self.rebalancing = True
        for replica in range(len(self._publishers)):
            self._request_dump(replica)

    def undo_rebalance(self) -> None:
        """Go back to the old map, which kept taking live events; what is left of the dumps is abandoned."""
        if self._old is None:
            return
        self._new, self._old = self._old, None
        self._dump = [None] * len(self._dump)
        self.rebalancing = False

    def forget(self, replica: int) -> None:
        """The replica is dead: nothing of what it held counts, and nothing of what it was about to say, if one is told."""
        if not self.told_of_losses:
            return
        self._expected[replica] = self._publishers[replica].stream.clear() + 1
        self._dump[replica] = None
        self.rebalancing = self.rebalancing and any(left is not None for left in self._dump)
        for known in (self._new,) if self._old is None else (self._new, self._old):
            self._forget(known, replica)

    def lose_everything(self) -> None:
        """The map is gone; every replica is asked for all it holds."""
        self._new, self._old = {}, None
        self.rebalancing = False
        for replica in range(len(self._publishers)):
            self._request_dump(replica)

    def snapshot(self) -> dict[int, int]:
        """A copy of the map that routing uses."""
        return dict(self.routing_map)

    def _request_dump(self, replica: int) -> None:
        publisher = self._publishers[replica]
        self._expected[replica] = publisher.stream.clear() + 1
        keys = publisher.held_keys()
        keys.reverse()
        self._dump[replica] = (self._loop.now_ns, keys)
        self.dumps += 1
        self._forget(self._new, replica)
        self._work.set()

    @staticmethod
    def _forget(known: dict[int, int], replica: int) -> None:
        for key in [key for key, mask in known.items() if mask >> replica & 1]:
            _remove(known, key, replica)

    # -- the writer ----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Writes not applied yet."""
        dumps = sum(len(dump[1]) for dump in self._dump if dump is not None)
        return dumps + sum(len(publisher.stream.pending) for publisher in self._publishers)

    @property
    def lag_ns(self) -> int:
        """Age of the oldest write not applied yet; 0 when there is none."""
        oldest = [dump[0] for dump in self._dump if dump is not None]
        oldest += [p.stream.pending[0].at_ns for p in self._publishers if p.stream.pending]
        return self._loop.now_ns - min(oldest) if oldest else 0

    @property
    def size(self) -> int:
        """Block keys in the map that routing uses."""
        return len(self.routing_map)

    @property
    def keys_known(self) -> int:
        """Block keys that have been written down."""
        return len(self._new)

    async def run(self) -> None:
        """Apply writes for ever, never faster than ``writer_ops_per_s``."""
        credit = 0.0
        while True:
            if not self.pending:
                credit = 0.0
                self._work.clear()
                await self._work.wait()
            await self._loop.sleep_ns(_TURN_NS)
            if not self.writing:
                continue
            credit += self.writer_ops_per_s * _TURN_NS / 1e9
            while credit >= 1.0 and self._apply_one():
                credit -= 1.0

    def _apply_one(self) -> bool:
        """Apply one write of the next replica that has any; False when there is none."""
        for _ in self._publishers:
            replica = self._turn
            self._turn = (self._turn + 1) % len(self._publishers)
            if self._dump[replica] is not None or self._publishers[replica].stream.pending:
                self._apply_from(replica)
                self.applied += 1
                return True
        return False

    def _apply_from(self, replica: int) -> None:
        dump = self._dump[replica]
        if dump is not None:
            if dump[1]:
                key = dump[1].pop()
                self._new[key] = self._new.get(key, 0) | 1 << replica
            if not dump[1]:
                self._dump[replica] = None
                self.rebalancing = self.rebalancing and any(left is not None for left in self._dump)
            return
        numbered = self._publishers[replica].stream.pending.popleft()
        if numbered.sequence != self._expected[replica]:
            self.gaps += 1
            self._request_dump(replica)
            return
        self._expected[replica] += 1
        kind, key = numbered.event
        for known in (self._new,) if self._old is None else (self._new, self._old):
            if kind == "stored":
                known[key] = known.get(key, 0) | 1 << replica
            else:
                _remove(known, key, replica)


def _remove(known: dict[int, int], key: int, replica: int) -> None:
    """``replica`` no longer holds ``key``; a key that nobody holds leaves the map."""
    mask = known.get(key, 0) & ~(1 << replica)
    if mask:
        known[key] = mask
    else:
        known.pop(key, None)
