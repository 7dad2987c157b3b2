import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.model_file import load_network
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.data import DataError, dataset_names, load_dataset
from jpnet_sw.metrics import measure
from jpnet_sw.models import model_names
from jpnet_sw.recipe import (
    AugmentConfig,
    DenseConfig,
    DistillConfig,
    FilterConfig,
    OptimiserConfig,
    OptimiserKind,
    PruneConfig,
    QuantiseConfig,
    TeacherView,
    preset,
    preset_names,
    train,
)
from jpnet_sw.recipe.augment import augment, random_crop
from jpnet_sw.recipe.epoch import (
    EpochPlan,
    TrainingImages,
    cosine_rate,
    soften,
    train_epoch,
    train_step,
)
from jpnet_sw.recipe.images import split_held_out
from jpnet_sw.recipe.train import CHECKPOINT_FILE, HISTORY_FILE
from jpnet_sw.sparsity import WeightMasks

EPOCH_MODULE = sys.modules["jpnet_sw.recipe.epoch"]
TRAIN_MODULE = sys.modules["jpnet_sw.recipe.train"]

# A run in a process of its own, so that it can be killed.
SCRIPT = """
import json, pathlib, sys
from dataclasses import replace
from jpnet_sw.recipe import preset, train
recipe = preset("mlp3", "digits")
for stage, epochs in json.loads(sys.argv[2]).items():
    recipe = replace(recipe, **{stage: replace(getattr(recipe, stage), epochs=epochs)})
train(model="mlp3", data="digits", seed=5, out=pathlib.Path(sys.argv[1]), recipe=recipe, quiet=True)
"""


def run_short(out, recipe, *, seed=3, resume=False):
    return train(
        model=recipe.model,
        data="digits",
        seed=seed,
        out=out,
        recipe=recipe,
        resume=resume,
        quiet=True,
    )


def same_bytes(a, b):
    return a.read_bytes() == b.read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, short_recipe, train_and_keep):
    return train_and_keep(
        lambda out: run_short(out, short_recipe), tmp_path_factory.mktemp("trained")
    )


def test_short_run_gives_a_sparse_network_that_has_learnt(trained, short_recipe):
    network = load_network(trained)
    digits = load_dataset("digits")
    counts = measure(network, digits.test_activations(), digits.test_labels)
    densities = [layer.weight_density for layer in counts.layers]
    assert counts.accuracy_int8 > 0.8
    for found, wanted in zip(densities, short_recipe.prune.densities, strict=True):
        assert found <= wanted
    for layer in network.layers[:-1]:
        assert layer.top_n.mode is ThresholdMode.EXACT


def test_metadata_says_what_the_network_is_and_scores(trained):
    network = load_network(trained)
    digits = load_dataset("digits")
    counts = measure(network, digits.test_activations(), digits.test_labels)
    facts = network.metadata
    assert (facts["model"], facts["dataset"], facts["seed"]) == ("mlp3", "digits", 3)
    assert facts["accuracy_int8"] == counts.accuracy_int8
    assert facts["macs_effective"] == counts.summary()["macs_effective"]
    assert 0 < facts["accuracy_jp"] <= 1
    assert 0 < facts["accuracy_dense"] <= 1


def test_history_has_every_epoch_and_the_scan(trained, short_recipe):
    history = json.loads((trained.parent / HISTORY_FILE).read_text())
    stages = [entry["stage"] for entry in history["epochs"]]
    assert stages == ["dense"] * 4 + ["prune"] * 4 + ["top-n"] * 2 + ["quantise"] * 2
    assert {point["layer"] for point in history["scan"]} == {"fc1", "fc2"}
    assert not (trained.parent / CHECKPOINT_FILE).exists()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_bits_do_not_depend_on_the_number_of_threads(tmp_path, trained, short_recipe):
    assert same_bytes(trained, run_short(tmp_path, short_recipe))
    assert torch.get_num_threads() == 2


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path, trained, short_recipe):
    assert same_bytes(trained, run_short(tmp_path / "again", short_recipe))
    other = load_network(run_short(tmp_path / "other", short_recipe, seed=4))
    assert other.content_hash != load_network(trained).content_hash


@pytest.mark.parametrize("epochs_done", [2, 4, 7, 8, 10, 11, 12])
def test_run_resumes_to_the_same_bytes_from_any_epoch(trained, short_recipe, epochs_done):
    out = trained.parents[1] / str(epochs_done)
    assert not (out / "model.safetensors").exists()
    assert same_bytes(trained, run_short(out, short_recipe, resume=True))


def test_killed_process_resumes_to_the_same_bytes(tmp_path):
    short = preset("mlp3", "digits")
    epochs = {"dense": 12, "prune": 4, "top_n": 2, "quantise": 2}
    for stage, count in epochs.items():
        short = replace(short, **{stage: replace(getattr(short, stage), epochs=count)})
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(killed), json.dumps(epochs)],
    )
    checkpoint = killed / CHECKPOINT_FILE
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    resumed = run_short(killed, short, seed=5, resume=True)
    assert same_bytes(resumed, run_short(tmp_path / "whole", short, seed=5))


def test_finished_run_resumes_to_itself(trained, short_recipe):
    before = trained.stat().st_mtime_ns
    assert run_short(trained.parent, short_recipe, resume=True) == trained
    assert trained.stat().st_mtime_ns == before


def test_checkpoint_of_another_recipe_or_seed_is_refused(tmp_path, short_recipe, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TRAIN_MODULE, "write_history", stop)
        with pytest.raises(KeyboardInterrupt):
            run_short(tmp_path, short_recipe)
    with pytest.raises(ArtefactError, match=r"checkpoint must be of this seed to resume"):
        run_short(tmp_path, short_recipe, seed=4, resume=True)
    with pytest.raises(ArtefactError, match=r"checkpoint must be of this recipe to resume"):
        run_short(tmp_path, replace(short_recipe, batch_size=32), resume=True)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"short")
    with pytest.raises(ArtefactError, match=r"truncated or not a safetensors file"):
        run_short(tmp_path, short_recipe, resume=True)


@pytest.fixture(scope="module")
def convolutional_recipe(short_recipe):
    return replace(
        short_recipe,
        name="short-convolutional",
        model="convnet5",
        crop=7,
        bfloat16=True,
        optimiser=OptimiserConfig(kind=OptimiserKind.SGD, weight_decay=5e-4),
        augment=AugmentConfig(flip=True),
        dense=DenseConfig(epochs=4, learning_rate=0.02, label_smoothing=0.1),
        prune=PruneConfig(
            densities=(0.6, 0.3, 0.3, 0.3, 0.5), epochs=2, rounds=5, learning_rate=0.01
        ),
        top_n=FilterConfig(epochs=1, learning_rate=1e-3, rates=(0.3, 0.2), tolerance_percent=5),
        quantise=QuantiseConfig(epochs=2, learning_rate=1e-4, calibration_images=100),
        distill=DistillConfig(view=TeacherView.AUGMENTED),
    )


@pytest.fixture(scope="module")
def trained_convolutional(tmp_path_factory, convolutional_recipe, train_and_keep):
    return train_and_keep(
        lambda out: run_short(out, convolutional_recipe), tmp_path_factory.mktemp("convolutional")
    )


def test_convolutional_run_gives_a_sparse_network_on_crops(
    trained_convolutional, convolutional_recipe
):
    network = load_network(trained_convolutional)
    assert network.input_shape == (1, 7, 7)
    digits = load_dataset("digits")
    counts = measure(network, digits.test_activations((1, 7, 7)), digits.test_labels)
    assert counts.accuracy_int8 > 0.5
    assert counts.accuracy_int8 == network.metadata["accuracy_int8"]
    for layer, wanted in zip(network.layers, convolutional_recipe.prune.densities, strict=True):
        assert 0 < np.count_nonzero(layer.weight) <= wanted * layer.weight.size
    rate = network.metadata["winner_rates"]["conv1"]
    assert network.layers[0].top_n.winners == -(-round(rate * 100) * 64 * 7 * 7 // 100)


@pytest.mark.parametrize(
    "epochs_done",
    [1, 5, 8, *(pytest.param(epochs, marks=pytest.mark.slow) for epochs in (4, 6, 7))],
)
def test_convolutional_run_resumes_to_the_same_bytes(
    trained_convolutional, convolutional_recipe, epochs_done
):
    out = trained_convolutional.parents[1] / str(epochs_done)
    assert not (out / "model.safetensors").exists()
    resumed = run_short(out, convolutional_recipe, resume=True)
    assert same_bytes(trained_convolutional, resumed)


def test_crop_beyond_the_images_is_refused(tmp_path, convolutional_recipe):
    with pytest.raises(ValueError, match=r"RecipeConfig.crop must be at most the images' \(8, 8\)"):
        run_short(tmp_path, replace(convolutional_recipe, crop=9))


def test_clean_view_of_cropped_images_is_refused(convolutional_recipe):
    with pytest.raises(ValueError, match=r"DistillConfig.view must be AUGMENTED where images are"):
        replace(convolutional_recipe, distill=DistillConfig(view=TeacherView.CLEAN))


@pytest.mark.parametrize("mode", [ThresholdMode.SAMPLED, ThresholdMode.STATIC])
def test_other_threshold_modes_are_trained_and_exported(tmp_path, short_recipe, mode):
    recipe = replace(short_recipe, top_n=FilterConfig(epochs=1, mode=mode, sample_stride=4))
    network = load_network(run_short(tmp_path, recipe))
    assert [layer.top_n.mode for layer in network.layers[:-1]] == [mode, mode]
    assert network.metadata["accuracy_int8"] > 0.7
    if mode is ThresholdMode.STATIC:
        assert network.layers[0].top_n.static_threshold > 0


def test_teacher_is_not_needed(tmp_path, short_recipe):
    recipe = replace(short_recipe, distill=DistillConfig(weight=0.0))
    assert load_network(run_short(tmp_path, recipe)).metadata["accuracy_int8"] > 0.7


@pytest.mark.parametrize("view", TeacherView)
def test_teacher_sees_what_its_view_says(tmp_path, short_recipe, view, monkeypatch):
    taught, asked = [], []

    def remember(*args, plan, answers=None):
        taught.append(answers is not None)
        asked.append(plan.teacher is not None)
        return train_step(*args, plan=plan, answers=answers)

    monkeypatch.setattr(EPOCH_MODULE, "train_step", remember)
    run_short(tmp_path, replace(short_recipe, distill=DistillConfig(view=view)))
    dense, sparse = 4 * (1200 // 64), 8 * (1200 // 64)
    once = view is TeacherView.CLEAN
    assert taught == [False] * dense + [once] * sparse
    assert asked == [False] * dense + [not once] * sparse


def test_each_image_is_taught_its_own_answer(short_recipe):
    torch.manual_seed(4)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    images, labels = torch.rand(40, 1, 2, 2), torch.zeros(40, dtype=torch.int64)
    answers = soften(model(images).detach(), 2.0)
    recipe = replace(
        short_recipe, batch_size=8, augment=AugmentConfig(), distill=DistillConfig(weight=1.0)
    )
    data = TrainingImages(
        images=images,
        labels=labels,
        held_out_images=images,
        calibration_images=images,
        held_out_labels=labels,
    )

    def loss(answers):
        plan = EpochPlan(
            recipe=recipe,
            learning_rate=1e-9,
            first_step=0,
            stage_steps=5,
            masks=WeightMasks({}),
            answers=answers,
        )
        optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
        return train_epoch(model, optimiser, data, plan)

    assert abs(loss(answers)) < 1e-6
    assert loss(answers.roll(1, dims=0)) > 1e-4


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"recipe must be one of .*, not 'mlp3-cifar-10'"):
        train(model="mlp3", data="cifar-10", seed=0, out=tmp_path)
    with pytest.raises(ValueError, match=r"not 'lenet-digits'"):
        train(model="lenet", data="digits", seed=0, out=tmp_path)
    with pytest.raises(DataError, match=r"mnist/train-images-idx3-ubyte: missing"):
        train(model="mlp3", data="mnist", seed=0, out=tmp_path, data_root=tmp_path)
    with pytest.raises(ValueError, match=r"seed must be at least 0, not -1"):
        train(model="mlp3", data="digits", seed=-1, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_presets_name_their_model_and_data_set():
    assert preset_names() == (
        "mlp3-mnist",
        "mlp3-fashion-mnist",
        "mlp3-digits",
        "lenet4-mnist",
        "convnet5-cifar-10",
        "resnet32-cifar-10",
        "resnet32-relu-cifar-10",
        "resnet32-wide-cifar-10",
    )
    for name in preset_names():
        model = next(known for known in model_names() if name in fits(known))
        dataset = name.removeprefix(f"{model}-")
        recipe = preset(model, dataset)
        assert (recipe.name, recipe.model, recipe.dataset) == (name, model, dataset)


def fits(model):
    return [f"{model}-{dataset}" for dataset in dataset_names()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PruneConfig(densities=(0.0,), epochs=1), r"PruneConfig.densities must be above 0"),
        (lambda: PruneConfig(densities=(0.1,), epochs=-1), r"PruneConfig.epochs must be between"),
        (lambda: FilterConfig(epochs=1, rates=(2.0,)), r"FilterConfig.rates must be above 0"),
        (lambda: FilterConfig(epochs=1, learning_rate=0), r"FilterConfig.learning_rate must be"),
        (lambda: AugmentConfig(shift=2), r"AugmentConfig.shift must be between 0 and 1, not 2"),
        (lambda: OptimiserConfig(momentum=2), r"OptimiserConfig.momentum must be between 0 and 1"),
        (lambda: replace(preset("mlp3", "digits"), crop=0), r"RecipeConfig.crop must be between"),
        (lambda: DistillConfig(weight=-1), r"DistillConfig.weight must be between 0 and 1"),
    ],
)
def test_impossible_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_held_out_images_are_training_images_that_are_not_trained_on(short_recipe):
    digits = load_dataset("digits")
    split = split_held_out(digits, short_recipe, torch.device("cpu"))
    assert len(split.held_out_images) == 238
    assert len(split.images) == 1200
    pixels = torch.cat([split.images, split.held_out_images]).mul(255).round().numpy()
    wanted = digits.train_images.reshape(len(pixels), -1)
    assert sorted(map(tuple, pixels.reshape(len(pixels), -1).astype(np.uint8))) == sorted(
        map(tuple, wanted)
    )
    with pytest.raises(ValueError, match=r"held_out must be below the 1438 training images"):
        split_held_out(digits, replace(short_recipe, held_out=1438), torch.device("cpu"))


def test_augmentation_keeps_shape_range_and_black_background():
    torch.manual_seed(0)
    images = torch.zeros(4, 1, 8, 8)
    images[:, :, 2:6, 2:6] = 1
    moved = augment(images, AugmentConfig(rotation_radians=0.2, shift=0.1))
    assert moved.shape == images.shape
    assert 0 <= moved.min()
    assert moved.max() <= 1 + 1e-6
    assert not torch.any((moved > 0) & (moved < 0.1))
    assert not torch.equal(moved[0], moved[1])
    assert augment(images, AugmentConfig()) is images


def test_half_of_the_images_are_mirrored():
    torch.manual_seed(1)
    images = torch.rand(200, 3, 4, 4)
    moved = augment(images, AugmentConfig(flip=True))
    mirrored = (moved == images.flip(dims=(3,))).flatten(1).all(dim=1)
    assert torch.all(mirrored | (moved == images).flatten(1).all(dim=1))
    assert 60 < int(mirrored.sum()) < 140


def test_crops_come_from_every_place_of_their_own_image():
    torch.manual_seed(2)
    image = torch.arange(3 * 6 * 5).reshape(3, 6, 5).float()
    images = image + 1000 * torch.arange(300)[:, None, None, None]
    cropped = random_crop(images, (4, 4))
    assert cropped.shape == (300, 3, 4, 4)
    corners = cropped[:, 0, 0, 0] - 1000 * torch.arange(300)
    assert set(corners.tolist()) == {0, 1, 5, 6, 10, 11}
    for found, corner, index in zip(cropped, corners.int().tolist(), range(300), strict=True):
        top, left = divmod(corner, 5)
        assert torch.equal(found, images[index, :, top : top + 4, left : left + 4])


def test_learning_rate_rises_then_falls():
    rates = [cosine_rate(1.0, step, 5000) for step in range(5000)]
    assert rates[0] < 0.01
    assert max(rates) > 0.99
    assert rates[-1] < 1e-4
