"""All studies of one network, which is trained where it is not: `python -m jpnet.bench_studies`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jpnet import cli
from jpnet.study_file import Study
from jpnet.training import run_name, train_model

__all__ = ["main"]

_MODEL, _DATA, _SEED = "lenet4", "mnist", 0
_CHOICES = {
    Study.THRESHOLDS: ["--rate", "0.4", "--rate", "0.2", "--rate", "0.1", "--epochs", "2"],
    Study.SAMPLING: ["--images", "all"],
}
"""Where a study is not made as it is by default."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the network and make its studies; what was stopped goes on."""
    parser = argparse.ArgumentParser(prog="python -m jpnet.bench_studies", description=__doc__)
    parser.add_argument("results", type=Path, help="folder of the results")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of networks")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets")
    options = parser.parse_args(arguments)
    train_model(
        _MODEL,
        data=_DATA,
        seed=_SEED,
        build=options.build,
        data_root=options.data_root,
        resume=True,
    )
    place = ["--build", str(options.build), "--results", str(options.results)]
    if options.data_root is not None:
        place += ["--data-root", str(options.data_root)]
    for study in Study:
        command = ["study", study.value, "--model", run_name(_MODEL, _DATA)]
        code = cli.run([*command, *_CHOICES.get(study, []), *place])
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
