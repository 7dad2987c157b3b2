from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from jpnet import cli
from jpnet.cycle_count import cycle_counter
from jpnet.json_file import read_json, write_json
from jpnet.tuning import TUNE_KIND
from jpnet.tuning_page import (
    BEGIN,
    END,
    cycles_at,
    cycles_at_equal_accuracy,
    draw_searches,
    main,
    page_part,
    read_searches,
    tuning_table,
)
from jpnet_spec.configs import preset
from jpnet_spec.model_file import load_network
from jpnet_sw.compiler import CompileError
from jpnet_sw.data import load_dataset
from jpnet_sw.zoo import zoo_path


def entry(family: str, cycles: list[float | None], accuracies: list[float]) -> dict:
    """A search whose last round was chosen."""
    rounds = [
        {"cycles": taken, "accuracy_percent": accuracy, "kept": True}
        for taken, accuracy in zip(cycles, accuracies, strict=True)
    ]
    return {
        "family": family,
        "chosen": len(rounds),
        "within": True,
        "rounds": rounds,
        "held_out_percent": {"dense": 99.5, "int8": 99.1},
        "test_percent": {"dense": 99.4, "float": 99.0, "int8": 99.05},
        "cycles": 810.0,
        "macs_effective": 12345.6,
        "layers": [
            {"name": "fc1", "weight_density": 0.125},
            {"name": "fc2", "weight_density": 0.5},
        ],
        "winner_rates": {"fc1": 0.25},
    }


JOINT = entry("joint", [None, 4000.0, 800.0], [99.4, 99.3, 99.0])
UNIFORM = entry("uniform", [None, 4000.0, 3000.0, 1000.0], [99.4, 99.2, 99.1, 98.9])
CONTENT = {
    "model": "lenet4",
    "dataset": "mnist",
    "config": "edge16",
    "seed": 0,
    "budget": {"tolerance_percent": 0.5, "rounds": 3, "epochs": 1, "final_epochs": 2},
    "searches": [JOINT, UNIFORM],
}


@pytest.mark.parametrize(
    ("accuracy", "cycles"),
    [(98, 1000.0), (98.9, 1000.0), (99.0, sqrt(3e6)), (99.1, 3000.0), (99.2, 4000.0), (99.3, None)],
)
def test_cycles_at_an_accuracy_are_between_those_of_two_rounds(
    accuracy: float, cycles: float | None
) -> None:
    found = cycles_at(UNIFORM, accuracy)
    assert found == (cycles if cycles is None else pytest.approx(cycles))


def test_round_that_another_beats_in_both_does_not_count() -> None:
    worse = entry("uniform", [4000.0, 3500.0, 3000.0, 1000.0], [99.2, 98.0, 99.1, 98.9])
    assert cycles_at(worse, 99.15) == cycles_at(UNIFORM, 99.15)
    assert cycles_at(worse, 98.0) == 1000.0


def test_searches_are_compared_where_both_come() -> None:
    assert cycles_at_equal_accuracy(JOINT, UNIFORM) == pytest.approx((99.0, 800.0, sqrt(3e6)))
    poor = entry("uniform", [None, 3000.0, 1000.0], [99.4, 98.7, 98.5])
    assert cycles_at_equal_accuracy(JOINT, poor) == pytest.approx((98.7, 800.0, 3000.0))


def test_table_says_what_each_search_found_and_what_joint_saves() -> None:
    table = tuning_table(CONTENT)
    assert "| joint | 99.10 % | 99.05 % | 12,346 | 810 | - |" in table
    equal = "800 and 1,732 at 99.00 %: 54 % fewer"
    assert f"| uniform | 99.10 % | 99.05 % | 12,346 | 810 | {equal} |" in table
    assert "| uniform | 12.50 / 25.0 | 50.00 / - |" in table
    assert "3 rounds of 1 epochs" in table
    outside = {**CONTENT, "searches": [JOINT, {**UNIFORM, "within": False}]}
    assert "| uniform | 99.10 %, outside the tolerance |" in tuning_table(outside)


def test_page_and_picture_are_made_from_the_file(tmp_path: Path) -> None:
    results, page, image = (tmp_path / name for name in ("r.json", "p.md", "i.svg"))
    write_json(results, kind=TUNE_KIND, content=CONTENT)
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    arguments = [str(results), "--page", str(page), "--image", str(image)]
    assert main(arguments) == 0
    first = page.read_text(), image.read_bytes()
    assert first[0] == f"before\n{BEGIN}\n{page_part(CONTENT, 'i.svg')}\n{END}after\n"
    assert "](i.svg)\n" in first[0]
    assert tuning_table(CONTENT) in first[0]
    assert b"joint: 810 cycles" in first[1]
    assert main(arguments) == 0
    assert (page.read_text(), image.read_bytes()) == first


def test_picture_can_be_a_png(tmp_path: Path) -> None:
    assert draw_searches(CONTENT, tmp_path / "i.png").read_bytes().startswith(b"\x89PNG")


def test_missing_results_name_their_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`jpnet tune` makes it"):
        read_searches(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "vgg"], "recipe must be one of"),
        (["--config", "huge"], "configuration must be one of tiny, edge16"),
        (["--tolerance", "-1"], "TuneConfig.tolerance_percent must be between 0 and 100"),
        (["--rounds", "0"], "TuneConfig.rounds must be between"),
        (["--epochs", "0"], "TuneConfig.epochs must be between"),
        (["--baseline", "some"], "baseline must be one of one-rate, uniform, not 'some'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--warm-start", "none.safetensors"], "none.safetensors"),
        (["--config", "small.json"], "activation memory (act_depth) of one image needs"),
    ],
)
def test_impossible_searches_end_with_one_line_and_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    parameters = preset("tiny").as_dict() | {"act_depth": 16}
    Path("small.json").write_text(str(parameters).replace("'", '"'))
    own = ["--model", "mlp3", "--data", "digits", "--build", "made"]
    assert cli.run(["tune", *own, *arguments]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.startswith("jpnet: error: ")
    assert output.err.count("\n") == 1
    assert not Path("made").exists()


def test_cycles_are_counted_of_resident_and_of_streamed_lists() -> None:
    network = load_network(zoo_path("mlp3-digits"))
    images = load_dataset("digits").train_activations()
    count = cycle_counter(preset("edge16"))
    cycles = count(network, images[:16], images[:20])
    assert 100 < cycles < 250
    assert cycles == count(network, images[:16], images[:20])
    dense = [np.where(layer.weight == 0, 1, layer.weight) for layer in network.layers]
    full = type(network)(
        name=network.name,
        input_shape=network.input_shape,
        layers=tuple(
            type(layer)(
                **{field: getattr(layer, field) for field in layer.__dataclass_fields__}
                | {"weight": weight}
            )
            for layer, weight in zip(network.layers, dense, strict=True)
        ),
        metadata={},
    )
    weights = sum(layer.weight.size for layer in full.layers)
    in_flight = preset("edge16").contexts
    # Four weights arrive in a cycle, for all images in flight.
    fewest = weights / 4 / in_flight
    assert fewest < count(full, images[:16], images[:20]) < 2 * fewest


def test_network_that_does_not_fit_is_refused() -> None:
    network = load_network(zoo_path("lenet4-mnist"))
    images = np.zeros((4, 1, 28, 28), dtype=np.int8)
    with pytest.raises(CompileError, match="lenet4"):
        cycle_counter(replace(preset("tiny"), act_depth=64))(network, images, images)


@pytest.mark.slow
def test_search_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--model", "mlp3", "--data", "digits", "--tolerance", "3", "--rounds", "6"]
    rest = ["--epochs", "5", "--baseline", "uniform", "--build", str(tmp_path)]
    results = tmp_path / "results.json"
    assert cli.run(["tune", *own, *rest, "--results", str(results)]) == 0
    folder = tmp_path / "mlp3-digits-joint-edge16"
    content = read_json(folder / "edge16" / "tune.json", kind=TUNE_KIND, made_by="jpnet tune")
    assert content == read_searches(results)
    joint, uniform = content["searches"]
    _, fewer, more = cycles_at_equal_accuracy(joint, uniform)
    assert fewer < more
    for found in (joint, uniform):
        assert found["held_out_percent"]["int8"] >= found["held_out_percent"]["dense"] - 3
    assert (folder / "edge16" / "tune.png").is_file()
    assert tuning_table(content) in capsys.readouterr().out
    assert cli.run(["estimate", "--model", folder.name, "--build", str(tmp_path)]) == 0
