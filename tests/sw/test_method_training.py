import json
from dataclasses import replace

import numpy as np
import pytest

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.model_file import load_network
from jpnet_sw.recipe import (
    AugmentConfig,
    DenseConfig,
    FilterConfig,
    PruneConfig,
    QuantiseConfig,
    TeacherView,
    train,
)
from jpnet_sw.recipe.train import HISTORY_FILE
from jpnet_sw.sparsity.methods import method_names

CASES = {
    **{name: (name, {}) for name in method_names()},
    "filters": ("magnitude", {"structure": "filter"}),
    "hard blocks": ("darb", {"mode": "hard"}),
    "vd": ("vd", {"strength": 0.02}),
    "greg2 of weights": ("greg2", {"structure": "element"}),
    "l0": ("l0", {"strength": [0.03], "gate_rate": 60.0}),
    "vib": ("vib", {"strength": [1e-3], "gate_rate": 100.0}),
}

REMOVING = {"l0", "vib", "greg1", "greg2", "filters"}


@pytest.fixture(scope="module")
def quick_recipe(short_recipe):
    return replace(
        short_recipe,
        augment=AugmentConfig(),
        dense=DenseConfig(epochs=2),
        prune=PruneConfig(densities=(0.2, 0.2, 0.3), epochs=4, rounds=20, ramp=0.6),
        top_n=FilterConfig(epochs=1, rates=(0.5, 0.3)),
        quantise=QuantiseConfig(epochs=1, calibration_images=300),
    )


def run(out, recipe, **options):
    return train(model="mlp3", data="digits", seed=2, out=out, recipe=recipe, quiet=True, **options)


@pytest.mark.parametrize("case", CASES)
def test_method_trains_and_resumes_to_the_same_bytes(tmp_path, quick_recipe, case, train_and_keep):
    name, options = CASES[case]
    recipe = replace(
        quick_recipe,
        name=f"quick-{name}",
        prune=replace(quick_recipe.prune, method=name, options=options),
    )
    whole = train_and_keep(lambda out: run(out, recipe), tmp_path)
    network = load_network(whole)
    assert network.metadata["accuracy_weight_pruned"] > 0.2
    settings = network.metadata["recipe_settings"]["prune"]
    assert settings["method"] == name
    assert options.items() <= settings["options"].items()
    shapes = [layer.weight.shape for layer in network.layers]
    assert (shapes != [(300, 64), (100, 300), (10, 100)]) is (case in REMOVING)
    if case not in {"l0", "vib", "vd", "dns"}:
        dense = (300 * 64, 100 * 300, 1000)
        living = [np.count_nonzero(layer.weight) for layer in network.layers]
        wanted = (0.25, 0.25, 1.0 if case in REMOVING else 0.3)
        assert all(n <= d * size for n, d, size in zip(living, wanted, dense, strict=True))
    # Before its first step or while it acts, and with final masks.
    for epochs_done in (2 if case in REMOVING else 3, 5):
        out = tmp_path / str(epochs_done)
        assert not (out / "model.safetensors").exists()
        assert run(out, recipe, resume=True).read_bytes() == whole.read_bytes()
    history = json.loads((tmp_path / "whole" / HISTORY_FILE).read_text())
    assert [entry["stage"] for entry in history["epochs"]].count("prune") == 4


def test_another_method_is_not_taken_for_finished(tmp_path, quick_recipe):
    first = load_network(run(tmp_path, quick_recipe))
    other = replace(quick_recipe, prune=replace(quick_recipe.prune, method="lanes"))
    second = load_network(run(tmp_path, other, resume=True))
    assert first.content_hash != second.content_hash
    assert second.metadata["recipe_settings"]["prune"]["method"] == "lanes"


def test_densities_for_another_number_of_layers_are_refused(tmp_path, quick_recipe):
    wrong = replace(quick_recipe, prune=PruneConfig(densities=(0.1, 0.2), epochs=1))
    with pytest.raises(ValueError, match=r"densities must be 3 numbers, one for each of fc1, fc2"):
        run(tmp_path, wrong)
    assert list(tmp_path.iterdir()) == []


def test_channels_of_a_convolutional_network_are_removed(tmp_path, quick_recipe):
    recipe = replace(
        quick_recipe,
        name="quick-convnet5",
        model="convnet5",
        crop=7,
        distill=replace(quick_recipe.distill, weight=0.0, view=TeacherView.AUGMENTED),
        dense=DenseConfig(epochs=1),
        prune=PruneConfig(
            densities=(0.25, 0.25, 0.25, 0.25, 1.0), epochs=2, method="greg1", ramp=0.5
        ),
    )
    network = load_network(run(tmp_path, recipe))
    shapes = [layer.weight.shape for layer in network.layers]
    assert shapes == [(16, 1, 5, 5), (16, 16, 5, 5), (96, 16), (48, 96), (10, 48)]


def test_dense_network_is_shared_to_the_same_bytes(tmp_path, quick_recipe):
    dense = tmp_path / "dense.safetensors"
    methods = {
        name: replace(
            quick_recipe, name=name, prune=replace(quick_recipe.prune, method=name, epochs=2)
        )
        for name in ("lanes", "l0")
    }
    first = run(tmp_path / "first", methods["lanes"], dense=dense)
    before = dense.read_bytes()
    shared = run(tmp_path / "shared", methods["l0"], dense=dense)
    assert dense.read_bytes() == before
    assert shared.read_bytes() == run(tmp_path / "alone", methods["l0"]).read_bytes()
    assert first.read_bytes() == run(tmp_path / "again", methods["lanes"]).read_bytes()
    other = replace(quick_recipe, dense=DenseConfig(epochs=3))
    with pytest.raises(ArtefactError, match=r"must be of this recipe's dense stage .*\(dense\)"):
        run(tmp_path / "other", other, dense=dense)
