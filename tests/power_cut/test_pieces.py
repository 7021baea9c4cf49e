"""The pieces of the proof that decide, each also with what it must find fault with. Run by run.sh before any proof."""

import os
import random
import struct
import tempfile
import unittest

import message
from ledger import Found, Ledger, judge
from receiver import Request
from sender import Acknowledged
from write_log import BLOCK_BYTES, DISCARD, FLUSH, MAGIC, WriteLog, points, torn_points

SECTOR = 512


def log_of(entries: list[tuple[int, bytes, int]]) -> WriteLog:
    """A log of these requests: offset, content, flags."""
    with tempfile.NamedTemporaryFile(suffix=".log") as file:
        file.write(struct.pack("<QQQL", MAGIC, 1, len(entries), SECTOR).ljust(SECTOR, b"\0"))
        for offset, content, flags in entries:
            head = struct.pack("<QQQQ", offset // SECTOR, len(content) // SECTOR, flags, 0)
            file.write(head.ljust(SECTOR, b"\0") + (b"" if flags & DISCARD else content))
        file.flush()
        return WriteLog(file.name)


def block(letter: bytes) -> bytes:
    return letter * BLOCK_BYTES


LOG = log_of(
    [
        (0, block(b"a"), 0),
        (0, b"", FLUSH),
        (BLOCK_BYTES, block(b"b") + block(b"c"), 0),
        (0, block(b"x"), DISCARD),
        (0, block(b"d"), 0),
        (0, b"", FLUSH),
    ]
)


class TheWriteLog(unittest.TestCase):
    def image(self, act) -> bytes:
        with tempfile.TemporaryFile() as file:
            act(file.fileno())
            return os.pread(file.fileno(), 4 * BLOCK_BYTES, 0)

    def test_a_prefix_is_what_was_written_before_the_cut(self):
        self.assertEqual(self.image(lambda file: LOG.replay(file, 0, 1)), block(b"a"))
        self.assertEqual(self.image(lambda file: LOG.replay(file, 0, 4)), block(b"a") + block(b"b") + block(b"c"))
        self.assertEqual(self.image(lambda file: LOG.replay(file, 0, 6)), block(b"d") + block(b"b") + block(b"c"))

    def test_only_what_no_flush_covers_can_be_torn(self):
        self.assertEqual([LOG.durable(cut) for cut in range(7)], [0, 0, 2, 2, 2, 2, 6])
        self.assertEqual([len(LOG.unflushed(cut)) for cut in range(7)], [0, 1, 0, 1, 1, 2, 0])

    def test_torn_writes_leave_each_set_of_blocks(self):
        def torn(seed):
            def act(file):
                LOG.replay(file, 0, LOG.durable(3))
                LOG.replay_torn(file, 3, random.Random(seed))

            image = self.image(act).ljust(3 * BLOCK_BYTES, b"\0")
            return image[0:1] + image[BLOCK_BYTES : BLOCK_BYTES + 1] + image[2 * BLOCK_BYTES : 2 * BLOCK_BYTES + 1]

        self.assertEqual({torn(seed) for seed in range(200)}, {b"a\0\0", b"ab\0", b"a\0c", b"abc"})

    def test_a_log_cut_short_is_refused(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(struct.pack("<QQQL", MAGIC, 1, 1, SECTOR).ljust(SECTOR, b"\0"))
            file.write(struct.pack("<QQQQ", 0, 8, 0, 0).ljust(SECTOR, b"\0"))
            file.flush()
            with self.assertRaises(ValueError):
                WriteLog(file.name)

    def test_points_are_as_many_as_asked_for_and_in_order(self):
        chosen = points(LOG, 1, 5, random.Random(1))
        self.assertEqual((len(chosen), chosen), (5, sorted(set(chosen))))
        self.assertTrue({2, 6} & set(chosen), "behind a flush")
        self.assertEqual(points(LOG, 0, 100, random.Random(1)), list(range(7)))
        self.assertTrue(set(torn_points(LOG, 0, 50, random.Random(1))) <= {1, 3, 4, 5})


class TheMessage(unittest.TestCase):
    def test_a_whole_body_is_told_from_any_other(self):
        body = message.body(7, random.Random(1))
        self.assertTrue(message.is_whole(7, body))
        self.assertFalse(message.is_whole(8, body))
        self.assertFalse(message.is_whole(7, body[:-1]))
        self.assertFalse(message.is_whole(7, body + b"\0"))
        self.assertFalse(message.is_whole(7, body[:-1] + bytes([body[-1] ^ 1])))

    def test_only_whole_bodies_are_found(self):
        bodies = [message.body(seq, random.Random(seq)) for seq in (1, 2)]
        damaged = message.body(3, random.Random(3))
        data = b"head" + bodies[0] + b"\0" * 9 + damaged[:-1] + b"\0" * 9 + bodies[1]
        self.assertEqual(message.whole_bodies_in(data), {1, 2})


class TheJudgement(unittest.TestCase):
    def ledger(self, kind=message.PROMPT) -> Ledger:
        ledger = Ledger()
        ledger.note_acknowledged(Acknowledged(kind, 1, "id"), 10)
        return ledger

    def test_what_was_acknowledged_before_the_cut_must_be_somewhere(self):
        self.assertEqual(judge(self.ledger(), 10, Found(), 5).lost, [1])
        self.assertEqual(judge(self.ledger(), 10, Found(delivered={1: 1}), 5).lost, [])
        self.assertEqual(judge(self.ledger(), 9, Found(), 5).lost, [])
        self.assertEqual(judge(self.ledger(), 9, Found(), 5).not_yet, 1)

    def test_a_delivery_counts_only_before_the_cut(self):
        ledger = self.ledger()
        ledger.note_request(Request(message.PROMPT, 1, 1, True), 204, 20)
        self.assertEqual(judge(ledger, 19, Found(), 5).lost, [1])
        self.assertEqual(judge(ledger, 20, Found(), 5).lost, [])

    def test_a_dead_letter_counts_only_for_its_kind_and_after_its_last_attempt(self):
        buried = Found(dead_letters={1})
        self.assertEqual(judge(self.ledger(), 30, buried, 5).lost, [1])
        ledger = self.ledger(message.DEAD)
        ledger.note_request(Request(message.DEAD, 1, 4, True), 503, 15)
        self.assertEqual(judge(ledger, 30, buried, 5).lost, [1], "attempts were left")
        ledger.note_request(Request(message.DEAD, 1, 5, True), 503, 20)
        self.assertEqual(judge(ledger, 19, buried, 5).lost, [1])
        self.assertEqual(judge(ledger, 20, buried, 5).lost, [])
        self.assertEqual(judge(ledger, 20, Found(), 5).lost, [1])
        prompt = self.ledger()
        prompt.note_request(Request(message.PROMPT, 1, 5, True), 503, 20)
        self.assertEqual(judge(prompt, 30, buried, 5).lost, [1], "its path does not say so")

    def test_a_dead_letter_is_not_attempted_again(self):
        ledger = self.ledger(message.DEAD)
        ledger.note_line({"message": "dead-lettered", "id": "id"}, 25)
        again = Found(delivered={1: 1})
        self.assertEqual(judge(ledger, 24, again, 5).revived, [])
        self.assertEqual(judge(ledger, 25, again, 5).revived, [1])

    def test_a_damaged_body_is_noted(self):
        ledger, found = self.ledger(), Found()
        ledger.note_request(Request(message.PROMPT, 1, 1, False), 204, 20)
        found.note_request(Request(message.PROMPT, 1, 1, False), 204)
        self.assertEqual((len(ledger.damaged), len(found.damaged)), (1, 1))


if __name__ == "__main__":
    unittest.main()
