"""AXI4-Lite registers, generated from the register map."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.registers import REGISTERS, Access, Register

__all__ = ["RegistersBlock"]

_ADDRESS_WIDTH = 12
_SLAVE_ERROR = 2
_BLOCK_REGISTERS = 8


class RegistersBlock(wiring.Component):
    """Answer the host and hold what it writes.

    One access at a time in each direction. A write takes effect when its address and its data are
    both there; bytes without a strobe stay. An access outside the map, or a write to a read-only
    register, is answered with an error and reported. Bits that no description names read as 0.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    aw_address, aw_valid, aw_ready, w_data, w_strobe, w_valid, w_ready, b_resp, b_valid, b_ready,
    ar_address, ar_valid, ar_ready, r_data, r_resp, r_valid, r_ready
        The bus.
    values : in, unsigned(32) per register that hardware owns
        What a read returns: read-only registers and those that are written 1 to clear.
    held : out, per register that software writes and that has bits here
        What software wrote.
    written : out, unsigned(32) per register that triggers or clears
        Pulse: the bits that software wrote 1.
    touched : out, one bit per register that triggers or clears
        Pulse: a write, whatever its bits.
    unmapped : out
        Pulse: an access was refused.
    """

    aw_address: Signal
    aw_valid: Signal
    aw_ready: Signal
    w_data: Signal
    w_strobe: Signal
    w_valid: Signal
    w_ready: Signal
    b_resp: Signal
    b_valid: Signal
    b_ready: Signal
    ar_address: Signal
    ar_valid: Signal
    ar_ready: Signal
    r_data: Signal
    r_resp: Signal
    r_valid: Signal
    r_ready: Signal
    values: Any
    held: Any
    written: Any
    touched: Any
    unmapped: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        owned = [r for r in REGISTERS if r.access in (Access.READ, Access.CLEAR)]
        acting = [r for r in REGISTERS if r.access in (Access.COMMAND, Access.CLEAR)]
        held = [r for r in REGISTERS if self.held_width(r)]
        super().__init__(
            {
                "aw_address": In(_ADDRESS_WIDTH),
                "aw_valid": In(1),
                "aw_ready": Out(1),
                "w_data": In(32),
                "w_strobe": In(4),
                "w_valid": In(1),
                "w_ready": Out(1),
                "b_resp": Out(2),
                "b_valid": Out(1),
                "b_ready": In(1),
                "ar_address": In(_ADDRESS_WIDTH),
                "ar_valid": In(1),
                "ar_ready": Out(1),
                "r_data": Out(32),
                "r_resp": Out(2),
                "r_valid": Out(1),
                "r_ready": In(1),
                "values": In(wiring.Signature({r.name.lower(): Out(32) for r in owned})),
                "held": Out(
                    wiring.Signature({r.name.lower(): Out(self.held_width(r)) for r in held})
                ),
                "written": Out(wiring.Signature({r.name.lower(): Out(32) for r in acting})),
                "touched": Out(wiring.Signature({r.name.lower(): Out(1) for r in acting})),
                "unmapped": Out(1),
            }
        )

    def held_width(self, register: Register) -> int:
        """Return how many bits of a register hold what software writes."""
        if register.access is not Access.WRITE:
            return 0
        if register.bits:
            return max(bit.position for bit in register.bits) + 1
        if register.name.endswith("_BASE_HIGH"):
            return max(self._config.axi_addr_width - 32, 0)
        return 32

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write_refused = Signal()
        read_refused = Signal()
        self._build_writes(m, write_refused)
        self._build_reads(m, read_refused)
        m.d.sync += self.unmapped.eq(write_refused | read_refused)
        return m

    def _build_writes(self, m: Module, refused: Signal) -> None:
        """Take address and data in any order, act, answer."""
        address = Signal(_ADDRESS_WIDTH, reset_less=True)
        address_valid = Signal()
        word = Signal(32, reset_less=True)
        strobe = Signal(4, reset_less=True)
        word_valid = Signal()
        act = Signal()
        m.d.comb += [
            self.aw_ready.eq(~address_valid),
            self.w_ready.eq(~word_valid),
            act.eq(address_valid & word_valid & ~self.b_valid),
        ]
        with m.If(~address_valid):
            m.d.sync += [address.eq(self.aw_address), address_valid.eq(self.aw_valid)]
        with m.If(~word_valid):
            m.d.sync += [
                word.eq(self.w_data),
                strobe.eq(self.w_strobe),
                word_valid.eq(self.w_valid),
            ]
        with m.If(act):
            m.d.sync += [address_valid.eq(0), word_valid.eq(0)]
        with m.If(self.b_valid & self.b_ready):
            m.d.sync += self.b_valid.eq(0)
        for entry in (r for r in REGISTERS if r.access in (Access.COMMAND, Access.CLEAR)):
            name = entry.name.lower()
            m.d.sync += [getattr(self.written, name).eq(0), getattr(self.touched, name).eq(0)]
        with m.If(act):
            m.d.sync += [self.b_valid.eq(1), self.b_resp.eq(0)]
            with m.Switch(address[2:]):
                for entry in (r for r in REGISTERS if r.access is not Access.READ):
                    with m.Case(entry.offset // 4):
                        self._write(m, entry, word, strobe)
                with m.Default():
                    m.d.comb += refused.eq(1)
                    m.d.sync += self.b_resp.eq(_SLAVE_ERROR)

    def _write(self, m: Module, entry: Register, word: Signal, strobe: Signal) -> None:
        name, width = entry.name.lower(), self.held_width(entry)
        written = word & Cat(strobe[index // 8] for index in range(32))
        if width:
            held = getattr(self.held, name)
            for byte in range(-(-width // 8)):
                with m.If(strobe[byte]):
                    m.d.sync += held[8 * byte : 8 * byte + 8].eq(word[8 * byte : 8 * byte + 8])
        elif entry.access is not Access.WRITE:
            m.d.sync += [
                getattr(self.written, name).eq(written),
                getattr(self.touched, name).eq(1),
            ]

    def _build_reads(self, m: Module, refused: Signal) -> None:
        """Take an address, look the register up, answer."""
        address = Signal(_ADDRESS_WIDTH, reset_less=True)
        address_valid, selected = Signal(), Signal()
        m.d.comb += self.ar_ready.eq(~address_valid & ~selected & ~self.r_valid)
        m.d.sync += address_valid.eq(self.ar_valid & self.ar_ready)
        with m.If(self.ar_ready):
            m.d.sync += address.eq(self.ar_address)
        with m.If(self.r_valid & self.r_ready):
            m.d.sync += self.r_valid.eq(0)
        # First one register of each block, then the block.
        number = address[2:]
        place_bits = exact_log2(_BLOCK_REGISTERS)
        m.d.sync += selected.eq(address_valid)
        with m.If(selected):
            m.d.sync += [self.r_valid.eq(1), self.r_data.eq(0), self.r_resp.eq(_SLAVE_ERROR)]
            m.d.comb += refused.eq(1)
        for block in sorted({entry.offset // 4 // _BLOCK_REGISTERS for entry in REGISTERS}):
            word = Signal(32, name=f"block_{block}", reset_less=True)
            known = Signal(name=f"known_{block}", reset_less=True)
            m.d.sync += known.eq(0)
            with m.Switch(number[:place_bits]):
                for entry in REGISTERS:
                    entry_block, place = divmod(entry.offset // 4, _BLOCK_REGISTERS)
                    if entry_block == block:
                        with m.Case(place):
                            m.d.sync += [word.eq(self._read(entry)), known.eq(1)]
            with m.If(selected & (number[place_bits:] == block) & known):
                m.d.sync += [self.r_data.eq(word), self.r_resp.eq(0)]
                m.d.comb += refused.eq(0)

    def _read(self, entry: Register) -> Any:
        name = entry.name.lower()
        if self.held_width(entry):
            return getattr(self.held, name)
        if entry.access in (Access.READ, Access.CLEAR):
            return getattr(self.values, name)
        return 0
