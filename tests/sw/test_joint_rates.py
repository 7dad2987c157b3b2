from itertools import product

import pytest

from jpnet_spec.topn import ThresholdMode
from jpnet_sw.sparsity import TopNFilter
from jpnet_sw.sparsity.joint_rates import Measurement, choose_rates_jointly

RATES = (0.8, 0.6, 0.4, 0.2)
ELEMENTS = {"a": 100, "b": 100, "c": 100}


def toy(filters, harm, saving):
    """A network whose loss and MACs are known functions of the rates."""

    def measure():
        loss, macs = 1.0, 1000.0
        for name, module in filters.items():
            on = module.top_n.mode is ThresholdMode.EXACT
            rate = module.top_n.winners / ELEMENTS[name] if on else 1.0
            loss += harm[name] * (1 - rate) ** 2
            macs -= saving[name] * (1 - rate)
        return Measurement(accuracy_percent=100 - 10 * loss, loss=loss, macs=macs)

    return measure


def test_tolerance_is_spent_where_it_saves_the_most():
    filters = {name: TopNFilter() for name in ELEMENTS}
    harm = {"a": 0.1, "b": 0.1, "c": 0.4}
    saving = {"a": 10.0, "b": 500.0, "c": 300.0}
    measure = toy(filters, harm, saving)
    choice = choose_rates_jointly(filters, ELEMENTS, RATES, 1.0, measure)
    allowed = {}
    for rates in product((1.0, *RATES), repeat=3):
        loss = sum(harm[n] * (1 - r) ** 2 for n, r in zip(ELEMENTS, rates, strict=True))
        if 10 * loss <= 1.0:
            macs = sum(saving[n] * (1 - r) for n, r in zip(ELEMENTS, rates, strict=True))
            allowed[rates] = 1000 - macs
    assert tuple(choice.rates.values()) == min(allowed, key=allowed.get)
    assert choice.chosen.macs == pytest.approx(min(allowed.values()))
    assert choice.rates["b"] < choice.rates["a"]
    assert len(choice.points) == 12
    assert all(module.top_n.mode is ThresholdMode.NONE for module in filters.values())


def test_no_tolerance_leaves_what_hurts_unfiltered():
    filters = {name: TopNFilter() for name in ELEMENTS}
    harm = {"a": 0.1, "b": 0.0, "c": 0.1}
    choice = choose_rates_jointly(
        filters, ELEMENTS, RATES, 0.0, toy(filters, harm, dict.fromkeys(ELEMENTS, 100.0))
    )
    assert choice.rates == {"a": 1.0, "b": 0.2, "c": 1.0}


def test_nothing_to_filter_is_no_error():
    measured = Measurement(accuracy_percent=50, loss=1, macs=10)
    choice = choose_rates_jointly({}, {}, RATES, 1.0, lambda: measured)
    assert (choice.rates, choice.chosen) == ({}, measured)
