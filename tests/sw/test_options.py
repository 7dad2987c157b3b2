import pytest

from jpnet_sw.models import mlp3
from jpnet_sw.sparsity.methods import build_method, method_names, method_options, method_type
from jpnet_sw.sparsity.options import describe
from jpnet_sw.sparsity.selector import Selector


def test_every_method_says_what_it_is_and_explains_its_options():
    assert len(method_names()) == 13
    for name in method_names():
        kind = method_type(name)
        assert kind.SUMMARY
        assert len(kind.SUMMARY) < 80
        assert "20" in kind.SOURCE or "arXiv" in kind.SOURCE
        for _, default, allowed, explanation in describe(kind.Options):
            assert default
            assert allowed
            assert explanation


def test_texts_become_values():
    options = method_options(
        "magnitude", {"selector": "spread", "value": "2.5", "keep_rows": "false"}
    )
    assert (options.selector, options.value, options.keep_rows) == (Selector.SPREAD, 2.5, False)
    assert method_options("l0", {"strength": "0.1,0.2"}).strength == (0.1, 0.2)
    assert method_options("l0", {"strength": [0.1, 0.2]}).strength == (0.1, 0.2)
    assert method_options("l0", {"per_image": True}).per_image is True


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("foo", {}, r"method must be one of jpnet, magnitude, .*, not 'foo'"),
        ("dns", {"c": 1}, r"option of method dns must be one of spreads, margin, .*, not 'c'"),
        ("jpnet", {"l3": 1}, r"option of method jpnet must be one of none, not 'l3'"),
        ("admm", {"rho": "much"}, r"option rho of method admm must be a number of .*, not 'much'"),
        ("admm", {"rho": -1}, r"AdmmOptions.rho must be a number of at least 0, not -1.0"),
        ("admm", {"rho": "nan"}, r"AdmmOptions.rho must be a number of at least 0, not nan"),
        ("vd", {"warm_to": 2}, r"VariationalDropoutOptions.warm_to must be a number from 0 to 1"),
        ("vd", {"warm_from": 0.5}, r"Options.warm_to must be at least warm_from, 0.5, not 0.1"),
        ("greg1", {"structure": "row"}, r"structure of method greg1 must be one of element, filt"),
        ("l0", {"per_image": "maybe"}, r"must be true or false, not 'maybe'"),
        ("darb", {"largest": 12}, r"BlockOptions.largest must be a power of two or 0, not 12"),
        ("lanes", {"lanes": "1.5"}, r"lanes of method lanes must be an integer .*, not '1.5'"),
    ],
)
def test_impossible_options_are_refused_with_the_rule(name, given, message):
    with pytest.raises(ValueError, match=message):
        method_options(name, given)


def test_one_value_serves_all_layers_and_other_counts_are_refused(pruning_target):
    target = pruning_target(mlp3((1, 4, 4)), (0.1, 0.1, 0.5))
    options = method_options("l0", {"strength": "1,2"})
    with pytest.raises(ValueError, match=r"strength must be 1 number or 3, one for each layer"):
        target.per_layer(options, "strength")
    assert target.per_layer(method_options("l0", {"strength": 3}), "strength") == {
        "fc1": 3,
        "fc2": 3,
        "fc3": 3,
    }
    with pytest.raises(ValueError, match=r"SurgeryOptions.spreads must be 1 number or 3"):
        build_method("dns", {"spreads": "1,2"}, target)
