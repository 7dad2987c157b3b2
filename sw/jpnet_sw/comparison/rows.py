"""Which methods are compared on which network, and with which options."""

from dataclasses import dataclass, field, replace
from functools import partial

from jpnet_sw.recipe import RecipeConfig, choose, preset

__all__ = ["Published", "Row", "find_row", "rows_of", "table_models"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What the literature reports of a method on this network.

    Parameters
    ----------
    weight_percent, error_percent
        Living weights and wrong answers.
    mac_reduction
        Dense over remaining MACs, where it is published.
    """

    weight_percent: float
    error_percent: float
    mac_reduction: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the table.

    Parameters
    ----------
    name
        Of the row, unique for the model.
    model, dataset
        What is trained on what.
    method, options
        As `jpnet train` takes them.
    published
        For the comparison, if there is any.
    is_warm
        Whether the row begins with a trained network and has no dense stage.
    """

    name: str
    model: str
    dataset: str
    method: str
    options: dict[str, str] = field(default_factory=dict)
    published: Published | None = None
    is_warm: bool = False

    def recipe(self, budget: float) -> RecipeConfig:
        """Return the recipe: that of model and data set with this method.

        Parameters
        ----------
        budget
            Share of the recipe's epochs, the same for all stages and rows; each stage has at least
            one.

        Raises
        ------
        ValueError
            If the budget is not above 0 and at most 1.
        """
        recipe = choose(
            preset(self.model, self.dataset),
            method=self.method,
            options=self.options,
            budget=budget,
        )
        return replace(recipe, name=f"{self.model}-{self.dataset}-{self.name}")


_FILTERS = {"structure": "filter", "densities": "0.4,0.4,0.2,1"}


def _row(
    model: str,
    name: str,
    method: str,
    options: dict[str, str] | None = None,
    published: Published | None = None,
) -> Row:
    return Row(
        name=name,
        model=model,
        dataset="mnist",
        method=method,
        options=options or {},
        published=published,
    )


_lenet4, _mlp3 = partial(_row, "lenet4"), partial(_row, "mlp3")


def _resnet32(name: str, method: str, options: dict[str, str] | None = None) -> Row:
    return Row(
        name=name,
        model="resnet32-relu",
        dataset="cifar-10",
        method=method,
        options=options or {},
        is_warm=True,
    )


def _resnet32_filters(density: str) -> tuple[Row, ...]:
    """Return rows that leave a share of the filters inside blocks, at once and by GReg."""
    options = {"structure": "filter", "densities": f"1,{density},{density},{density},1"}
    return (
        _resnet32(f"filters-{density}-oneshot", "magnitude", {**options, "rounds": "1"}),
        _resnet32(f"filters-{density}-greg1", "greg1", options),
        _resnet32(f"filters-{density}-greg2", "greg2", options),
    )


_ROWS = (
    _lenet4(
        "jpnet",
        "jpnet",
        published=Published(weight_percent=8.1, error_percent=1.0, mac_reduction=83.3),
    ),
    _lenet4("magnitude", "magnitude"),
    _lenet4("magnitude-oneshot", "magnitude", {"rounds": "1"}),
    _lenet4("magnitude-global", "magnitude", {"scope": "global"}),
    _lenet4("sensitivity", "sensitivity"),
    _lenet4(
        "dns",
        "dns",
        {"densities": "0.14,0.03,0.007,0.04"},
        Published(weight_percent=0.9, error_percent=0.91),
    ),
    _lenet4(
        "admm",
        "admm",
        {"densities": "0.2,0.08,0.009,0.07"},
        Published(weight_percent=1.4, error_percent=0.8),
    ),
    _lenet4(
        "l0",
        "l0",
        {"strength": "0.1"},
        Published(weight_percent=8.9, error_percent=0.9, mac_reduction=5.9),
    ),
    _lenet4("l0-layers", "l0", {"strength": "10,0.5,0.1,10"}),
    _lenet4(
        "vib", "vib", published=Published(weight_percent=0.8, error_percent=1.0, mac_reduction=71.4)
    ),
    _lenet4(
        "vd", "vd", published=Published(weight_percent=0.4, error_percent=0.8, mac_reduction=80.6)
    ),
    _lenet4("greg1", "greg1", {"structure": "element"}),
    _lenet4("greg2", "greg2", {"structure": "element"}),
    _lenet4("filters-oneshot", "magnitude", {**_FILTERS, "rounds": "1"}),
    _lenet4("filters-greg1", "greg1", _FILTERS),
    _lenet4("filters-greg2", "greg2", _FILTERS),
    _lenet4("bmwm", "bmwm"),
    _lenet4("darb", "darb"),
    _lenet4("lanes", "lanes"),
    _mlp3(
        "jpnet",
        "jpnet",
        published=Published(weight_percent=10.0, error_percent=1.58, mac_reduction=27.4),
    ),
    _mlp3("magnitude", "magnitude"),
    _mlp3("sensitivity", "sensitivity"),
    _mlp3(
        "dns",
        "dns",
        {"densities": "0.018,0.018,0.055"},
        Published(weight_percent=1.8, error_percent=1.99),
    ),
    _mlp3("admm", "admm"),
    _mlp3("l0", "l0", {"strength": "0.1"}, Published(weight_percent=10.0, error_percent=1.6)),
    _mlp3("vib", "vib", published=Published(weight_percent=3.6, error_percent=1.6)),
    _mlp3("vd", "vd", published=Published(weight_percent=1.5, error_percent=1.92)),
    _mlp3("darb", "darb"),
    _resnet32("jpnet", "jpnet"),
    _resnet32("magnitude", "magnitude"),
    _resnet32("magnitude-oneshot", "magnitude", {"rounds": "1"}),
    _resnet32("sensitivity", "sensitivity"),
    _resnet32("admm", "admm"),
    _resnet32("dns", "dns"),
    _resnet32("greg1", "greg1", {"structure": "element"}),
    *(row for density in ("0.5", "0.33", "0.2") for row in _resnet32_filters(density)),
)
"""Published figures: slides of JPnet, and each method's own paper or repository."""


def table_models() -> tuple[str, ...]:
    """Return the networks that have rows."""
    return tuple(dict.fromkeys(row.model for row in _ROWS))


def rows_of(model: str) -> tuple[Row, ...]:
    """Return a network's rows.

    Raises
    ------
    ValueError
        If it has none.
    """
    if model not in table_models():
        raise ValueError(f"table model must be one of {', '.join(table_models())}, not {model!r}")
    return tuple(row for row in _ROWS if row.model == model)


def find_row(model: str, name: str) -> Row:
    """Return a row by its name.

    Raises
    ------
    ValueError
        If model or name are unknown.
    """
    rows = {row.name: row for row in rows_of(model)}
    if name not in rows:
        raise ValueError(f"row of {model} must be one of {', '.join(rows)}, not {name!r}")
    return rows[name]
