from pathlib import Path
from xml.etree import ElementTree

import pytest

from jpnet import cli
from jpnet.json_file import write_json
from jpnet.study_file import Study, read_study, write_study
from jpnet.study_page import main, markers
from jpnet.study_tables import study_table
from jpnet_spec.artefact import ArtefactError

BEFORE = {
    "dense_accuracy_percent": 99.5,
    "weight_pruned_accuracy_percent": 99.25,
    "weight_pruned_mac_percent": 1.75,
}
MADE = {"accuracy_percent": 98.75, "mac_percent": 0.625, "activation_percent": 12.5}


def threshold(kind: str, rate: float, epochs: int) -> dict:
    return {"kind": kind, "rate": rate, "epochs": epochs, **MADE}


NETWORK = {"zero_percent": 87.5, "percent": [10.0, 2.5], "mean_magnitude": 0.75}
KINDS = ("dense", "weight-pruned", "joint")

CONTENTS = {
    Study.SENSITIVITY: {
        "unfiltered_percent": 99.5,
        "tolerance_percent": 0.25,
        "images": 5000,
        "points": [
            {"layer": layer, "rate": rate, "accuracy_percent": 99.125}
            for layer in ("conv1", "fc1")
            for rate in (0.5, 0.25)
        ],
    },
    Study.THRESHOLDS: {
        **BEFORE,
        "epochs": 4,
        "points": [
            threshold(kind, rate, epochs)
            for kind in ("dynamic", "static")
            for rate in (0.5, 0.25)
            for epochs in (0, 4)
        ],
    },
    Study.SAMPLING: {
        "images": 2000,
        "exact": {"accuracy_percent": 99.25, "mac_percent": 0.5},
        "points": [
            {"layer": layer, "stride": 4, "sampled_percent": 25.0, **MADE}
            for layer in ("conv1", "every layer")
        ],
    },
    Study.HISTOGRAMS: {
        "images": 500,
        "layers": [
            {
                "name": "conv1",
                "edges": [0.0, 1.0, 2.0],
                "networks": dict.fromkeys(KINDS, NETWORK),
            }
        ],
    },
    Study.DENSITIES: {
        "images": 1000,
        "activation_percent": dict(zip(KINDS, (60.0, 40.0, 12.5), strict=True)),
        "mac_percent": dict(zip(KINDS, (50.0, 1.75, 0.625), strict=True)),
        "layers": [
            {"name": f"conv{number}", "elements": 1152, **dict.fromkeys(KINDS, 37.5)}
            for number in range(12)
        ],
    },
    Study.TRADEOFF: {
        **BEFORE,
        "budget": 1.0,
        "points": [{"tolerance_percent": tolerance, **MADE} for tolerance in (0.5, 2.0)],
    },
}
"""Of each study's file, but for what all have."""

CELLS = {
    Study.SENSITIVITY: "| fc1 | 99.12 | 99.12 |",
    Study.THRESHOLDS: "| 0.25 | 98.75 at 12.5 | 98.75 at 12.5 | 98.75 at 12.5 | 98.75 at 12.5 |",
    Study.SAMPLING: "| every layer | 99.25 | 98.75 |",
    Study.HISTOGRAMS: "| conv1 | joint | 87.50 | 0.75 |",
    Study.DENSITIES: "| effective MACs |  | 50.00 | 1.75 | 0.62 |",
    Study.TRADEOFF: "| 2 | 12.50 | 0.625 | 98.75 |",
}


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder with the file of each study."""
    folder = tmp_path / "studies"
    for study, content in CONTENTS.items():
        whole = {"model": "lenet4", "dataset": "mnist", "seed": 1, **content}
        write_study(folder / f"lenet4-{study.value}.json", study, whole)
    return folder


@pytest.mark.parametrize("study", Study)
def test_table_has_what_was_measured(studies: Path, study: Study) -> None:
    table = study_table(read_study(studies / f"lenet4-{study.value}.json"))
    assert CELLS[study] in table.splitlines()


def test_page_gets_every_study_and_the_same_pictures_again(studies: Path, tmp_path: Path) -> None:
    page, images = tmp_path / "page.md", tmp_path / "images"
    page.write_text("Before\n\n" + "\n".join("".join(markers(study)) for study in Study))
    arguments = [str(studies), "--page", str(page), "--images", str(images)]
    assert main(arguments) == 0
    text = page.read_text()
    made = {path.name: path.read_bytes() for path in images.iterdir()}
    assert text.startswith("Before\n")
    for study in Study:
        assert CELLS[study] in text.splitlines()
        assert f"](images/study-lenet4-{study.value}.svg)" in text
        ElementTree.fromstring(made[f"study-lenet4-{study.value}.svg"])
    assert main(arguments) == 0
    assert page.read_text() == text
    assert {path.name: path.read_bytes() for path in images.iterdir()} == made


def test_page_without_markers_stays_as_it_is(studies: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="page must hold the lines"):
        main([str(studies), "--page", str(page), "--images", str(tmp_path)])
    assert page.read_text() == "nothing\n"
    with pytest.raises(ArtefactError, match="holds no study"):
        main([str(tmp_path / "none"), "--page", str(page), "--images", str(tmp_path)])


def test_unknown_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, kind="study", content={"study": "weather"})
    with pytest.raises(ArtefactError, match="study must be one of sensitivity"):
        read_study(path)


def test_command_samples_a_model_and_draws_it(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--build", str(tmp_path), "--results", str(tmp_path / "results")]
    command = ["study", "sampling", "--model", str(small_model), "--stride", "4"]
    assert cli.run([*command, *options]) == 0
    assert "| elements sampled | 100 % | 25 % |" in capsys.readouterr().out
    content = read_study(tmp_path / "small" / "studies" / "sampling.json")
    assert (content["model"], content["dataset"], content["seed"]) == ("small", "digits", 7)
    assert content["images"] == 359
    assert content == read_study(tmp_path / "results" / "small-sampling.json")
    ElementTree.parse(tmp_path / "small" / "studies" / "sampling.svg")


@pytest.mark.parametrize("study", ["sensitivity", "thresholds", "histograms", "tradeoff"])
def test_model_that_was_not_trained_here_is_one_line(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["study", study, "--model", "lenet4", "--build", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "weight-pruned.safetensors: missing, `jpnet train` makes it" in said
    assert not list(tmp_path.iterdir())
