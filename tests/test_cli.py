import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jpnet import cli
from jpnet.compilation import compile_model
from jpnet.workspace import Workspace
from jpnet_spec.model_file import save_network
from jpnet_spec.network import IntegerNetwork

Refused = Callable[..., str]


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused with one line and leave all files as they were."""

    def run(*arguments: str | Path) -> str:
        before = files_below(tmp_path)
        code = cli.run([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert code == 2
        assert output.out == ""
        assert output.err.startswith("jpnet: error: ")
        assert output.err.count("\n") == 1
        assert files_below(tmp_path) == before
        return output.err

    return run


def options(workspace: Workspace) -> list[str]:
    return [
        *("--model", workspace.model),
        *("--config", workspace.config),
        *("--build", str(workspace.build)),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nothing"], "No such option"),
        (["fly"], "No such command"),
        (["train", "--seed", "-1"], "Invalid value for '--seed'"),
        (["train", "--seed", "one"], "Invalid value for '--seed'"),
        (["train", "--model", "vgg"], "recipe must be one of"),
        (["train", "--data", "imagenet"], "recipe must be one of"),
        (["compile", "--encoding", "zip"], "encoding must be one of explicit, run-length, blocks"),
        (["compile", "--encoding", "blocks"], "needs a configuration with list_decoder 1, not 0"),
        (["compile", "--config", "huge"], "configuration must be one of tiny, edge16"),
        (["rtl", "--config", "../edge16"], "configuration must be one of"),
        (["rtl", "--model", "../mlp3"], "must be a name"),
        (["rtl", "--model", ""], "must be a name"),
    ],
)
def test_bad_arguments_are_refused(
    refused: Refused, workspace: Workspace, arguments: list[str], message: str
) -> None:
    given = arguments
    if arguments[0] != "--nothing" and arguments[0] != "fly":
        given = [*arguments, "--build", str(workspace.build)]
    if arguments[:3] == ["compile", "--config", "huge"]:
        given += ["--model", workspace.model]
    assert message in refused(*given)


def test_no_images_are_refused(refused: Refused, workspace: Workspace) -> None:
    for images in ("0", "-3", "many", ""):
        assert "--images must be" in refused("simulate", *options(workspace), "--images", images)


def test_missing_model_names_the_command_that_makes_it(refused: Refused, tmp_path: Path) -> None:
    message = refused("compile", "--model", "ghost", "--build", tmp_path)
    assert "`jpnet train --model ghost` makes it" in message


@pytest.mark.parametrize("command", ["simulate", "waves", "cosim"])
def test_missing_schedule_is_named(refused: Refused, workspace: Workspace, command: str) -> None:
    message = refused(command, *options(workspace))
    assert "`jpnet compile --model small --config tiny` makes it" in message


def test_missing_simulation_names_the_command_that_makes_it(
    refused: Refused, workspace: Workspace
) -> None:
    assert "`jpnet simulate --model small --config tiny`" in refused("report", *options(workspace))


def test_missing_verilog_names_the_command_that_makes_it(
    refused: Refused, workspace: Workspace
) -> None:
    compile_model(workspace, data_root=None)
    message = refused("simulate", *options(workspace))
    assert "`jpnet rtl --model small --config tiny` makes it" in message


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:200], "truncated"),
        (lambda data: b"", "truncated"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "altered"),
    ],
)
def test_damaged_model_is_refused(
    refused: Refused, workspace: Workspace, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = workspace.trained_file
    path.write_bytes(damage(path.read_bytes()))
    assert message in refused("compile", *options(workspace))


def test_damaged_schedule_is_refused(refused: Refused, workspace: Workspace) -> None:
    path = compile_model(workspace, data_root=None)
    path.write_bytes(path.read_bytes()[:-7])
    assert "truncated" in refused("simulate", *options(workspace))


def test_schedule_of_another_model_is_refused(
    refused: Refused, workspace: Workspace, small_network: IntegerNetwork
) -> None:
    compile_model(workspace, data_root=None)
    first = replace(small_network.layers[0], shift=small_network.layers[0].shift + 1)
    other = replace(small_network, layers=(first, *small_network.layers[1:]))
    save_network(other, workspace.trained_file)
    assert "compiled from another model" in refused("simulate", *options(workspace))


def test_schedule_of_another_configuration_is_refused(
    refused: Refused, workspace: Workspace
) -> None:
    other = Workspace(build=workspace.build, model="small", config="edge16")
    compiled = compile_model(other, data_root=None)
    workspace.folder.mkdir()
    workspace.schedule_file.write_bytes(compiled.read_bytes())
    assert "compiled for another configuration" in refused("simulate", *options(workspace))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "list_decoder, not list"),
        ('{"lines": 4}', "list_decoder, not 'lines'"),
        ('{"lanes": 0}', "AcceleratorConfig.lanes must be an integer from 1 to 64, not 0"),
        ('{"lanes": 3}', "must be a power of two"),
        ('{"lanes": "4"}', "must be an integer"),
    ],
)
def test_bad_configuration_file_is_refused(
    refused: Refused, workspace: Workspace, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    build = str(workspace.build)
    assert message in refused("compile", "--model", "small", "--config", path, "--build", build)


def test_memory_too_small_for_the_network_is_named(
    refused: Refused, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"weight_depth": 16}))
    message = refused("compile", "--model", "small", "--config", path, "--build", workspace.build)
    assert "weight memory needs" in message
    assert "it fits tiny" in message


def test_missing_data_is_refused(refused: Refused, workspace: Workspace, tmp_path: Path) -> None:
    message = refused("train", "--data-root", tmp_path, "--build", workspace.build)
    assert "missing" in message
    assert "--data-root or JPNET_DATA" in message


def test_folder_that_cannot_be_made_is_refused_before_training(
    refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    message = refused("train", "--data", "digits", "--build", tmp_path / "file" / "build")
    assert str(tmp_path / "file") in message


def test_full_disk_leaves_nothing_behind(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "jpnet", "compile", *options(workspace)]
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *command]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("jpnet: error: ")
    assert result.stderr.count("\n") == 1
    assert not list(workspace.folder.iterdir())


def test_interrupt_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(console: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jpnet.listings.print_configs", interrupt)
    assert cli.run(["configs"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(console: object) -> None:
        raise AssertionError

    monkeypatch.setattr("jpnet.listings.print_configs", fail)
    with pytest.raises(AssertionError):
        cli.run(["configs"])


def test_compile_writes_a_schedule(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["compile", *options(workspace), "--no-calibrate"]) == 0
    assert capsys.readouterr().out == f"wrote {workspace.schedule_file}\n"
    assert os.listdir(workspace.folder) == ["schedule.safetensors"]


def test_listings_name_what_there_is(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["configs"]) == 0
    assert cli.run(["models", "--build", str(workspace.build)]) == 0
    assert cli.run(["data", "--data-root", str(workspace.build)]) == 0
    output = capsys.readouterr().out
    for name in ("edge16", "mlp3", "small", "digits", "1,438 training", "mnist"):
        assert name in output
