import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiler.geometry import Level, level_sizes

EDGE = st.one_of(st.integers(1, 300), st.integers(1, 2**20))


MULTIPLE = st.sampled_from([1, 2, 16])


@given(EDGE, EDGE, st.integers(1, 2000), st.none() | st.integers(1, 24), st.tuples(MULTIPLE, MULTIPLE))
def test_sizes_grow_to_the_poster(height, width, min_edge, levels, multiples):
    sizes = level_sizes(height, width, min_edge, levels, multiples)
    if multiples == (1, 1):
        assert sizes[-1] == (height, width)
    assert sizes == sorted(sizes)
    assert [w for _, w in sizes] == sorted(w for _, w in sizes)
    assert min(min(size) for size in sizes) >= 1
    for n, size in enumerate(reversed(sizes)):
        for edge, whole, multiple in zip(size, (height, width), multiples, strict=True):
            assert edge % multiple == 0
            assert abs(edge - max(multiple, whole / 2**n)) <= multiple / 2


@given(EDGE, EDGE, st.integers(1, 2000))
def test_min_edge_bounds_the_coarsest_level(height, width, min_edge):
    sizes = level_sizes(height, width, min_edge)
    assert len(sizes) == 1 or max(sizes[0]) >= min_edge
    assert max(height, width) / 2 ** len(sizes) < min_edge


@given(EDGE, EDGE, st.integers(1, 2000), st.integers(1, 24))
def test_a_number_of_levels_overrides_min_edge(height, width, min_edge, levels):
    assert len(level_sizes(height, width, min_edge, levels)) == levels


def test_examples():
    assert level_sizes(1024, 512) == [(128, 64), (256, 128), (512, 256), (1024, 512)]
    assert level_sizes(1, 4096, 1024) == [(1, 1024), (1, 2048), (1, 4096)]
    assert level_sizes(100, 90) == [(100, 90)]
    assert level_sizes(7, 5, levels=3) == [(2, 1), (4, 2), (7, 5)]
    assert level_sizes(333, 1000, 200, multiples=(1, 16)) == [(83, 256), (166, 496), (333, 992)]


@pytest.mark.parametrize(
    "arguments", [(0, 5), (5, 0), (5, -1), (5, 5, 0), (5, 5, 1, 0), (5, 5, 1, None, (0, 1)), (5, 5, 1, None, (1, -1))]
)
def test_sizes_without_end_or_pixels_are_refused(arguments):
    with pytest.raises(ValueError, match="allowed"):
        level_sizes(*arguments)


@pytest.mark.parametrize(("height", "width", "steps"), [(0, 5, 1), (5, 0, 1), (-1, 5, 1), (5, 5, -1)])
def test_levels_without_pixels_or_with_negative_steps_are_refused(height, width, steps):
    with pytest.raises(ValueError, match="level 3"):
        Level(3, height, width, steps, 0.1)
