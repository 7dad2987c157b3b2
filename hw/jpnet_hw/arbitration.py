"""Choosing one of several requests."""

from amaranth.hdl import Cat, Value

__all__ = ["first_from", "place_of"]


def first_from(requests: Value, turn: Value) -> Value:
    """Choose the first request from the one whose turn it is on, in a ring.

    Parameters
    ----------
    requests
        One bit per requester.
    turn
        One-hot, as wide as `requests`.

    Returns
    -------
    Value
        One-hot, as wide as `requests`; 0 without a request.
    """
    count = len(requests)

    def wins(place: int) -> Value:
        """Return whether a request is the first one, whoever's turn it is."""
        return Cat(
            turn[(place - before) % count]
            & ~Cat(requests[(place - step) % count] for step in range(1, before + 1)).any()
            for before in range(count)
        ).any()

    return Cat(requests[place] & wins(place) for place in range(count))


def place_of(one_hot: Value) -> Value:
    """Return the number of the only bit that is set, at least one bit wide."""
    width = max(1, (len(one_hot) - 1).bit_length())
    return Cat(
        Cat(one_hot[place] for place in range(len(one_hot)) if place >> bit & 1).any()
        for bit in range(width)
    )
