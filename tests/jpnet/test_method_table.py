import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from jpnet.json_file import read_json
from jpnet.method_rows import ROW_KIND, row_file, train_rows
from jpnet.method_table import insert_table, method_table, plot_methods
from jpnet_spec.artefact import ArtefactError
from jpnet_spec.model_file import load_network
from jpnet_sw.comparison import Published, Row, find_row, rows, rows_of, table_models
from jpnet_sw.data import load_dataset
from jpnet_sw.sparsity.methods import method_names

ROWS = (
    Row(
        name="jpnet",
        model="mlp3",
        dataset="digits",
        method="jpnet",
        published=Published(weight_percent=8.1, error_percent=1.0, mac_reduction=83.3),
    ),
    Row(
        name="filters",
        model="mlp3",
        dataset="digits",
        method="greg1",
        options={"densities": "0.1,0.2,1"},
    ),
)


def train(folder: Path, *names: str, budget: float = 0.1, seeds: int = 1) -> Path:
    train_rows(
        "mlp3",
        names,
        seeds=range(seeds),
        budget=budget,
        results=folder / "results",
        build=folder / "build",
        data_root=None,
        console=Console(quiet=True),
    )
    return folder / "results"


@pytest.fixture(scope="module")
def table_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two rows have been trained."""
    folder = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_ROWS", ROWS)
        train(folder)
    return folder


def test_every_method_has_a_row_on_lenet4() -> None:
    assert {row.method for row in rows_of("lenet4")} == set(method_names())
    assert table_models() == ("lenet4", "mlp3", "resnet32-relu")
    for model in table_models():
        names = [row.name for row in rows_of(model)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("model", ["lenet4", "mlp3", "resnet32-relu"])
def test_rows_of_a_network_have_one_budget_and_one_dense_stage(model: str) -> None:
    recipes = [row.recipe(0.5) for row in rows_of(model)]
    stages = {(r.dense, r.prune.epochs, r.top_n.epochs, r.quantise.epochs) for r in recipes}
    assert len(stages) == 1
    assert len({recipe.name for recipe in recipes}) == len(recipes)


def test_figures_refer_to_the_unpruned_network(table_folder: Path) -> None:
    found = read_json(
        row_file(table_folder / "results", "mlp3", "filters", 0), kind=ROW_KIND, made_by=""
    )
    folder = table_folder / "build" / "table" / "0.1" / "mlp3-filters-seed0"
    network = load_network(folder / "model.safetensors")
    assert [layer.weight.shape for layer in network.layers] == [(30, 64), (20, 30), (10, 20)]
    assert found["weights"] == found["macs"]["dense"] == 64 * 300 + 300 * 100 + 1000
    living = sum(np.count_nonzero(layer.weight) for layer in network.layers)
    assert found["weight_density"] == living / found["weights"]
    assert found["macs"]["weight_only"] == living
    # An independent count: zeros and ones through the integer network.
    images = load_dataset("digits").test_activations()
    activations, pairs = images.reshape(len(images), -1), 0
    traces = network.run(images)
    for layer in network.layers:
        ones = (activations != 0).astype(np.int64)
        pairs += int((ones @ (layer.weight != 0).T.astype(np.int64)).sum())
        activations = traces[layer.name].survivors
    assert found["macs"]["effective"] == pairs / len(images)
    assert found["mac_percent"]["effective"] == pytest.approx(
        100 * pairs / len(images) / found["weights"]
    )
    assert found["storage_bytes"]["dense"] == sum(layer.weight.size for layer in network.layers)
    cycles = found["cycles"]
    assert cycles["config"] == "edge16"
    some = network.run(images[: cycles["images"]])
    macs = sum(int(trace.macs_effective.sum()) for trace in some.values())
    assert cycles["bound"] == macs / cycles["images"] / 16
    assert cycles["bound"] < cycles["an_image"] < 1000


def test_rows_that_are_there_are_kept(table_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_ROWS", ROWS)
    before = {path: path.stat().st_mtime_ns for path in (table_folder / "results").iterdir()}
    assert len(before) == 2
    train(table_folder)
    assert {p: p.stat().st_mtime_ns for p in (table_folder / "results").iterdir()} == before
    with pytest.raises(ValueError, match=r"row must have the budget 0.2, not 0.1"):
        train(table_folder, budget=0.2)
    with pytest.raises(ValueError, match=r"row of mlp3 must be one of jpnet, filters, not 'x'"):
        train(table_folder, "x")
    with pytest.raises(ValueError, match=r"budget must be above 0 and at most 1, not 0"):
        train(table_folder, budget=0)


def test_table_has_a_line_for_each_row_with_mean_and_spread(
    table_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_ROWS", ROWS)
    for path in (table_folder / "results").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    first = json.loads((tmp_path / "mlp3-jpnet-seed0.json").read_text())
    first["accuracy_int8"], other = 0.99, {**first, "seed": 1, "accuracy_int8": 0.97}
    (tmp_path / "mlp3-jpnet-seed0.json").write_text(json.dumps(first))
    (tmp_path / "mlp3-jpnet-seed1.json").write_text(json.dumps(other))
    lines = method_table(tmp_path).splitlines()
    assert lines[0].startswith("**mlp3** on digits: 50,200 MACs, 50,200 weights")
    assert "3 epochs dense, 5 epochs of the method, 2 with filters, 1 in integers" in lines[0]
    assert lines[4].startswith("| jpnet | 1 %, 8.1 %, 83.3x |")
    assert "| 2.00 ± 1.41 |" in lines[4]
    assert lines[4].endswith("| 2 |")
    assert lines[5].startswith("| filters | - |")
    assert all(line.count("|") == lines[2].count("|") for line in lines[3:6])
    other["epochs"] = {**other["epochs"], "prune": 99}
    (tmp_path / "mlp3-jpnet-seed1.json").write_text(json.dumps(other))
    with pytest.raises(ArtefactError, match=r"rows of mlp3 must have one budget"):
        method_table(tmp_path)


def test_plot_is_the_same_for_the_same_rows(
    table_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_ROWS", ROWS)
    plots = [plot_methods(table_folder / "results", tmp_path / name) for name in "ab"]
    assert [path.name for path in plots[0]] == ["methods-mlp3.svg"]
    text = plots[0][0].read_text()
    assert text == plots[1][0].read_text()
    assert ">filters<" in text
    assert ">cycles of an image, edge16, predicted<" in text


def test_table_goes_between_the_markers_of_a_page() -> None:
    page = "a\n<!-- jpnet comparison docs/results/methods -->\nold\n<!-- end of comparison -->\nb\n"
    once = insert_table(page, "| new |\n")
    assert once == insert_table(once, "| new |\n")
    assert "old" not in once
    assert once.startswith("a\n")
    assert once.endswith("b\n")
    with pytest.raises(ValueError, match="page must hold the lines"):
        insert_table("a", "b")


def test_no_results_name_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no results, `jpnet table` makes them"):
        method_table(tmp_path)


def test_rows_of_residual_networks_begin_with_a_trained_one(tmp_path: Path) -> None:
    rows_of_it = rows_of("resnet32-relu")
    assert all(row.is_warm for row in rows_of_it)
    with pytest.raises(ValueError, match=r"row jpnet of resnet32-relu must begin with .* FILE"):
        train_rows(
            "resnet32-relu",
            ["jpnet"],
            seeds=[0],
            budget=0.1,
            results=tmp_path / "results",
            build=tmp_path / "build",
            data_root=None,
            console=Console(quiet=True),
        )
    assert not any(tmp_path.iterdir())


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be one of lenet4, mlp3, resnet32-relu, not 'vgg'"):
        find_row("vgg", "jpnet")
