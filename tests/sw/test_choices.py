from dataclasses import replace

import pytest

from jpnet_spec.model_file import load_network
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.recipe import FilterConfig, RateSearch, preset, train
from jpnet_sw.recipe.choices import choose, parse_activation, parse_options

RECIPE = preset("mlp3", "digits")


def test_nothing_chosen_changes_nothing():
    assert choose(RECIPE) == RECIPE


def test_method_options_and_stage_options_go_where_they_belong():
    options = {"rho": "0.5", "epochs": "3", "densities": "0.1,0.2,0.3", "l1": "0.01"}
    found = choose(RECIPE, method="admm", options=options)
    assert found.name == "mlp3-digits-admm"
    assert (found.prune.method, found.prune.options) == ("admm", {"rho": "0.5"})
    assert (found.prune.epochs, found.prune.l1, found.prune.rounds) == (3, 0.01, 100)
    assert found.prune.densities == (0.1, 0.2, 0.3)
    assert found.settings()["prune"]["options"] == {
        "iterations": 10,
        "rho": 0.5,
        "projection": "count",
    }


def test_one_density_serves_all_layers():
    assert choose(RECIPE, options={"densities": "0.1"}).prune.densities == (0.1, 0.1, 0.1)


def test_activation_masks_are_chosen_for_all_layers_and_for_single_ones():
    found = choose(RECIPE, activation="sampled,fc2=none", search="joint", tolerance_percent=1.5)
    assert found.top_n.mode_of("fc1") is ThresholdMode.SAMPLED
    assert found.top_n.mode_of("fc2") is ThresholdMode.NONE
    assert found.top_n.search is RateSearch.JOINT
    assert found.top_n.tolerance_percent == 1.5
    assert parse_activation("fc1=static") == (None, {"fc1": ThresholdMode.STATIC})


def test_budget_is_a_share_of_every_stage_and_leaves_at_least_an_epoch():
    whole = choose(RECIPE, options={"epochs": "0"})
    found = choose(whole, budget=0.04)
    assert RECIPE.dense.epochs == 30
    assert (found.dense.epochs, found.prune.epochs) == (1, 0)
    assert (found.top_n.epochs, found.quantise.epochs) == (1, 1)
    assert choose(RECIPE, budget=0.5).dense.epochs == 15
    assert replace(found, dense=whole.dense, top_n=whole.top_n, quantise=whole.quantise) == whole


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"method": "magic"}, r"method must be one of jpnet, .*, not 'magic'"),
        ({"options": {"rho": "1"}}, r"option of method jpnet must be one of densities, .*'rho'"),
        ({"options": {"epochs": "few"}}, r"option epochs of method jpnet must be an integer of"),
        ({"options": {"densities": "2"}}, r"StageOptions.densities must be numbers .*, not 2.0"),
        ({"options": {"densities": "0"}}, r"PruneConfig.densities must be above 0"),
        ({"method": "vd", "options": {"threshold": "9"}}, r"VariationalDropoutOptions.threshold"),
        ({"activation": "top"}, r"activation must be one of none, exact, .* not 'top'"),
        ({"activation": "=exact"}, r"activation must be .* or LAYER=MODE, not '=exact'"),
        ({"budget": 0.0}, r"budget must be above 0 and at most 1, not 0.0"),
        ({"budget": 1.1}, r"budget must be above 0 and at most 1, not 1.1"),
        ({"search": "all"}, r"search must be one of scan, joint, not 'all'"),
        ({"tolerance_percent": -1.0}, r"FilterConfig.tolerance_percent must be between 0 and 100"),
    ],
)
def test_impossible_choices_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        choose(RECIPE, **chosen)


@pytest.mark.parametrize("texts", [["rho"], ["=1"], ["a=1", "a=2"]])
def test_options_of_another_form_are_refused(texts):
    with pytest.raises(ValueError, match=r"option must be NAME=VALUE, each name once, not"):
        parse_options(texts)


def test_layers_are_trained_with_modes_of_their_own(tmp_path, short_recipe):
    modes = {"fc1": ThresholdMode.STATIC, "fc2": ThresholdMode.NONE}
    recipe = replace(
        short_recipe, top_n=FilterConfig(epochs=1, layer_modes=modes, tolerance_percent=20)
    )
    network = load_network(
        train(model="mlp3", data="digits", seed=1, out=tmp_path, recipe=recipe, quiet=True)
    )
    assert [layer.top_n.mode for layer in network.layers[:-1]] == list(modes.values())
    assert network.layers[0].top_n.static_threshold > 0
    assert set(network.metadata["winner_rates"]) == {"fc1"}


def test_joint_search_keeps_its_tolerance(tmp_path, short_recipe):
    config = FilterConfig(
        epochs=0, search=RateSearch.JOINT, tolerance_percent=3.0, rates=(0.7, 0.6, 0.5, 0.4, 0.3)
    )
    recipe = replace(short_recipe, top_n=config)
    network = load_network(
        train(model="mlp3", data="digits", seed=1, out=tmp_path, recipe=recipe, quiet=True)
    )
    facts = network.metadata
    search = facts["joint_search"]
    drop = search["unfiltered"]["accuracy_percent"] - search["chosen"]["accuracy_percent"]
    assert drop <= 3.0
    assert search["chosen"]["macs"] < search["unfiltered"]["macs"]
    assert facts["held_out_accuracy_jp"] == pytest.approx(
        search["chosen"]["accuracy_percent"] / 100
    )
    assert min(facts["winner_rates"].values()) < 1


def test_mode_of_an_unknown_layer_is_refused(tmp_path, short_recipe):
    modes = {"fc3": ThresholdMode.EXACT}
    recipe = replace(short_recipe, top_n=FilterConfig(epochs=1, layer_modes=modes))
    with pytest.raises(ValueError, match=r"must name layers with a filter \(fc1, fc2\), not 'fc3'"):
        train(model="mlp3", data="digits", seed=1, out=tmp_path, recipe=recipe, quiet=True)
    assert list(tmp_path.iterdir()) == []
