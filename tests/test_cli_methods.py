from pathlib import Path

import pytest

from jpnet import cli
from jpnet.training import run_name
from jpnet_spec.model_file import load_network
from jpnet_sw.sparsity.methods import method_names, method_type


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.run(list(arguments)) == 0
    return " ".join(capsys.readouterr().out.split())


def test_methods_are_listed_with_source_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    found = output_of(capsys, "methods")
    for name in method_names():
        assert name in found
        assert method_type(name).SUMMARY in found
        assert method_type(name).SOURCE in found


def test_options_of_a_method_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    found = output_of(capsys, "methods", "admm")
    assert "rho" in found
    assert "one of count, darb, lanes" in found
    assert "densities" in found
    assert "Options of jpnet: none" in output_of(capsys, "methods", "jpnet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["methods", "magic"], "method must be one of jpnet, magnitude"),
        (["train", "--method", "magic"], "method must be one of jpnet, magnitude"),
        (["train", "--method", "admm", "--option", "c=1"], "option of method admm must be one of"),
        (["train", "--method", "admm", "--option", "rho=x"], "must be a number of at least 0"),
        (["train", "--option", "densities"], "option must be NAME=VALUE"),
        (["train", "--method", "l0", "--option", "rounds=5"], "must be one of epochs, ramp, lea"),
        (["train", "--option", "densities=0.1,0.1"], "must be 3 numbers, one for each of"),
        (["train", "--activation", "some"], "activation must be one of none, exact"),
        (["train", "--activation", "fc9=exact"], "must name layers with a filter (fc1, fc2)"),
        (["train", "--search", "x"], "search must be one of scan, joint"),
        (["train", "--tolerance", "-1"], "tolerance_percent must be between 0 and 100"),
    ],
)
def test_impossible_choices_end_with_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = arguments
    if arguments[0] == "train":
        given = [*arguments, "--data", "digits", "--build", str(tmp_path)]
    assert cli.run(given) == 2
    found = capsys.readouterr()
    assert message in found.err
    assert found.err.count("\n") == 1
    assert found.out == ""
    assert list(tmp_path.iterdir()) == []


def test_chosen_method_is_trained_and_in_the_model_file(tmp_path: Path) -> None:
    assert run_name("mlp3", "mnist", "lanes") == "mlp3-lanes"
    arguments = [
        *("train", "--data", "digits", "--seed", "1", "--build", str(tmp_path)),
        *("--method", "lanes", "--option", "lanes=4", "--option", "epochs=1"),
        *("--activation", "none"),
    ]
    assert cli.run(arguments) == 0
    network = load_network(tmp_path / "mlp3-digits-lanes" / "model.safetensors")
    prune = network.metadata["recipe_settings"]["prune"]
    assert (prune["method"], prune["epochs"]) == ("lanes", 1)
    assert prune["options"] == {"score": "magnitude", "lanes": 4}
    assert network.metadata["recipe"] == "mlp3-digits-lanes"
    assert network.metadata["winner_rates"] == {}
