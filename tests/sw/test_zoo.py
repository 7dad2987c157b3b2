import json
import subprocess
import sys
from dataclasses import replace

import pytest

from jpnet_spec.model_file import load_network, save_network
from jpnet_sw.data import load_dataset
from jpnet_sw.metrics import measure
from jpnet_sw.zoo import zoo_names, zoo_path
from jpnet_sw.zoo.publish import main, publish

SEEDS = {
    "convnet5-cifar-10": [1],
    "lenet4-mnist": [0, 1, 2],
    "mlp3-digits": [0, 1, 2],
    "mlp3-mnist": [0, 1, 2],
}


def test_zoo_has_these_networks():
    assert zoo_names() == tuple(SEEDS)


@pytest.mark.parametrize("name", list(SEEDS))
def test_card_and_results_agree_with_the_model(name):
    network = load_network(zoo_path(name))
    results = json.loads((zoo_path(name).parent / "results.json").read_text())
    first = results["seeds"][0]
    assert [row["seed"] for row in results["seeds"]] == SEEDS[name]
    assert first["seed"] == network.metadata["seed"]
    assert first["accuracy_int8"] == network.metadata["accuracy_int8"]
    assert first["macs_effective"] == network.metadata["macs_effective"]
    assert first["content_hash"] == network.content_hash
    card = (zoo_path(name).parent / "card.md").read_text()
    assert results["command"] in card
    assert f"{100 * results['mean']['accuracy_int8']:.2f}" in card


def test_digits_network_scores_what_its_metadata_says():
    network = load_network(zoo_path("mlp3-digits"))
    digits = load_dataset("digits")
    counts = measure(network, digits.test_activations(), digits.test_labels).summary()
    assert counts["accuracy_int8"] == network.metadata["accuracy_int8"]
    assert counts["macs_effective"] == network.metadata["macs_effective"]


def test_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"zoo network must be one of .*, not 'vgg'"):
        zoo_path("vgg")


def test_compiler_loads_no_torch():
    code = "import sys, jpnet_sw.compiler; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_published_folder_reads_back_and_repeated_seeds_are_refused(tmp_path, capsys):
    run = zoo_path("mlp3-digits").parent
    with pytest.raises(ValueError, match=r"runs must be different seeds of one recipe, not seeds"):
        publish("again", [run, run], zoo=tmp_path)
    assert main(["again", str(run), str(run), "--zoo", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: runs must be different seeds")
    assert list(tmp_path.iterdir()) == []
    other = tmp_path / "other"
    network = load_network(run / "model.safetensors")
    facts = {**network.metadata, "seed": 1}
    save_network(replace(network, metadata=facts), other / "model.safetensors")
    folder = publish("again", [run, other], zoo=tmp_path / "zoo")
    assert load_network(folder / "model.safetensors").content_hash == network.content_hash
    assert [row["seed"] for row in json.loads((folder / "results.json").read_text())["seeds"]] == [
        0,
        1,
    ]


def test_one_seed_is_published_without_a_spread_and_names_its_teacher(tmp_path):
    network = load_network(zoo_path("mlp3-digits"))
    teacher = {"model": "resnet32-relu", "sha256": "0123456789abcdef" * 4}
    run = tmp_path / "run"
    facts = {**network.metadata, "teacher": teacher}
    save_network(replace(network, metadata=facts), run / "model.safetensors")
    folder = publish("taught", [run], zoo=tmp_path / "zoo")
    results, card = (folder / "results.json").read_text(), (folder / "card.md").read_text()
    assert "std" not in json.loads(results)
    assert "one seed" in card
    assert "±" not in card
    assert "A trained `resnet32-relu` taught all stages" in card
