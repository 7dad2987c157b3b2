"""The zero skipper: from words of activations to the ones that survive."""

from functools import reduce
from operator import add

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.activation_bank import ActivationBank
from jpnet_hw.layouts import struct_signal, token_layout
from jpnet_hw.skid_buffer import SkidBuffer
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ZeroSkipper"]

_QUEUE_DEPTH = 8


def _word_layout(config: AcceleratorConfig) -> data.StructLayout:
    return data.StructLayout(
        {
            "acts": data.ArrayLayout(signed(8), config.act_word),
            "keep": unsigned(config.act_word),
            "index": unsigned(config.act_addr_width),
            "end": unsigned(1),
        }
    )


def _read_layout(config: AcceleratorConfig) -> data.StructLayout:
    return data.StructLayout(
        {
            "index": unsigned(config.act_addr_width),
            "columns": unsigned(config.act_columns),
            "end": unsigned(1),
        }
    )


class ZeroSkipper(wiring.Component):
    """Read one bank's share of a tensor and emit the survivors, one per cycle without gaps.

    A word is read every cycle while the queue has room; words without a survivor take no further
    cycle. An activation survives iff its magnitude exceeds `theta`. The first survivor of the
    first word leaves `LATENCY` cycles after `start`. After the last survivor, or alone when there
    is none, the end of the job follows.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    start : in
        Pulse; the fields below are held until `busy` falls.
    base, words : in
        First word address and number of words in this bank; 0 words give the end alone.
    tail : in
        Columns of the last word that belong to the tensor; 0 means all.
    theta : in, 0 to 127
        The tensor's threshold.
    dense : in
        Everything survives, zeros too.
    divided : in
        Every input belongs to one group: input i to group ``i % groups``.
    pointer_base : in
        List table entry of the bank's first activation.
    limited, limit : in
        Only the first `limit` words are in the bank yet; the others are waited for.
    r_address, r_word
        To the bank.
    o : out, stream of tokens
        The survivors.
    busy : out
        From the cycle after `start` until the end was taken.
    reading : out
        From the cycle after `start` until the last word was read from the bank.
    waiting : out
        The next word is not in the bank yet.
    read_count, zero_count, below_count : out
        Activations examined, found zero and found below the threshold in a cycle.
    """

    LATENCY = 7

    start: Signal
    base: Signal
    words: Signal
    tail: Signal
    theta: Signal
    dense: Signal
    divided: Signal
    pointer_base: Signal
    limited: Signal
    limit: Signal
    r_address: Signal
    r_word: Signal
    o: stream.Interface
    busy: Signal
    reading: Signal
    waiting: Signal
    read_count: Signal
    zero_count: Signal
    below_count: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        count = range(config.act_word + 1)
        super().__init__(
            {
                "start": In(1),
                "base": In(config.act_addr_width),
                "words": In(config.act_addr_width + 1),
                "tail": In(range(max(2, config.act_columns))),
                "theta": In(7),
                "dense": In(1),
                "divided": In(1),
                "pointer_base": In(config.pointer_addr_width),
                "limited": In(1),
                "limit": In(config.act_addr_width + 1),
                "r_address": Out(config.act_addr_width),
                "r_word": In(8 * config.act_word),
                "o": Out(stream.Signature(token_layout(config))),
                "busy": Out(1),
                "reading": Out(1),
                "waiting": Out(1),
                "read_count": Out(count),
                "zero_count": Out(count),
                "below_count": Out(count),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFO(
            width=_word_layout(self._config).size, depth=_QUEUE_DEPTH
        )
        dropped, taken = Signal(), Signal()
        item = self._build_reader(m, taken, dropped)
        self._build_filter(m, queue, dropped, item)
        m.d.comb += taken.eq(queue.r_en & queue.r_rdy)
        m.submodules.buffer = buffer = SkidBuffer(token_layout(self._config))
        self._build_emitter(m, queue, buffer.i)
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        finished = self.o.valid & self.o.ready & self.o.payload.last
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.Elif(finished):
            m.d.sync += self.busy.eq(0)
        return m

    def _build_reader(self, m: Module, taken: Signal, dropped: Signal) -> tuple[Signal, data.View]:
        """Issue words, then the end; return valid and what was asked for as the word arrives."""
        config = self._config
        left = Signal(config.act_addr_width + 1, reset_less=True)
        index = Signal(config.act_addr_width, reset_less=True)
        address = Signal(config.act_addr_width, reset_less=True)
        outstanding = Signal(range(_QUEUE_DEPTH + 1))
        issue = Signal()
        end = Signal()
        asked = struct_signal(_read_layout(config))
        whole = (left != 1) | (self.tail == 0)
        m.d.comb += [
            end.eq(left == 0),
            asked.index.eq(index),
            asked.end.eq(end),
            *(
                asked.columns[column].eq(~end & (whole | (self.tail > column)))
                for column in range(config.act_columns - 1)
            ),
            asked.columns[-1].eq(~end & whole),
            self.waiting.eq(self.reading & ~end & self.limited & (index >= self.limit)),
            issue.eq(self.reading & ~self.waiting & (outstanding != _QUEUE_DEPTH)),
            self.r_address.eq(address),
        ]
        m.d.sync += outstanding.eq(outstanding + issue - taken - dropped)
        with m.If(issue):
            m.d.sync += [left.eq(left - 1), index.eq(index + 1), address.eq(address + 1)]
            with m.If(end):
                m.d.sync += self.reading.eq(0)
        with m.If(self.start):
            m.d.sync += [
                self.reading.eq(1),
                left.eq(self.words),
                index.eq(0),
                address.eq(self.base),
            ]
        valid = issue
        for stage in range(ActivationBank.LATENCY):
            valid_q = Signal(name=f"read_valid_{stage}")
            asked_q = struct_signal(_read_layout(config), name=f"read_{stage}", reset_less=True)
            m.d.sync += [valid_q.eq(valid), asked_q.eq(asked)]
            valid, asked = valid_q, asked_q
        return valid, asked

    def _build_filter(
        self,
        m: Module,
        queue: fifo.SyncFIFO,
        dropped: Signal,
        item: tuple[Signal, data.View],
    ) -> None:
        """Compare a word's activations with the threshold and queue what has survivors."""
        config = self._config
        valid, asked = item
        word = struct_signal(_word_layout(config), reset_less=True)
        valid_q = Signal()
        zeros = Signal(config.act_word, reset_less=True)
        below = Signal(config.act_word, reset_less=True)
        acts = data.View(data.ArrayLayout(signed(8), config.act_word), self.r_word)
        limit = Signal(signed(8))
        m.d.comb += limit.eq(self.theta)
        columns = Signal(config.act_columns, reset_less=True)
        m.d.sync += [
            valid_q.eq(valid),
            columns.eq(asked.columns),
            word.acts.eq(acts),
            word.index.eq(asked.index),
            word.end.eq(asked.end),
        ]
        for slot in range(config.act_word):
            act = acts[slot]
            present = asked.columns[slot // config.lanes]
            survives = (act > limit) | (act < -limit) | self.dense
            m.d.sync += [
                word.keep[slot].eq(survives & present),
                zeros[slot].eq((act == 0) & present & ~self.dense),
                below[slot].eq((act != 0) & present & ~survives),
            ]
        wanted = word.keep.any() | word.end
        m.d.comb += [
            queue.w_data.eq(word),
            queue.w_en.eq(valid_q & wanted),
            dropped.eq(valid_q & ~wanted),
        ]
        m.d.sync += [
            self.read_count.eq(Mux(valid_q, reduce(add, list(columns)) * config.lanes, 0)),
            self.zero_count.eq(Mux(valid_q, reduce(add, list(zeros)), 0)),
            self.below_count.eq(Mux(valid_q, reduce(add, list(below)), 0)),
        ]

    def _build_emitter(self, m: Module, queue: fifo.SyncFIFO, o: stream.Interface) -> None:
        """Emit a word's survivors from the lowest slot up, then the next word's."""
        config = self._config
        slot_width = exact_log2(config.act_word)
        queued = data.View(_word_layout(config), queue.r_data)
        word = struct_signal(_word_layout(config), reset_less=True)
        full = Signal()
        lowest = Signal(config.act_word)
        rest = Signal(config.act_word)
        step = Signal()
        m.d.comb += [
            step.eq(~o.valid | o.ready),
            rest.eq(word.keep & (word.keep - 1)),
            lowest.eq(word.keep & ~rest),
            queue.r_en.eq(~full | (step & ~rest.any())),
        ]
        with m.If(queue.r_en):
            m.d.sync += [full.eq(queue.r_rdy), word.eq(queued)]
        with m.Elif(step):
            m.d.sync += word.keep.eq(rest)

        # The token takes two steps: choose the activation, then add up its list's place.
        chosen_valid = Signal()
        chosen_end = Signal(reset_less=True)
        act = Signal(signed(8), reset_less=True)
        local = Signal(config.act_addr_width + slot_width, reset_less=True)
        picked = reduce(
            lambda a, b: a | b,
            (Mux(lowest[slot], word.acts[slot], 0)[:8] for slot in range(config.act_word)),
        )
        place = [
            Cat(lowest[slot] for slot in range(config.act_word) if slot >> bit & 1).any()
            for bit in range(slot_width)
        ]
        token = o.payload
        owner_width = exact_log2(config.groups)
        with m.If(step):
            m.d.sync += [
                chosen_valid.eq(full),
                chosen_end.eq(word.end),
                act.eq(picked),
                local.eq(Cat(*place, word.index)),
                o.valid.eq(chosen_valid),
                token.act.eq(act),
                token.last.eq(chosen_end),
                token.divided.eq(self.divided),
                token.owner.eq(local[:owner_width]),
                token.pointer.eq(
                    self.pointer_base + Mux(self.divided, local >> owner_width, local)
                ),
            ]
