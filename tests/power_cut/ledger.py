"""What was promised and what came of it, and the judgement whether a promise was broken.

Every event has a *count*: how many requests to the disk had been logged when it was seen. Counts are taken so that an
error of timing can only ever be in favour of one side, which is said at each.
"""

from dataclasses import dataclass, field

import message
from daemon import RETRY_LIMIT
from receiver import Request
from sender import Acknowledged


@dataclass
class Ledger:
    """The events of the run whose power will be cut."""

    kinds: dict[int, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    # Counted after the 202 was seen: not before it was durable.
    acknowledged: dict[int, int] = field(default_factory=dict)
    # Counted before the 2xx was sent: no record of the delivery can be durable at a smaller count.
    delivered: dict[int, int] = field(default_factory=dict)
    # Counted before the refusal of the last attempt was sent: no dead letter can be durable at a smaller count.
    exhausted: dict[int, int] = field(default_factory=dict)
    # Counted after the daemon said "dead-lettered": the dead letter is durable at this count.
    buried: dict[int, int] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    def note_acknowledged(self, what: Acknowledged, count: int) -> None:
        self.kinds[what.seq] = what.kind
        self.ids[what.id] = what.seq
        self.acknowledged[what.seq] = count

    def note_request(self, request: Request, status: int, count: int) -> None:
        if not request.is_whole:
            self.damaged.append(f"message {request.seq} before the cut")
        if status < 300:
            self.delivered.setdefault(request.seq, count)
        elif request.kind == message.DEAD and request.attempt > RETRY_LIMIT:
            self.exhausted.setdefault(request.seq, count)

    def note_line(self, line: dict, count: int) -> None:
        seq = self.ids.get(line.get("id", "")) if line.get("message") == "dead-lettered" else None
        if seq is not None:
            self.buried[seq] = count


@dataclass
class Found:
    """What a daemon made of the log after one cut."""

    delivered: dict[int, int] = field(default_factory=dict)
    dead_letters: set[int] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)

    def note_request(self, request: Request, _status: int) -> None:
        if not request.is_whole:
            self.damaged.append(f"message {request.seq} after the cut")
        self.delivered[request.seq] = self.delivered.get(request.seq, 0) + 1


@dataclass
class Judgement:
    """Of one cut."""

    checked: int = 0
    # Of those checked: not delivered before the cut, so that only the log can have had them.
    from_log: int = 0
    lost: list[int] = field(default_factory=list)
    # Dead letters that were attempted again.
    revived: list[int] = field(default_factory=list)
    duplicates: int = 0
    # Of the messages acknowledged soon after the cut, those that were not in the log: the proof that the check can fail.
    not_yet: int = 0


def judge(ledger: Ledger, cut: int, found: Found, soon: int) -> Judgement:
    """Whether all that was acknowledged within the first `cut` requests came to a good end.

    `soon` is how many requests later a message is looked at that was not acknowledged yet.
    """
    judgement = Judgement()
    for seq, count in ledger.acknowledged.items():
        was_delivered = seq in ledger.delivered and ledger.delivered[seq] <= cut
        was_exhausted = seq in ledger.exhausted and ledger.exhausted[seq] <= cut
        is_buried = was_exhausted and seq in found.dead_letters
        is_safe = was_delivered or is_buried or seq in found.delivered
        if count <= cut:
            judgement.checked += 1
            judgement.from_log += not was_delivered
            if not is_safe:
                judgement.lost.append(seq)
            if seq in ledger.buried and ledger.buried[seq] <= cut and seq in found.delivered:
                judgement.revived.append(seq)
            if was_delivered and seq in found.delivered:
                judgement.duplicates += 1
        elif count <= cut + soon and not is_safe:
            judgement.not_yet += 1
    return judgement
