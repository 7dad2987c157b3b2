import pytest

from jpnet_spec.window import Window


@pytest.mark.parametrize(
    ("window", "given", "made"),
    [
        (Window(size=(2, 2), stride=2), (24, 24), (12, 12)),
        (Window(size=(3, 3), stride=2, padding=(1, 1, 1, 1)), (24, 24), (12, 12)),
        (Window(size=(3, 3), stride=2), (24, 24), (11, 11)),
        (Window(size=(3, 3), stride=2, padding=(0, 1, 0, 1)), (24, 24), (12, 12)),
        (Window(size=(11, 11), stride=4, padding=(2, 2, 2, 2)), (224, 224), (55, 55)),
        (Window(size=(3, 5)), (3, 5), (1, 1)),
    ],
)
def test_output_size_counts_the_windows_that_fit(window, given, made):
    assert window.output_size(*given) == made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (0, 3)}, r"Window.size must be two extents of at least 1, not \(0, 3\)"),
        ({"size": (3,)}, r"Window.size must be two extents"),
        ({"size": (3, 3), "stride": 0}, "Window.stride must be at least 1, not 0"),
        ({"size": (3, 2), "padding": (2, 2, 2, 1)}, r"Window.padding must be four extents below"),
        ({"size": (3, 3), "padding": (-1, 0, 0, 0)}, r"Window.padding must be four extents below"),
        ({"size": (3, 3), "padding": (1, 1)}, r"Window.padding must be four extents below"),
    ],
)
def test_parameters_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Window(**arguments)
