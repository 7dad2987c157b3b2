import sys
from dataclasses import replace

import numpy as np
import pytest

from jpnet_spec.artefact import ArtefactError
from jpnet_sw.compiler import CompileError
from jpnet_sw.data import load_dataset
from jpnet_sw.metrics import measure
from jpnet_sw.tuning import Family, Search, TuneConfig, tune

MODULE = sys.modules["jpnet_sw.tuning.tune"]
SEARCH = Search(
    model="mlp3",
    data="digits",
    accelerator={"lanes": 1},
    family=Family.JOINT,
    config=TuneConfig(
        tolerance_percent=8, rounds=4, epochs=2, final_epochs=1, images=100, cycle_images=8
    ),
    seed=3,
)


def pairs(network, dealing, images):
    """Cycles of one multiplier that never waits."""
    traces = network.run(images)
    return sum(float(trace.macs_effective.mean()) for trace in traces.values())


@pytest.fixture(autouse=True)
def short(monkeypatch, short_recipe):
    monkeypatch.setattr(MODULE, "preset", lambda model, data: short_recipe)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tuned")


def search(folder, search=SEARCH, **options):
    dense = folder.parent / "dense.safetensors"
    return tune(search, pairs, folder=folder, dense=dense, quiet=True, **options)


@pytest.fixture
def found(folder, short):
    return search(folder / "joint", resume=True)


def test_found_network_is_within_the_tolerance_and_takes_fewest_cycles(found):
    kept = [one for one in found.rounds if one.kept]
    assert len(found.rounds) == 4
    assert len(kept) >= 2
    assert found.chosen == min(kept, key=lambda one: one.cycles).number
    assert found.within
    assert found.accuracy_percent >= found.dense_percent - 8
    assert found.rounds[0].cycles < 20_000


def test_found_network_has_the_densities_and_rates_of_its_round(found):
    point = found.rounds[found.chosen - 1].point
    for layer in found.network.layers:
        density = np.count_nonzero(layer.weight) / layer.weight.size
        assert density == pytest.approx(point.densities[layer.name], rel=0.05)
        if point.rates.get(layer.name, 1) < 1:
            wanted = np.ceil(point.rates[layer.name] * layer.weight.shape[0])
            assert layer.top_n.winners == pytest.approx(wanted, abs=1)


def test_metadata_says_what_the_network_scores_and_how_it_was_found(found):
    digits, facts = load_dataset("digits"), found.network.metadata
    counts = measure(found.network, digits.test_activations(), digits.test_labels)
    assert facts["accuracy_int8"] == counts.accuracy_int8
    assert facts["search"] == SEARCH.settings()
    assert 0 < facts["accuracy_jp"] <= 1
    assert 0 < facts["accuracy_dense"] <= 1


@pytest.mark.parametrize("stops", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_stopped_search_goes_on_to_the_same_bits(folder, found, monkeypatch, stops):
    own, saves, save = folder / f"stopped{stops}", [], MODULE.TrainingState.save

    def stop(state, path):
        save(state, path)
        saves.append(path)
        if len(saves) == stops:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MODULE.TrainingState, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            search(own)
    again = search(own, resume=True)
    assert again.network.content_hash == found.network.content_hash
    assert again.rounds == found.rounds


def test_stopped_dense_training_goes_on_to_the_same_bits(folder, found, monkeypatch):
    own, saves, save = folder / "dense" / "joint", [], MODULE.TrainingState.save

    def stop(state, path):
        save(state, path)
        saves.append(path)
        if len(saves) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MODULE.TrainingState, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            search(own)
    assert search(own, resume=True).network.content_hash == found.network.content_hash


def test_rounds_of_another_search_are_refused(folder, found):
    other = replace(SEARCH, config=replace(SEARCH.config, tolerance_percent=5))
    with pytest.raises(ArtefactError, match="must be of this search to resume"):
        search(folder / "joint", other, resume=True)


def test_search_goes_on_with_more_rounds(folder, found):
    fewer = replace(SEARCH, config=replace(SEARCH.config, rounds=2))
    assert search(folder / "more", fewer).rounds == found.rounds[:2]
    again = search(folder / "more", resume=True)
    assert again.network.content_hash == found.network.content_hash


def test_new_search_takes_no_old_rounds(folder, found):
    old = (folder / "joint" / "round-04.safetensors").read_bytes()
    own = folder / "new" / "joint"
    own.mkdir(parents=True)
    (own / "round-01.safetensors").write_bytes(old)
    (own / "round-09.safetensors").write_bytes(old)
    fewer = replace(SEARCH, config=replace(SEARCH.config, rounds=2))
    assert search(own, fewer).rounds == found.rounds[:2]
    assert not (own / "round-09.safetensors").exists()


def test_impossible_tolerance_gives_the_most_accurate_network_and_says_so(folder, found):
    harsh = replace(SEARCH.config, tolerance_percent=0, rounds=2, ratio=0.05, final_epochs=0)
    nearest = search(folder / "none", replace(SEARCH, config=harsh))
    assert not nearest.within
    assert nearest.accuracy_percent < nearest.dense_percent
    best = max(nearest.rounds, key=lambda one: one.accuracy_percent)
    assert nearest.chosen == best.number


def nearly_empty(network, dealing, images):
    """Cycles of an accelerator that holds a hundred weights."""
    if sum(np.count_nonzero(layer.weight) for layer in network.layers) > 100:
        raise CompileError("weight_depth")
    return pairs(network, dealing, images)


def test_too_few_rounds_for_a_network_that_fits_are_an_error(folder, found):
    fewer = replace(SEARCH, config=replace(SEARCH.config, rounds=1))
    with pytest.raises(ValueError, match=r"that fits, not 1: [0-9]+ weights are left"):
        tune(
            fewer,
            nearly_empty,
            folder=folder / "large",
            dense=folder / "dense.safetensors",
            quiet=True,
        )
