"""One multiplier and the accumulators that its products are scattered to."""

from functools import reduce
from itertools import pairwise
from operator import or_

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import acc_read_layout, context_shape, struct_signal
from jpnet_hw.memory import SyncMemory
from jpnet_hw.weight_lists import operand_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Accumulator"]

_FORWARDED = 5
"""Products before one whose sums its read may have missed."""


def _target_layout(config: AcceleratorConfig) -> data.StructLayout:
    return data.StructLayout(
        {
            "context": context_shape(config),
            "row": unsigned(config.acc_addr_width),
        }
    )


class Accumulator(wiring.Component):
    """Multiply and add to the accumulator row that the weight names, one product per cycle.

    Any sequence of rows is right, the same row in consecutive cycles too: sums on their way to
    memory are forwarded. Each context has its own memory. Sums are modulo ``2**acc_width``; the
    compiler proves that they cannot leave it. A row read by `drain` is re-armed to 0, unless it is
    to be kept.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    i_valid, i : in, operands
        A product to add, or the end of a context's job.
    drain_valid, drain : in
        Row to read, and to re-arm or keep. Its context must have no job under way; others may.
    sum : out, signed(acc_width)
        The row, `DRAIN_LATENCY` cycles after `drain_valid`.
    done : out, one bit per context
        Pulse `LATENCY` cycles after an end: every product before it is in memory.
    """

    LATENCY = 5
    DRAIN_LATENCY = 3

    i_valid: Signal
    i: data.View
    drain_valid: Signal
    drain: data.View
    sum: Signal
    done: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i_valid": In(1),
                "i": In(operand_layout(config)),
                "drain_valid": In(1),
                "drain": In(acc_read_layout(config)),
                "sum": Out(signed(config.acc_width)),
                "done": Out(config.contexts),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        rows = [
            SyncMemory(
                shape=signed(config.acc_width), depth=config.acc_depth, output_register=False
            )
            for _ in range(config.contexts)
        ]
        for context, part in enumerate(rows):
            m.submodules[f"rows_{context}"] = part

        # Stage 0: operands arrive, accumulator read. Stages 1 and 2: memory, product. Stage 3: the
        # row's content is chosen. Stage 4: the sum is in its register. Stage 5: it is written.
        targets = [
            struct_signal(_target_layout(config), name=f"target_{stage}", reset_less=True)
            for stage in range(2 + _FORWARDED)
        ]
        m.d.comb += [targets[0].context.eq(self.i.context), targets[0].row.eq(self.i.row)]
        m.d.sync += [new.eq(old) for old, new in pairwise(targets)]
        valids = Signal(2 + _FORWARDED)
        ends = Signal(1 + self.LATENCY)
        m.d.comb += [
            valids[0].eq(self.i_valid & ~self.i.end),
            ends[0].eq(self.i_valid & self.i.end),
        ]
        m.d.sync += [valids[1:].eq(valids), ends[1:].eq(ends)]
        total = self._build_sums(m, rows, targets, valids)
        last_context = targets[self.LATENCY].context
        for context, part in enumerate(rows):
            w_en = Signal(name=f"w_en_{context}")
            w_row = Signal(config.acc_addr_width, name=f"w_row_{context}", reset_less=True)
            w_sum = Signal(signed(config.acc_width), name=f"w_sum_{context}", reset_less=True)
            m.d.sync += [
                w_en.eq(valids[4] & (targets[4].context == context)),
                w_row.eq(targets[4].row),
                w_sum.eq(total),
            ]
            with m.If(self._build_rearm(m, context, w_row, w_sum)):
                m.d.sync += w_en.eq(1)
            m.d.comb += [
                part.r_addr.eq(self.i.row),
                part.w_en.eq(w_en),
                part.w_addr.eq(w_row),
                part.w_data.eq(w_sum),
                self.done[context].eq(ends[-1] & (last_context == context)),
            ]
        self._build_drain(m, rows)
        return m

    def _build_sums(
        self, m: Module, rows: list[SyncMemory], targets: list[data.View], valids: Signal
    ) -> Signal:
        """Add products to rows, forwarding the sums that a read may have missed."""
        config = self._config
        products = [Signal(signed(16), name=f"product_{age}", reset_less=True) for age in range(3)]
        missed = Signal(_FORWARDED, reset_less=True)
        newest = Signal(reset_less=True)
        stored = Signal(signed(config.acc_width))
        base = Signal(signed(config.acc_width), reset_less=True)
        recent = [
            Signal(signed(config.acc_width), name=f"sum_{age}", reset_less=True)
            for age in range(_FORWARDED - 1)
        ]
        m.d.sync += products[0].eq(self.i.weight * self.i.act)
        m.d.sync += [new.eq(old) for old, new in pairwise(products)]
        for age in range(_FORWARDED):
            older = targets[2 + age]
            same = (older.context == targets[1].context) & (older.row == targets[1].row)
            m.d.sync += missed[age].eq(valids[2 + age] & same)
        m.d.comb += stored.eq(self._build_choice(m, rows, targets[1].context, "stored"))
        # The sum of one product ago is in its register a cycle after the older ones.
        chosen: Value = stored
        for age in reversed(range(_FORWARDED - 1)):
            chosen = Mux(missed[age + 1], recent[age], chosen)
        m.d.sync += [
            base.eq(chosen),
            newest.eq(missed[0]),
            recent[0].eq(Mux(newest, recent[0], base) + products[2]),
            *(new.eq(old) for old, new in pairwise(recent)),
        ]
        return recent[0]

    def _build_rearm(self, m: Module, context: int, w_row: Signal, w_sum: Signal) -> Value:
        """Write 0 behind a row that is not kept; return whether the next write does."""
        reading: Value = self.drain_valid & (self.drain.context == context)
        with m.If(reading):
            m.d.sync += [w_row.eq(self.drain.row), w_sum.eq(0)]
        rearming: Value = reading & ~self.drain.keep
        return rearming

    def _build_choice(self, m: Module, rows: list[SyncMemory], context: Value, name: str) -> Value:
        """Return one context's row a cycle later; the registers of the others are 0."""
        parts = []
        for number, part in enumerate(rows):
            part_q = Signal(
                signed(self._config.acc_width), name=f"{name}_{number}", reset_less=True
            )
            m.d.sync += part_q.eq(Mux(context == number, part.r_data, 0))
            parts.append(part_q)
        return reduce(or_, parts)

    def _build_drain(self, m: Module, rows: list[SyncMemory]) -> None:
        """Serve reads of finished rows."""
        config = self._config
        request = self.drain
        sum_q = Signal(signed(config.acc_width), reset_less=True)
        context_q = Signal(context_shape(config), name="drained_context", reset_less=True)
        m.d.sync += [
            context_q.eq(request.context),
            sum_q.eq(self._build_choice(m, rows, context_q, "drained")),
        ]
        m.d.comb += self.sum.eq(sum_q)
        for number, part in enumerate(rows):
            with m.If(self.drain_valid & (request.context == number)):
                m.d.comb += part.r_addr.eq(request.row)
