import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from jpnet_spec.artefact import ArtefactError, read_artefact, write_artefact
from jpnet_spec.model_file import load_network, save_network
from jpnet_spec.pooling import max_pool
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.data import load_dataset
from jpnet_sw.metrics import measure
from jpnet_sw.quantisation import capture
from jpnet_sw.recipe import DistillConfig, FilterConfig, train
from jpnet_sw.recipe.images import float_images
from jpnet_sw.recipe.settings import recipe_from_settings
from jpnet_sw.recipe.state import CHECKPOINT_KIND
from jpnet_sw.recipe.train import HISTORY_FILE, PRUNED_FILE
from jpnet_sw.sparsity.top_n_filter import TopNFilter
from jpnet_sw.studies import (
    FineTuning,
    PrunedRun,
    compare_thresholds,
    measure_densities,
    measure_histograms,
    measure_sampling,
    measure_sensitivity,
    measure_tradeoff,
)
from jpnet_sw.studies.sampling import EVERY_LAYER
from jpnet_sw.studies.survivors import float_survivors, integer_survivors
from jpnet_sw.zoo import zoo_path


def finish(out, recipe, **choices):
    return train(model="mlp3", data="digits", seed=3, out=out, recipe=recipe, quiet=True, **choices)


@pytest.fixture(scope="module")
def run(tmp_path_factory, short_recipe):
    folder = tmp_path_factory.mktemp("studies") / "mlp3-digits"
    finish(folder, short_recipe)
    return PrunedRun.read(folder)


@pytest.fixture
def tuning(run, tmp_path):
    return FineTuning(run=run, folder=tmp_path / "networks", quiet=True)


def altered(run, folder, **changes):
    """A copy of the run's weight-pruned network with other facts about its making."""
    header, tensors = read_artefact(run.pruned_file, kind=CHECKPOINT_KIND)
    header = {key: value for key, value in header.items() if key != "content_hash"} | changes
    write_artefact(folder / PRUNED_FILE, kind=CHECKPOINT_KIND, header=header, tensors=tensors)
    return folder / PRUNED_FILE


def test_run_knows_how_it_was_trained(run, short_recipe):
    assert (run.recipe, run.seed, run.taught_by) == (short_recipe, 3, {})


def test_recipe_of_another_version_is_refused(short_recipe):
    settings = short_recipe.settings()
    with pytest.raises(ValueError, match="this version of jpnet"):
        recipe_from_settings(settings | {"further": 1})
    with pytest.raises(ValueError, match=r"recipe settings prune.*densities must be above 0"):
        recipe_from_settings(settings | {"prune": settings["prune"] | {"densities": [2.0]}})
    with pytest.raises(ValueError, match="recipe settings dense: Field required"):
        recipe_from_settings({key: value for key, value in settings.items() if key != "dense"})


def test_folder_without_a_weight_pruned_network_is_refused(run, tmp_path):
    with pytest.raises(ArtefactError, match="missing, `jpnet train` makes it"):
        PrunedRun.read(tmp_path)
    (tmp_path / PRUNED_FILE).write_bytes(run.pruned_file.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="truncated"):
        PrunedRun.read(tmp_path)


def test_training_from_the_weight_pruned_network_gives_the_same_bytes(run, tmp_path):
    again = finish(tmp_path, run.recipe, pruned=run.pruned_file)
    assert again.read_bytes() == run.model_file.read_bytes()


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 4}, "seed"), ({"teacher": {"model": "other"}}, "teacher"), ({"epoch": 1}, "stage")],
)
def test_weight_pruned_network_of_another_run_is_refused(run, tmp_path, changes, named):
    path = altered(run, tmp_path, **changes)
    with pytest.raises(ArtefactError, match=rf"must be of this recipe.*\({named}\)"):
        finish(tmp_path / "out", run.recipe, pruned=path)


def test_weight_pruned_network_of_other_densities_is_refused(run, tmp_path):
    other = replace(run.recipe, prune=replace(run.recipe.prune, l1=0.0))
    with pytest.raises(ArtefactError, match=r"\(prune\)"):
        finish(tmp_path, other, pruned=run.pruned_file)


def test_sensitivity_at_each_rate_is_what_the_choice_of_rates_measured(run):
    history = json.loads((run.folder / HISTORY_FILE).read_text())
    found = measure_sensitivity(run, quiet=True)
    points = {(point["layer"], point["rate"]): point for point in found["points"]}
    assert len(points) == 2 * len(run.recipe.top_n.rates)
    for point in history["scan"]:
        assert points[point["layer"], point["rate"]] == point


def test_winner_rate_of_1_costs_nothing(run):
    found = measure_sensitivity(run, rates=[1.0], quiet=True)
    for point in found["points"]:
        assert point["accuracy_percent"] == found["unfiltered_percent"]


@pytest.mark.parametrize("rate", [0.0, 1.5, -0.1])
def test_impossible_winner_rate_is_refused(run, rate):
    with pytest.raises(ValueError, match="winner rates must be above 0 and at most 1"):
        measure_sensitivity(run, rates=[0.5, rate], quiet=True)


def test_sampling_one_layer_leaves_the_others_exact(run):
    network, digits = load_network(run.model_file), load_dataset("digits")
    images, labels = digits.test_activations(), digits.test_labels
    found = measure_sampling(network, images, labels, strides=[1, 3], quiet=True)
    assert [point["layer"] for point in found["points"]] == ["fc1", "fc2", EVERY_LAYER]
    layers = list(network.layers)
    layers[1] = replace(
        layers[1],
        top_n=replace(layers[1].top_n, mode=ThresholdMode.SAMPLED, sample_stride=3),
    )
    alone = measure(replace(network, layers=tuple(layers)), images, labels).summary()
    point = found["points"][1]
    assert point["accuracy_percent"] == 100 * alone["accuracy_int8"]
    assert point["mac_percent"] == alone["mac_percent_effective"]
    assert point["mac_percent"] != found["exact"]["mac_percent"]


def test_network_that_counts_no_winners_cannot_be_sampled(run):
    network, digits = load_network(run.model_file), load_dataset("digits")
    layers = tuple(replace(layer, top_n=TopN()) for layer in network.layers)
    bare = replace(network, layers=layers)
    with pytest.raises(ValueError, match="nothing to sample"):
        measure_sampling(bare, digits.test_activations(), digits.test_labels, quiet=True)
    with pytest.raises(ValueError, match="sample stride must be between 1 and 256, not 257"):
        measure_sampling(
            network, digits.test_activations(), digits.test_labels, strides=[257], quiet=True
        )


def test_integer_survivors_pooled_are_those_that_the_next_layer_takes(rng):
    network = load_network(zoo_path("lenet4-mnist"))
    images = rng.integers(0, 128, (130, *network.input_shape), dtype=np.int8)
    traces = network.run(images)
    found: dict = {}
    for name, tensor in integer_survivors(network, images):
        found.setdefault(name, []).append(tensor)
    for layer in network.layers:
        tensor = np.concatenate(found[layer.name])
        pooled = tensor if layer.pool is None else max_pool(tensor, layer.pool)
        assert np.array_equal(pooled, traces[layer.name].survivors)


def test_float_survivors_are_what_the_filters_of_the_network_pass(run):
    dataset = run.dataset(None)
    state = run.state(dataset)
    state.rates = {"fc1": 0.25, "fc2": 0.5}
    state.set_filters()
    state.model.eval()
    images = float_images(dataset.train_images[:20], state.device)
    found = dict(float_survivors(capture(state.model), images))
    passed = []
    for module in state.model.modules():
        if isinstance(module, TopNFilter):
            module.register_forward_hook(lambda _, __, output: passed.append(output.detach()))
    state.model(images)
    for name, tensor in zip(("fc1", "fc2"), passed, strict=True):
        assert np.allclose(found[name], tensor.numpy(), atol=1e-6)
        assert np.count_nonzero(found[name]) == np.count_nonzero(tensor.numpy())


def test_joint_network_has_the_fewest_activations(run):
    found = measure_densities(run, images=200)
    assert [layer["name"] for layer in found["layers"]] == ["fc1", "fc2", "fc3"]
    assert [layer["elements"] for layer in found["layers"]] == [300, 100, 10]
    rates = load_network(run.model_file).metadata["winner_rates"]
    for layer in found["layers"][:2]:
        assert 0 < layer["joint"] <= 100 * rates[layer["name"]]
        assert layer["joint"] < layer["dense"]
    weighted = sum(layer["dense"] * layer["elements"] for layer in found["layers"]) / 410
    assert found["activation_percent"]["dense"] == pytest.approx(weighted)
    macs = found["mac_percent"]
    assert macs["joint"] < macs["weight-pruned"] < macs["dense"] < 100


@pytest.mark.parametrize("study", [measure_densities, measure_histograms])
@pytest.mark.parametrize("count", [0, 1439])
def test_more_images_than_there_are_are_refused(run, study, count):
    with pytest.raises(ValueError, match=f"digits has 1,438 training images, not {count:,}"):
        study(run, images=count)


def test_images_are_cut_to_what_the_network_takes(run):
    cut = replace(run, recipe=replace(run.recipe, crop=6, distill=DistillConfig()))
    dataset = run.dataset(None)
    images = cut.first_images(dataset, 3)
    assert np.array_equal(images, dataset.train_images[:3, :, 1:7, 1:7])


def test_histograms_count_every_activation_once(run):
    found = measure_histograms(run, images=100)
    assert [layer["name"] for layer in found["layers"]] == ["fc1", "fc2"]
    for layer in found["layers"]:
        for counts in layer["networks"].values():
            assert counts["zero_percent"] + sum(counts["percent"]) == pytest.approx(100, abs=1e-3)
    joint, dense = (found["layers"][0]["networks"][kind] for kind in ("joint", "dense"))
    # The smallest are gone.
    assert joint["mean_magnitude"] > dense["mean_magnitude"]


def test_bins_of_a_histogram_hold_equally_many_codes(run):
    scale = load_network(run.model_file).metadata["activation_scales"]["fc1"]
    layer = measure_histograms(run, layers=["fc1"], images=50)["layers"][0]
    codes = np.diff(layer["edges"]) / scale
    assert np.allclose(codes, round(codes[0]))


def test_histograms_of_a_layer_without_filter_are_refused(run):
    with pytest.raises(ValueError, match="layer must be one of fc1, fc2, not 'fc3'"):
        measure_histograms(run, layers=["fc3"])


def test_model_without_scales_has_no_histograms(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "old")
    old = PrunedRun.read(tmp_path / "old")
    network = load_network(old.model_file)
    facts = {key: v for key, v in network.metadata.items() if key != "activation_scales"}
    save_network(replace(network, metadata=facts), old.model_file)
    with pytest.raises(ValueError, match="no activation scales"):
        measure_histograms(old)


def test_thresholds_are_compared_at_the_rates_that_were_asked_for(tuning):
    found = compare_thresholds(tuning, rates=[0.2], epochs=1)
    cells = {(point["kind"], point["epochs"]): point for point in found["points"]}
    assert cells.keys() == {("dynamic", 0), ("dynamic", 1), ("static", 0), ("static", 1)}
    # fc1 and fc2 have 400 elements of 410; ties at a threshold lose.
    for epochs in (0, 1):
        assert cells["dynamic", epochs]["activation_percent"] <= 100 * (80 + 10) / 410
        assert cells["dynamic", epochs]["winner_rates"] == {"fc1": 0.2, "fc2": 0.2}
    networks = sorted(tuning.folder.rglob("model.safetensors"))
    modes = {path.parent.name: load_network(path).layers[0].top_n.mode for path in networks}
    assert modes == {
        "short-dynamic-0.2-0": ThresholdMode.EXACT,
        "short-dynamic-0.2-1": ThresholdMode.EXACT,
        "short-static-0.2-0": ThresholdMode.STATIC,
        "short-static-0.2-1": ThresholdMode.STATIC,
    }
    made = [path.stat().st_mtime_ns for path in networks]
    assert compare_thresholds(tuning, rates=[0.2], epochs=1) == found
    assert [path.stat().st_mtime_ns for path in networks] == made


def test_larger_tolerance_leaves_fewer_macs(tuning):
    found = measure_tradeoff(tuning, tolerances=[30, 0.5], budget=0.01)
    strict, generous = found["points"]
    assert (strict["tolerance_percent"], generous["tolerance_percent"]) == (0.5, 30)
    assert generous["mac_percent"] < strict["mac_percent"] < found["weight_pruned_mac_percent"]
    assert 0 < found["weight_pruned_accuracy_percent"] <= 100


def test_impossible_budget_is_refused(tuning):
    with pytest.raises(ValueError, match="budget must be above 0 and at most 1"):
        measure_tradeoff(tuning, budget=1.5)


def test_network_of_another_training_is_not_taken_for_ones_own(run, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(run.folder, folder)
    altered(run, folder, facts={**run.state(run.dataset(None)).facts, "warm_start": "other"})
    assert PrunedRun.read(folder).content_hash != run.content_hash


def test_filters_of_other_layers_may_be_left_out(run, tmp_path):
    modes = {"fc1": ThresholdMode.NONE}
    top_n = FilterConfig(epochs=1, layer_modes=modes)
    recipe = replace(run.recipe, name="one", top_n=top_n)
    network = load_network(finish(tmp_path, recipe, pruned=run.pruned_file))
    assert [layer.top_n.mode.name for layer in network.layers] == ["NONE", "EXACT", "NONE"]
