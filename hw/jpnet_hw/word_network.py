"""Network from the zero skippers to the banks of the activation memory."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.activation_bank import ActivationBank
from jpnet_hw.arbitration import first_from, place_of
from jpnet_spec.config import AcceleratorConfig

__all__ = ["WordNetwork", "word_ask_layout"]


def word_ask_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return which word is asked for: the bank, one-hot or none, and the address there."""
    return data.StructLayout(
        {"banks": unsigned(config.clusters), "address": unsigned(config.act_addr_width)}
    )


class WordNetwork(wiring.Component):
    """Let every zero skipper read every bank; a bank serves one of them in a cycle, in turn.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    restart : in
        Pulse while no word is wanted: the first skipper's turn is next.
    asks : in, per skipper
        A word that is wanted, in no bank where none is; held until it is granted.
    granted : out, one bit a skipper
        The word comes `LATENCY` cycles later.
    words : out, per skipper
        The words.
    hold : in
        No word is granted in this cycle; all banks read `held_address` instead.
    held_address : in
        Address of a word of every bank.
    r_address, r_word : out, in, per bank
        To the banks.
    """

    LATENCY = 2 + ActivationBank.LATENCY

    restart: Signal
    asks: list[data.View]
    granted: Signal
    words: list[Signal]
    hold: Signal
    held_address: Signal
    r_address: list[Signal]
    r_word: list[Signal]

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        word = unsigned(8 * config.act_word)
        super().__init__(
            {
                "restart": In(1),
                "asks": In(word_ask_layout(config)).array(config.clusters),
                "granted": Out(config.clusters),
                "words": Out(word).array(config.clusters),
                "hold": In(1),
                "held_address": In(config.act_addr_width),
                "r_address": Out(config.act_addr_width).array(config.clusters),
                "r_word": In(word).array(config.clusters),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clusters = self._config.clusters
        grants = [Signal(clusters, name=f"grants_{bank}") for bank in range(clusters)]
        for bank, grant in enumerate(grants):
            requests = Signal(clusters, name=f"requests_{bank}")
            turn = Signal(clusters, name=f"turn_{bank}", init=1)
            address = Signal(self._config.act_addr_width, name=f"address_{bank}", reset_less=True)
            chosen = reduce(
                or_,
                (Mux(grant[number], ask.address, 0) for number, ask in enumerate(self.asks)),
            )
            m.d.comb += [
                requests.eq(Cat(ask.banks[bank] for ask in self.asks)),
                grant.eq(first_from(requests, turn)),
                self.r_address[bank].eq(address),
            ]
            m.d.sync += address.eq(Mux(self.hold, self.held_address, chosen))
            with m.If(requests.any() & ~self.hold):
                m.d.sync += turn.eq(grant.rotate_left(1))
            with m.If(self.restart):
                m.d.sync += turn.eq(1)
        for number, word in enumerate(self.words):
            mine = Cat(grant[number] for grant in grants)
            m.d.comb += self.granted[number].eq(mine.any() & ~self.hold)
            source: Value = place_of(mine)
            for stage in range(1 + ActivationBank.LATENCY):
                later = Signal(len(source), name=f"bank_{number}_{stage}", reset_less=True)
                m.d.sync += later.eq(source)
                source = later
            word_q = Signal(len(word), name=f"word_{number}", reset_less=True)
            with m.Switch(source):
                for bank, read in enumerate(self.r_word):
                    with m.Case(bank):
                        m.d.sync += word_q.eq(read)
            m.d.comb += word.eq(word_q)
        return m
