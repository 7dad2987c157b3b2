"""``report.json``: what a network costs and gains, and how each number was made."""

from collections.abc import Mapping
from typing import Any

from jpnet.area import SYNTHESIS_KIND
from jpnet.json_file import read_json, write_json
from jpnet.provenance import provenance
from jpnet.simulation import SIMULATION_KIND
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_spec.artefact import ArtefactError
from jpnet_spec.counters import STALL_COUNTERS

__all__ = ["REPORT_KIND", "build_report", "read_report", "write_report"]

REPORT_KIND = "report"
"""Kind of the file that `write_report` writes."""

_FROM_TRAINING = ("accuracy_dense", "accuracy_jp")


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _counts(reference: Mapping[str, Any]) -> dict[str, Any]:
    """Return densities and MACs, counted three ways, of one layer or of a sum of layers."""
    dense = reference["macs_dense"]
    return {
        "weight_density": reference["weights_nonzero"] / reference["weights"],
        "activation_density": reference["outputs_surviving"] / reference["outputs"],
        "macs_dense": dense,
        "macs_weight_only": reference["macs_weight_only"],
        "macs_effective": reference["macs_effective"],
        "mac_percent_effective": 100 * reference["macs_effective"] / dense,
        "mac_percent_product": 100 * reference["macs_product"] / dense,
    }


def _product(reference: Mapping[str, Any]) -> float:
    """Return MACs by the paper's product of a layer's average weight and input densities."""
    surviving = reference["inputs"] - reference["inputs_zero"] - reference["inputs_below"]
    weight_density = reference["weights_nonzero"] / reference["weights"]
    return float(reference["macs_dense"] * weight_density * surviving / reference["inputs"])


def _layers(simulation: Mapping[str, Any]) -> list[dict[str, Any]]:
    mac_units = _mac_units(simulation)
    layers = []
    for reference, measured in zip(
        simulation["layers_reference"], simulation["layers_measured"], strict=True
    ):
        counts = _counts({**reference, "macs_product": _product(reference)})
        bound = counts["macs_effective"] / mac_units
        layers.append(
            {
                "name": reference["name"],
                **counts,
                "inputs_read": reference["inputs"],
                "inputs_zero": reference["inputs_zero"],
                "inputs_below": reference["inputs_below"],
                "cycles": measured["cycles"],
                "cycles_bound": bound,
                "fraction_of_bound": _ratio(bound, measured["cycles"]),
                "mismatches": simulation["mismatches_by_layer"][reference["name"]],
                "stalls": measured["stalls"],
            }
        )
    return layers


def _mac_units(simulation: Mapping[str, Any]) -> int:
    parameters = simulation["config_parameters"]
    return int(parameters["lanes"] * parameters["groups"] * parameters["clusters"])


def build_report(
    simulation: Mapping[str, Any], metadata: Mapping[str, Any], synthesis: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the report's content.

    Parameters
    ----------
    simulation
        What `jpnet simulate` wrote.
    metadata
        The model's facts about its training.
    synthesis
        What `jpnet synth` wrote, if it ran.
    """
    references = [
        {**reference, "macs_product": _product(reference)}
        for reference in simulation["layers_reference"]
    ]
    total = {
        key: sum(reference[key] for reference in references)
        for key in references[0]
        if key != "name"
    }
    counts = _counts(total)
    mac_units = _mac_units(simulation)
    bound = counts["macs_effective"] / mac_units
    dense = simulation["dense"]["cycles_total"]
    weight_only = simulation["weight_only"]["cycles_total"]
    content: dict[str, Any] = {
        "model": simulation["model"],
        "dataset": simulation["dataset"],
        "config": simulation["config"],
        "seed": metadata.get("seed"),
        "commit": simulation["provenance"]["commit"],
        "images": simulation["images"],
        **{key: metadata.get(key) for key in _FROM_TRAINING},
        "accuracy_int8": simulation["accuracy_int8"],
        "accuracy_rtl": simulation["accuracy_rtl"],
        **counts,
        "mac_units": mac_units,
        "cycles_total": simulation["cycles_total"],
        "cycles_latency": simulation["cycles_latency"],
        "cycles_cold": simulation["cycles_cold"],
        "stream_bytes_per_image": simulation["stream_bytes_per_image"],
        "cycles_bound": bound,
        "fraction_of_bound": bound / simulation["cycles_total"],
        "cycles_dense": dense,
        "speedup_over_dense": _ratio(dense, simulation["cycles_total"]),
        "cycles_weight_only": weight_only,
        "speedup_over_weight_only": _ratio(weight_only, simulation["cycles_total"]),
        "mismatches": simulation["mismatches"]
        + simulation["dense"]["mismatches"]
        + simulation["weight_only"]["mismatches"],
        "layers": _layers(simulation),
        "stalls": {
            counter.name: simulation["counters"][counter.name] for counter in STALL_COUNTERS
        },
        "values_compared": simulation["values_compared"],
    }
    if synthesis is not None:
        content["synthesis"] = synthesis
    content["provenance"] = _sources(content, simulation, metadata)
    return content


def _sources(
    content: Mapping[str, Any], simulation: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Return how each number of the report was made, number to provenance."""
    known = {"seed": metadata.get("seed"), "data": metadata.get("dataset")}
    trained = metadata.get("provenance", known)
    made = dict.fromkeys(_FROM_TRAINING, trained)
    for key in content:
        if key not in (*_FROM_TRAINING, "synthesis", "model", "dataset", "config", "commit"):
            made[key] = simulation["provenance"]
    if "synthesis" in content:
        made["synthesis"] = content["synthesis"].get("provenance")
    made["report"] = provenance(seed=metadata.get("seed"), data=simulation["dataset"])
    return made


def write_report(workspace: Workspace) -> dict[str, Any]:
    """Gather the workspace's results, write ``report.json`` and return its content.

    Raises
    ------
    ArtefactError
        If a file is missing or damaged, or the simulation is another model's.
    """
    name = workspace.model_name
    simulation = read_json(
        workspace.simulation_file,
        kind=SIMULATION_KIND,
        made_by=f"jpnet simulate --model {name} --config {workspace.config}",
    )
    network = load_model(workspace)
    if simulation["network_hash"] != network.content_hash:
        raise ArtefactError(
            f"{workspace.simulation_file}: measured on another {name}, "
            "`jpnet simulate` makes it anew"
        )
    synthesis = None
    if workspace.synthesis_file.is_file():
        synthesis = read_json(workspace.synthesis_file, kind=SYNTHESIS_KIND, made_by="jpnet synth")
    content = build_report(simulation, network.metadata, synthesis)
    write_json(workspace.report_file, kind=REPORT_KIND, content=content)
    return content


def read_report(workspace: Workspace) -> dict[str, Any]:
    """Read the workspace's report.

    Raises
    ------
    ArtefactError
        If it is missing or damaged.
    """
    return read_json(workspace.report_file, kind=REPORT_KIND, made_by="jpnet report")
