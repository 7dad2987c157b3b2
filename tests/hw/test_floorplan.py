import re

import pytest

from jpnet_hw.floorplan import block_ram_sites, multiplier_sites

LANE_MEMORIES = [
    *(f"accumulator.rows_{context}.rows.0.0" for context in range(4)),
    *(f"lists.{part}.rows.0.{number}" for part in ("lists", "weights") for number in range(2)),
]


def names(clusters, *, lanes=4, contexts=4):
    """Return the block RAMs of an accelerator, as synthesis names them."""
    return [
        *(
            f"dut.cluster_{cluster}.group_0.lane_{lane}.{memory}"
            for cluster in range(clusters)
            for lane in range(lanes)
            for memory in LANE_MEMORIES
        ),
        *(
            f"dut.memory.bank_{cluster}.column_{column}.rows.0.{number}"
            for cluster in range(clusters)
            for column in range(2)
            for number in range(4)
        ),
        *(
            f"dut.context_{context}.fetch.words.rows.0.{number}"
            for context in range(contexts)
            for number in range(5)
        ),
        *(
            f"dut.drain$7.lane_{lane}.params.rows.0.{number}"
            for lane in range(4)
            for number in range(2)
        ),
    ]


def multipliers(clusters, *, lanes=4, each=3):
    """Return the multipliers of an accelerator, `each` of a requantiser or skipper."""
    return [
        *(
            f"dut.cluster_{cluster}.group_0.lane_{lane}.accumulator._031__MULT18X18D_P9"
            for cluster in range(clusters)
            for lane in range(lanes)
        ),
        *(
            f"dut.drain$7.lane_{lane}.requantiser_{cluster}._00{number}__MULT18X18D_P9"
            for lane in range(lanes)
            for cluster in range(clusters)
            for number in range(each)
        ),
        *(
            f"dut.skipper_{cluster}.tokens._06{number}__MULT18X18D_P9"
            for cluster in range(clusters)
            for number in range(each)
        ),
    ]


def place(site):
    found = re.fullmatch(r"X(\d+)/Y(\d+)/(?:EBR|MULT18_)([0-5])", site)
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_every_memory_has_a_site_of_its_own(clusters):
    cells = names(clusters)
    sites = block_ram_sites(cells, clusters=clusters)
    assert sorted(sites) == sorted(cells)
    assert len(set(sites.values())) == len(cells)


@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_memories_of_a_lane_are_neighbours(clusters):
    sites = block_ram_sites(names(clusters), clusters=clusters)
    for cluster in range(clusters):
        for lane in range(4):
            prefix = f"dut.cluster_{cluster}.group_0.lane_{lane}."
            places = [place(site) for name, site in sites.items() if name.startswith(prefix)]
            columns, rows = zip(*places, strict=True)
            assert max(columns) - min(columns) < 20
            assert len(set(rows)) == 1


def test_clusters_have_a_quarter_of_the_device_each_and_banks_lie_inside():
    sites = block_ram_sites(names(4), clusters=4)
    for cluster in range(4):
        lanes = [place(s) for name, s in sites.items() if f".cluster_{cluster}." in name]
        banks = [place(s) for name, s in sites.items() if f".bank_{cluster}." in name]
        right, lower = cluster % 2, cluster // 2
        for column, row in (*lanes, *banks):
            assert (column > 66) == right
            assert (row > 58) == lower
        distance = [[abs(column - 62) for column, _ in part] for part in (lanes, banks)]
        assert min(distance[0]) >= max(distance[1])


def test_the_order_of_names_does_not_matter():
    cells = names(4)
    assert block_ram_sites(reversed(cells), clusters=4) == block_ram_sites(cells, clusters=4)


@pytest.mark.parametrize(("clusters", "lanes"), [(4, 6), (8, 4)])
def test_a_design_that_is_too_large_has_no_sites(clusters, lanes):
    assert block_ram_sites(names(clusters, lanes=lanes), clusters=clusters) == {}


def test_small_designs_lie_in_the_middle():
    sites = block_ram_sites(names(1, lanes=1, contexts=1), clusters=1)
    assert all(abs(place(site)[0] - 62) <= 30 for site in sites.values())


@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_every_multiplier_has_a_site_of_its_own(clusters):
    cells = multipliers(clusters)
    sites = multiplier_sites(cells, block_ram_sites(names(clusters), clusters=clusters))
    assert sorted(sites) == sorted(cells)
    assert len(set(sites.values())) == len(cells)
    for site in sites.values():
        offset = int(site.rpartition("_")[2])
        assert place(site)[0] - offset in (*range(4, 59, 9), *range(69, 115, 9))
        assert place(site)[1] in (10, 34, 58)


def test_multipliers_of_a_part_are_neighbours():
    sites = multiplier_sites(multipliers(4), block_ram_sites(names(4), clusters=4))
    for cluster in range(4):
        for part in (f".requantiser_{cluster}.", f".skipper_{cluster}."):
            for lane in range(4):
                found = [
                    place(site)
                    for name, site in sites.items()
                    if part in name and (f".lane_{lane}." in name or "skipper" in part)
                ]
                columns, rows = zip(*found, strict=True)
                assert max(columns) - min(columns) < 6
                assert len(set(rows)) == 1


def test_a_lane_multiplies_beside_its_memories():
    memories = block_ram_sites(names(4), clusters=4)
    sites = multiplier_sites(multipliers(4), memories)
    for name, site in sites.items():
        if ".accumulator." in name:
            lane = name.partition(".accumulator.")[0]
            column, row = place(memories[f"{lane}.accumulator.rows_0.rows.0.0"])
            assert abs(place(site)[0] - column) < 20
            assert abs(place(site)[1] - row) <= 24


def test_multipliers_of_a_part_without_memories_are_left_to_the_placer():
    memories = block_ram_sites(names(1), clusters=1)
    cells = multipliers(1)
    assert "other.a_MULT18X18D_P9" not in multiplier_sites(["other.a_MULT18X18D_P9"], memories)
    assert sorted(multiplier_sites([*cells, "other.a"], memories)) == sorted(cells)


@pytest.mark.parametrize("size", [{"lanes": 20, "each": 1}, {"lanes": 16}, {"each": 5}])
def test_more_multipliers_than_fit_have_no_sites(size):
    cells = multipliers(4, **size)
    owners = {name.rpartition(".")[0].rpartition(".")[0] for name in cells}
    memories = {f"{owner}.memory": "X4/Y22/EBR0" for owner in owners}
    assert multiplier_sites(cells, memories) == {}


def test_without_block_rams_no_multiplier_has_a_site():
    assert multiplier_sites(multipliers(4), {}) == {}
