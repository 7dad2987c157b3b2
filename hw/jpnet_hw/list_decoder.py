"""Unpacks weight lists as the loader reads them."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import struct_signal
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import UNIT_WORDS
from jpnet_spec.packed_lists import CODE_BITS, FIELDS, MOST_FIELD_BITS

__all__ = ["DECODER_UNITS", "ListDecoder", "list_shape_layout"]

_UNIT_BITS = 32 * UNIT_WORDS
_WEIGHT_BITS = 8
_STEP = CODE_BITS
"""Every row of entries has a multiple of so many bits."""
_UNIT_STEPS = _UNIT_BITS // _STEP
DECODER_UNITS = 3
"""Units that wait: two that are unpacked, and one more so that none is asked for too late."""


def list_shape_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what a section's lists have in common, as `jpnet_spec.packed_lists.ListShape`."""
    return data.StructLayout(
        {
            "runs": unsigned(1),
            "rows": unsigned(config.acc_addr_width + 1),
            "columns": unsigned(8),
            "code": unsigned(CODE_BITS),
            "begins": unsigned(1),
        }
    )


class ListDecoder(wiring.Component):
    """Give a row of entries a cycle, as long as its units are there.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    begin : in
        Pulse: a section begins; the one before is done.
    shape : in, `list_shape_layout`
        With `begin`.
    units, entries : in, unsigned(16)
        With `begin`: how many units come and how many rows of entries they hold, neither 0.
    i : in, stream of unsigned(64)
        Units. `i.ready` does not depend on `i.valid`, and no unit is asked for that does not come.
    done : out
        Pulse in the cycle of the last row of entries, or instead of it with `bad`.
    bad : out
        With `done`: units are too many or too few, or a code is too large.
    o_valid, o : out, an array of signed(entry_width)
        A row of entries, ``row << 8 | weight``, for each lane.
    """

    begin: Signal
    shape: data.View
    units: Signal
    entries: Signal
    i: stream.Interface
    done: Signal
    bad: Signal
    o_valid: Signal
    o: data.View

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._held = struct_signal(list_shape_layout(config), name="held", reset_less=True)
        super().__init__(
            {
                "begin": In(1),
                "shape": In(list_shape_layout(config)),
                "units": In(16),
                "entries": In(16),
                "i": In(stream.Signature(unsigned(_UNIT_BITS))),
                "done": Out(1),
                "bad": Out(1),
                "o_valid": Out(1),
                "o": Out(data.ArrayLayout(signed(config.entry_width), FIELDS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = self._held
        row_bits = len(held.rows)
        code, base = Signal(CODE_BITS, reset_less=True), Signal(row_bits, reset_less=True)
        following = Signal(row_bits + 1)
        last, emit = Signal(), Signal()
        m.d.comb += [
            following.eq(base + (1 << code[:3])),
            last.eq(~held.runs & (following >= held.rows)),
        ]
        # Of weights and fields, and of the next list's code.
        steps = Signal(range(_UNIT_STEPS + 1))
        m.d.comb += steps.eq(FIELDS * _WEIGHT_BITS // _STEP + code + last)
        window = self._build_units(m, steps, emit, bad_code=code > MOST_FIELD_BITS)
        behind = window[FIELDS * _WEIGHT_BITS :]
        widths = range(MOST_FIELD_BITS + 1)
        trailing = Array(behind[FIELDS * width :][:CODE_BITS] for width in widths)[code[:3]]
        with m.If(emit & ~held.runs):
            m.d.sync += base.eq(following)
            with m.If(last):
                m.d.sync += [base.eq(0), code.eq(trailing)]
        with m.If(self.begin):
            m.d.sync += held.eq(self.shape)
            with m.If(self.shape.begins):
                m.d.sync += [base.eq(0), code.eq(self.shape.code)]

        valid_q = Signal()
        last_q, base_q = Signal(reset_less=True), Signal(row_bits, reset_less=True)
        m.d.sync += [valid_q.eq(emit), last_q.eq(last), base_q.eq(base)]
        m.d.comb += self.o_valid.eq(valid_q)
        for lane in range(FIELDS):
            weight = Signal(_WEIGHT_BITS, name=f"weight_{lane}", reset_less=True)
            field = Signal(MOST_FIELD_BITS, name=f"field_{lane}", reset_less=True)
            choices = Array(behind[width * lane :][:width] for width in widths)
            m.d.sync += [
                weight.eq(window.word_select(lane, _WEIGHT_BITS)),
                field.eq(choices[code[:3]]),
            ]
            row = self._build_row(m, lane, field, valid_q, (base_q, last_q))
            m.d.comb += self.o[lane].eq(Cat(weight, row))
        return m

    def _build_units(self, m: Module, steps: Signal, emit: Signal, *, bad_code: Value) -> Value:
        """Keep units, and count what is still to come; return the bits from the next row on."""
        kept = [
            Signal(_UNIT_BITS, name=f"unit_{place}", reset_less=True)
            for place in range(DECODER_UNITS)
        ]
        count = Signal(range(DECODER_UNITS + 1))
        position = Signal(range(_UNIT_STEPS))
        units_left, entries_left = Signal(16), Signal(16)
        reached = Signal(range(2 * _UNIT_STEPS + 1))
        crosses, there, pops, takes = Signal(), Signal(), Signal(), Signal()
        busy = Signal()
        m.d.comb += [
            self.i.ready.eq(busy & (count != DECODER_UNITS) & (units_left != 0)),
            takes.eq(self.i.valid & self.i.ready),
            reached.eq(position + steps),
            crosses.eq(reached > _UNIT_STEPS),
            there.eq(Mux(crosses, count > 1, count != 0)),
            emit.eq(busy & (entries_left != 0) & there & ~bad_code),
            pops.eq(emit & (reached >= _UNIT_STEPS)),
        ]
        starved = ~there & (units_left == 0)
        wasted = (units_left != 0) | (count > 1) | ((count == 1) & (position == 0))
        m.d.comb += [
            self.done.eq(busy & ((entries_left == 0) | starved | bad_code)),
            self.bad.eq(self.done & ((entries_left != 0) | wasted)),
        ]
        m.d.sync += [
            units_left.eq(units_left - takes),
            entries_left.eq(entries_left - emit),
            count.eq(count + takes - pops),
        ]
        with m.If(emit):
            m.d.sync += position.eq(reached)
        remaining = count - pops
        for place, unit in enumerate(kept):
            with m.If(takes & (remaining == place)):
                m.d.sync += unit.eq(self.i.payload)
            with m.Elif(pops & (place < DECODER_UNITS - 1)):
                m.d.sync += unit.eq(kept[min(place + 1, DECODER_UNITS - 1)])
        with m.If(self.begin):
            m.d.sync += [
                busy.eq(1),
                units_left.eq(self.units),
                entries_left.eq(self.entries),
                count.eq(0),
                position.eq(0),
            ]
        with m.Elif(self.done):
            m.d.sync += busy.eq(0)
        both = Cat(kept[0], kept[1])
        width = _UNIT_BITS + CODE_BITS
        choices = [both[_STEP * place :][:width] for place in range(_UNIT_STEPS)]
        window = Signal(width)
        m.d.comb += window.eq(Array(choices)[position])
        return window

    def _build_row(
        self, m: Module, lane: int, field: Signal, valid: Value, block: tuple[Signal, Signal]
    ) -> Value:
        """Return the row of a lane's entry, and follow its list."""
        held, (base, last) = self._held, block
        row_bits = len(held.rows)
        place = Signal(row_bits, name=f"place_{lane}", reset_less=True)
        start = Signal(signed(row_bits + 1), name=f"start_{lane}", reset_less=True)
        column = Signal.like(held.columns, name=f"column_{lane}", reset_less=True)
        reached = Signal(row_bits + 1, name=f"reached_{lane}")
        wraps, moved = Signal(name=f"wraps_{lane}"), Signal.like(place, name=f"moved_{lane}")
        next_start = Signal.like(start, name=f"next_start_{lane}")
        next_column = Signal.like(column, name=f"next_column_{lane}")
        is_last = column == held.columns - 1
        m.d.comb += [
            reached.eq(place + field + 1),
            wraps.eq(reached >= held.rows),
            moved.eq(Mux(wraps, reached - held.rows, reached)),
            next_start.eq(Mux(is_last, 0, start - held.rows)),
            next_column.eq(Mux(is_last, 0, column + 1)),
        ]
        with m.If(valid):
            with m.If(held.runs):
                m.d.sync += place.eq(moved)
            with m.If(Mux(held.runs, wraps, last)):
                m.d.sync += [start.eq(next_start), column.eq(next_column)]
        with m.If(self.begin & self.shape.begins):
            m.d.sync += [
                place.eq(self.shape.rows - 1),
                start.eq(0),
                column.eq(Mux(self.shape.runs, self.shape.columns - 1, 0)),
            ]
        row = Signal(signed(self._config.entry_width - _WEIGHT_BITS), name=f"row_{lane}")
        of_run = Mux(wraps, next_start, start) + moved
        m.d.comb += row.eq(Mux(held.runs, of_run, start + (base | field)))
        return row
