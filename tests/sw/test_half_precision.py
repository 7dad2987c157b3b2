import pytest
import torch

from jpnet_sw.recipe.half_precision import half_precision


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16", "sse"])
def test_products_are_in_bfloat16_where_wanted_and_fast(monkeypatch, name, wanted):
    told = {"amx_bf16": False, "avx512_bf16": False, "sse": True, name: True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    matrix = torch.ones(2, 2)
    with half_precision(torch.device("cpu"), wanted=wanted):
        product = matrix @ matrix
    assert (product.dtype is torch.bfloat16) == (wanted and name != "sse")


def test_products_are_in_float32_where_nobody_tells(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    with half_precision(torch.device("cpu"), wanted=True):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
