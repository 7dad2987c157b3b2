"""Where everything that is made for one model and one configuration lies."""

import json
from dataclasses import dataclass
from pathlib import Path

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS, preset

__all__ = ["DATA_OF", "VERILOG_TOP", "Workspace", "load_config"]

DATA_OF = {
    "mlp3": "mnist",
    "lenet4": "mnist",
    "convnet5": "cifar-10",
    "resnet32": "cifar-10",
    "resnet32-relu": "cifar-10",
    "resnet32-wide": "cifar-10",
}
"""Architecture to the data set that goes without saying: on it the name is the architecture's."""

VERILOG_TOP = "jpnet_accelerator.v"
"""File of the accelerator's top module."""


def load_config(text: str) -> AcceleratorConfig:
    """Return a preset, or the configuration in a JSON file of parameters.

    Raises
    ------
    ValueError
        If it is neither, or a parameter is unknown or out of range.
    """
    if not text.endswith(".json"):
        if text not in PRESETS:
            raise ValueError(
                f"configuration must be one of {', '.join(PRESETS)} or a .json file, not {text!r}"
            )
        return preset(text)
    try:
        parameters = json.loads(Path(text).read_text())
    except OSError as error:
        raise ArtefactError(f"{text}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ArtefactError(f"{text}: not JSON ({error})") from error
    known = PRESETS["edge16"].as_dict()
    unknown = sorted(set(parameters) - set(known)) if isinstance(parameters, dict) else None
    if unknown != []:
        found = ", ".join(map(repr, unknown)) if unknown else type(parameters).__name__
        raise ArtefactError(
            f"{text}: must hold an object with keys among {', '.join(known)}, not {found}"
        )
    try:
        return AcceleratorConfig(**parameters)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """Paths below one build folder.

    Parameters
    ----------
    build
        Folder of everything that is made.
    model
        Name of a trained model or of one of the zoo, or a path to a model file.
    config
        Name of a preset, or a path to a JSON file of parameters.

    Raises
    ------
    ValueError
        If a name is empty or would lead out of the build folder.
    """

    build: Path
    model: str
    config: str

    def __post_init__(self) -> None:
        for field, name in (("model", self.model_name), ("config", self.config_name)):
            if not name or name.startswith(".") or "/" in name:
                raise ValueError(f"Workspace.{field} must be a name, not {name!r}")

    @property
    def model_name(self) -> str:
        """Name of the model's folder."""
        if not self.model.endswith(".safetensors"):
            of_data = {f"{model}-{data}": model for model, data in DATA_OF.items()}
            return of_data.get(self.model, self.model)
        path = Path(self.model)
        return path.resolve().parent.name if path.stem == "model" else path.stem

    @property
    def config_name(self) -> str:
        """Name of the configuration's folder."""
        return Path(self.config).stem if self.config.endswith(".json") else self.config

    @property
    def model_folder(self) -> Path:
        """Folder of the trained model, its checkpoints and one folder a configuration."""
        return self.build / self.model_name

    @property
    def folder(self) -> Path:
        """Folder of the model on the configuration."""
        return self.model_folder / self.config_name

    @property
    def trained_file(self) -> Path:
        """The model that `jpnet train` writes."""
        return self.model_folder / "model.safetensors"

    @property
    def schedule_file(self) -> Path:
        """The compiled schedule."""
        return self.folder / "schedule.safetensors"

    @property
    def rtl_folder(self) -> Path:
        """Verilog, manifest and register map."""
        return self.folder / "rtl"

    @property
    def simulation_file(self) -> Path:
        """What a simulation measured."""
        return self.folder / "simulation.json"

    @property
    def estimate_file(self) -> Path:
        """What the cycle model predicts."""
        return self.folder / "estimate.json"

    @property
    def synthesis_file(self) -> Path:
        """Area and clock."""
        return self.folder / "synthesis.json"

    @property
    def report_file(self) -> Path:
        """The report."""
        return self.folder / "report.json"

    @property
    def waves_file(self) -> Path:
        """Waveforms of one image."""
        return self.folder / "waves.fst"

    @property
    def cache_folder(self) -> Path:
        """Simulator builds, shared by all models and configurations."""
        return self.build / "cache"
