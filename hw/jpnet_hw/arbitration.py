"""Choosing one of several requests."""

from amaranth.hdl import Cat, Module, Signal, Value

__all__ = ["first_from", "place_of"]


def first_from(m: Module, requests: Signal, turn: Signal, *, name: str) -> Value:
    """Choose the first request from the one whose turn it is on, in a ring.

    Parameters
    ----------
    m
        Takes the logic, which is combinational.
    requests
        One bit per requester.
    turn
        One-hot, as wide as `requests`.
    name
        Prefix of the signals' names.

    Returns
    -------
    Value
        One-hot, as wide as `requests`; 0 without a request.
    """
    count = len(requests)
    doubled = Signal(2 * count, name=f"{name}_doubled")
    first = Signal(2 * count, name=f"{name}_first")
    m.d.comb += [doubled.eq(Cat(requests, requests)), first.eq(doubled & ~(doubled - turn))]
    return first[:count] | first[count:]


def place_of(one_hot: Value) -> Value:
    """Return the number of the only bit that is set, at least one bit wide."""
    width = max(1, (len(one_hot) - 1).bit_length())
    return Cat(
        Cat(one_hot[place] for place in range(len(one_hot)) if place >> bit & 1).any()
        for bit in range(width)
    )
