"""Residual networks through the recipe: groups, augmentation, warm start, resume, workers."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.model_file import load_network
from jpnet_spec.numbers import quantise_unit_image
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.data import load_dataset
from jpnet_sw.metrics import measure
from jpnet_sw.models import build_model
from jpnet_sw.recipe import (
    AugmentConfig,
    DenseConfig,
    FilterConfig,
    OptimiserConfig,
    OptimiserKind,
    PruneConfig,
    QuantiseConfig,
    preset,
    train,
)
from jpnet_sw.recipe.augment import augment
from jpnet_sw.recipe.train import CHECKPOINT_FILE, HISTORY_FILE
from jpnet_sw.recipe.workers import Workers
from jpnet_sw.sparsity import TopNFilter, choose_winner_rates

GROUPS = ("conv1", "layer1", "layer2", "layer3", "linear")

SCRIPT = """
import pathlib, sys
import test_residual_recipe
from jpnet_sw.recipe import train
recipe = getattr(test_residual_recipe, sys.argv[2])()
train(model=recipe.model, data="digits", seed=5, out=pathlib.Path(sys.argv[1]), recipe=recipe,
      quiet=True, device="cpu", resume=True)
"""
PATHS = (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, PATHS))}
"""Lets the script find this file."""


def tiny(model="resnet20"):
    return replace(
        preset("resnet32", "cifar-10"),
        name="tiny",
        model=model,
        dataset="digits",
        batch_size=60,
        held_out=538,
        bfloat16=False,
        augment=AugmentConfig(pad=1),
        dense=DenseConfig(epochs=3, learning_rate=0.05),
        prune=PruneConfig(
            densities=(0.6, 0.5, 0.4, 0.3, 0.6), epochs=2, rounds=10, learning_rate=0.02
        ),
        top_n=FilterConfig(epochs=1, rates=(0.5, 0.4), tolerance_percent=5, learning_rate=0.01),
        quantise=QuantiseConfig(epochs=1, learning_rate=1e-3, calibration_images=100),
    )


def run(out, recipe, *, seed=5, **options):
    return train(
        model=recipe.model,
        data="digits",
        seed=seed,
        out=out,
        recipe=recipe,
        quiet=True,
        device="cpu",
        **options,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run(tmp_path_factory.mktemp("residual"), tiny())


def test_tiny_residual_network_learns_and_is_sparse(trained):
    network, digits = load_network(trained), load_dataset("digits")
    counts = measure(network, digits.test_activations(), digits.test_labels)
    assert counts.accuracy_int8 > 0.5
    assert counts.accuracy_int8 == network.metadata["accuracy_int8"]
    summary = counts.summary()
    assert summary["mac_percent_effective"] < 30
    wanted = dict(zip(GROUPS, (0.6, 0.5, 0.4, 0.3, 0.6), strict=True))
    for layer in network.layers:
        group = layer.name.split(".")[0]
        if layer.multiplies and layer.name != "average":
            assert 0 < np.count_nonzero(layer.weight) <= wanted[group] * layer.weight.size


def test_layers_of_a_stage_share_their_winner_rate(trained):
    history = json.loads((trained.parent / HISTORY_FILE).read_text())
    assert {point["layer"] for point in history["scan"]} == set(GROUPS) - {"linear"}
    rates = history["winner_rates"]
    assert len(rates) == 1 + 9 * 2
    for group in GROUPS[:-1]:
        assert len({rate for name, rate in rates.items() if name.split(".")[0] == group}) == 1
    for layer in load_network(trained).layers:
        rate = rates.get(layer.name, 1.0)
        mode = ThresholdMode.EXACT if rate < 1 else ThresholdMode.NONE
        assert layer.top_n.mode is mode
        if rate < 1:
            elements = np.prod(layer.sums_shape, dtype=int)
            assert layer.top_n.winners == -(-round(rate * 100) * elements // 100)


def test_loss_falls(trained):
    history = json.loads((trained.parent / HISTORY_FILE).read_text())
    dense = [entry["loss"] for entry in history["epochs"] if entry["stage"] == "dense"]
    assert dense[-1] < 0.7 * dense[0]


def longer():
    """Return a recipe that is not done before the tenth kill."""
    recipe = tiny()
    return replace(
        recipe,
        dense=replace(recipe.dense, epochs=8),
        prune=replace(recipe.prune, epochs=8),
        top_n=replace(recipe.top_n, epochs=5),
        quantise=replace(recipe.quantise, epochs=5),
    )


def kept_history(out):
    return json.loads((out / HISTORY_FILE).read_text())["epochs"]


def start_and_kill(out, recipe, rng):
    """Let a process go on with a run, and kill it at a random moment of its next two epochs."""
    command = [sys.executable, "-c", SCRIPT, str(out), recipe]
    checkpoint = out / CHECKPOINT_FILE
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    process = subprocess.Popen(command, env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
            break
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_training_killed_ten_times_resumes_to_the_same_bytes(tmp_path):
    rng = np.random.default_rng(3)
    for _ in range(10):
        start_and_kill(tmp_path / "killed", "longer", rng)
    stages = {entry["stage"] for entry in kept_history(tmp_path / "killed")}
    assert len(stages) >= 2
    resumed = run(tmp_path / "killed", longer(), resume=True)
    unbroken = run(tmp_path / "unbroken", longer())
    assert resumed.read_bytes() == unbroken.read_bytes()


def saved_dense(path, model, *, seed=1, **metadata):
    torch.manual_seed(seed)
    network = build_model(model, (1, 8, 8))
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("tracked")}
    save_file(state, path, metadata=metadata)
    return network


@pytest.mark.slow
def test_warm_start_leaves_the_dense_stage_out(tmp_path):
    path = tmp_path / "dense.safetensors"
    saved_dense(path, "resnet20-relu", normalisation="mean .3 std .4")
    recipe = replace(tiny("resnet20-relu"), prune=replace(tiny().prune, epochs=1))
    made = run(tmp_path / "out", recipe, warm_start=path)
    history = json.loads((made.parent / HISTORY_FILE).read_text())
    assert [entry["stage"] for entry in history["epochs"]] == ["prune", "top-n", "quantise"]
    assert load_network(made).metadata["warm_start"] == "dense.safetensors"


def test_warm_start_is_the_teacher_and_the_start(tmp_path, monkeypatch):
    path = tmp_path / "dense.safetensors"
    network = saved_dense(path, "resnet20-relu")
    stages = sys.modules["jpnet_sw.recipe.stages"]
    seen = []

    def look(model, optimiser, data, plan):
        assert plan.pruner is not None
        seen.append((model.state_dict(), plan.teacher.state_dict()))
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "train_epoch", look)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", tiny("resnet20-relu"), warm_start=path)
    for state in seen[0]:
        for name, value in network.state_dict().items():
            assert torch.equal(state[name], value), name


def test_warm_start_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "dense.safetensors"
    saved_dense(path, "resnet20")
    with pytest.raises(ArtefactError, match=r"'layer1\.0\.bn2\.weight' must be there"):
        run(tmp_path / "out", tiny("resnet20-relu"), warm_start=path)
    saved_dense(path, "resnet32-relu")
    with pytest.raises(ArtefactError, match=r"'layer1\.3\.\S+' is of no module"):
        run(tmp_path / "out", tiny(), warm_start=path)
    with pytest.raises(ArtefactError, match="cannot be read"):
        run(tmp_path / "out", tiny(), warm_start=tmp_path / "none.safetensors")
    assert not (tmp_path / "out").exists()


def test_warm_start_from_post_activation_blocks_is_adapted(tmp_path, monkeypatch):
    path = tmp_path / "dense.safetensors"
    network = saved_dense(path, "resnet20-relu", normalisation="mean .3 std .4")
    recipe = replace(tiny(), dense=DenseConfig(epochs=16, learning_rate=0.1))
    stages = sys.modules["jpnet_sw.recipe.stages"]
    seen = []

    def look(model, optimiser, data, plan):
        seen.append((model, plan))
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "train_epoch", look)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", recipe, warm_start=path)
    ((model, plan),) = seen
    assert plan.learning_rate == pytest.approx(0.03)
    assert plan.recipe.dense.epochs == 2
    assert plan.stage_steps == 2 * (900 // 60)
    name = "layer2.1.conv1.weight"
    assert torch.equal(model.state_dict()[name], network.state_dict()[name])


def test_densities_must_fit_the_groups():
    recipe = tiny()
    names = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer3.2.conv1", "linear")
    short = replace(recipe, groups=("conv1", "layer1", "layer3", "linear"))
    with pytest.raises(
        ValueError, match=r"densities must be 4 numbers, one for each of conv1, .*, not 5"
    ):
        short.layer_densities(names)
    four = replace(short, prune=replace(recipe.prune, densities=(0.5, 0.4, 0.3, 0.2)))
    assert tuple(four.layer_densities(names).values()) == (0.5, 0.4, 0.4, 0.3, 0.2)
    with pytest.raises(ValueError, match=r"groups must hold layer 'layer10\.conv', none does"):
        four.grouped(["layer10.conv"])


def test_scan_switches_a_group_as_one():
    filters = {name: TopNFilter() for name in "abc"}
    elements = {"a": 10, "b": 20, "c": 40}
    seen = []

    def accuracy():
        seen.append([filters[name].top_n.winners for name in "abc"])
        return 90 - 10 * (filters["a"].top_n.winners == 3)

    groups = {"first": ("a", "b"), "second": ("c",)}
    rates, scan = choose_winner_rates(filters, elements, (0.5, 0.3), 2, accuracy, groups=groups)
    assert seen == [[0, 0, 0], [5, 10, 0], [3, 6, 0], [0, 0, 20], [0, 0, 12]]
    assert rates == {"a": 0.5, "b": 0.5, "c": 0.3}
    assert [point.layer for point in scan] == ["first", "first", "second", "second"]
    assert all(module.top_n == TopN() for module in filters.values())


def test_padding_moves_images_by_up_to_its_width():
    torch.manual_seed(0)
    images = torch.zeros(500, 1, 6, 6)
    images[:, :, 3, 3] = 1
    moved = augment(images, AugmentConfig(pad=2))
    assert moved.shape == images.shape
    places = {tuple(place) for place in moved.nonzero()[:, 2:].tolist()}
    assert places == {(row, column) for row in range(1, 6) for column in range(1, 6)}


def torchrun(out, recipe, count):
    """Train a recipe of this file on `count` CPU processes with torch's launcher."""
    script = out.with_name("worker.py")
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*command, f"--nproc-per-node={count}", str(script), str(out), recipe],
        check=True,
        timeout=300,
        env={**ENVIRONMENT, "OMP_NUM_THREADS": "1"},
    )
    return out / "model.safetensors"


@pytest.mark.slow
def test_two_workers_train_the_network_that_one_trains(tmp_path):
    """Without batch normalisation the batch is the same sum, whoever adds it."""
    one = load_network(run(tmp_path / "one", fully_connected()))
    two = load_network(torchrun(tmp_path / "two", "fully_connected", 2))
    digits = load_dataset("digits")
    images = quantise_unit_image(digits.test_images)
    same = one.logits(images).argmax(axis=1) == two.logits(images).argmax(axis=1)
    assert same.mean() > 0.97
    for first, second in zip(one.layers, two.layers, strict=True):
        assert first.top_n == second.top_n
        assert ((first.weight != 0) == (second.weight != 0)).mean() > 0.98


def fully_connected():
    return replace(
        tiny("mlp3"),
        groups=(),
        optimiser=OptimiserConfig(kind=OptimiserKind.SGD),
        prune=PruneConfig(densities=(0.3, 0.3, 0.5), epochs=1, rounds=5, learning_rate=0.02),
    )


@pytest.mark.slow
def test_two_workers_train_a_residual_network(tmp_path):
    network = load_network(torchrun(tmp_path / "out", "tiny", 2))
    assert network.metadata["accuracy_int8"] > 0.5


def test_batches_that_workers_cannot_share_are_refused():
    with pytest.raises(ValueError, match="batch_size must be a multiple of 3 workers, not 128"):
        Workers(rank=1, count=3).check_batch(128)
    batch = torch.arange(6)
    parts = [Workers(rank=rank, count=3).part(batch).tolist() for rank in range(3)]
    assert parts == [[0, 3], [1, 4], [2, 5]]
