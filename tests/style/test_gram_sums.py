import pytest
import torch
from small_vgg import composed, random_pixels, relative_error, small_convs

from tiler.geometry import Rect, TileGrid
from tiler.style.backbone import Backbone
from tiler.style.grams import GramSums, StyleTarget, measure_pixels
from tiler.style.guides import EVERYWHERE, Guides, level_cells
from tiler.style.layers import statistics_halo, stride_of

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SIZES = [(64, 48), (50, 33), (17, 100), (7, 5), (1, 40)]


@pytest.fixture(scope="module")
def backbone():
    return Backbone(small_convs(), LAYERS, dtype=torch.float64)


def gram_sums(features):
    matrix = features.flatten(1)
    return matrix @ matrix.T


def measured_by_tiles(backbone, pixels, tile):
    """Sums over all cores, each measured from its own read area alone."""
    grid = TileGrid.balanced(*pixels.shape[1:], tile, 0, statistics_halo(LAYERS))
    return [
        measure_pixels(backbone, pixels[:, *each.read.slices], LAYERS, each.core.relative_to(each.read))
        for each in grid
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile", [16, 32])
def test_sums_of_disjoint_tiles_add_to_the_whole(backbone, size, tile):
    pixels = random_pixels(*size)
    parts = measured_by_tiles(backbone, pixels, tile)
    assert len(parts) > 1 or max(size) <= tile
    features = composed(small_convs(), pixels)
    for layer in LAYERS:
        [total] = sum(part.sums[layer] for part in parts)
        assert relative_error(total, gram_sums(features[layer])) < 1e-12
        assert (
            sum(part.weights[layer].item() for part in parts) == level_cells(layer, *size) == features[layer][0].numel()
        )


def test_a_box_counts_its_own_cells_only(backbone):
    pixels, box = random_pixels(64, 48), Rect(16, 32, 48, 48)
    sums = measure_pixels(backbone, pixels, ("relu3_1",), box)
    inner = composed(small_convs(), pixels)["relu3_1"][:, 4:12, 8:12]
    assert sums.weights["relu3_1"].tolist() == [32]
    assert relative_error(sums.sums["relu3_1"][0], gram_sums(inner)) < 1e-12
    assert relative_error(sums.normalised()["relu3_1"][0], gram_sums(inner) / 32) < 1e-12


@pytest.mark.parametrize("guided", [False, True])
def test_sums_of_the_features_follow_as_a_row_more(backbone, guided):
    pixels, box = random_pixels(64, 48), Rect(16, 32, 48, 48)
    plane = torch.linspace(0, 1, 48, dtype=torch.float64).expand(64, 48)
    guides = Guides.of((0, 1), torch.stack([plane, 1 - plane]), LAYERS) if guided else EVERYWHERE
    found = measure_pixels(backbone, pixels, LAYERS, box, guides, means=True)
    plain = measure_pixels(backbone, pixels, LAYERS, box, guides)
    for layer in LAYERS:
        cells, c = box.strided(stride_of(layer)), len(plain.sums[layer][0])
        inner = composed(small_convs(), pixels)[layer][(slice(None), *cells.slices)]
        by_region = (
            inner[None] if guides.at(layer) is None else guides.at(layer)[(slice(None), *cells.slices)][:, None] * inner
        )
        assert found.sums[layer].shape == (1 + guided, c + 1, c)
        assert torch.equal(found.sums[layer][:, :c], plain.sums[layer])
        assert relative_error(found.sums[layer][:, c], by_region.sum((2, 3))) < 1e-12
        means = by_region.sum((2, 3)) / found.weights[layer][:, None]
        assert relative_error(found.normalised()[layer][:, c], means) < 1e-12


@pytest.mark.parametrize(
    ("regions", "weights"), [({"relu1_1": 2}, {"relu1_1": 1}), ({"relu1_1": 1}, {}), ({}, {"relu1_1": 1})]
)
def test_sums_without_a_weight_for_each_region_are_refused(regions, weights):
    sums = {layer: torch.zeros(count, 4, 4) for layer, count in regions.items()}
    with pytest.raises(ValueError, match="each Gram sum needs one"):
        GramSums(sums, {layer: torch.ones(count) for layer, count in weights.items()})


ROUGH = [(0.02, 0.3), (0.06, 0.1)]


def random_grams(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: gram_sums(torch.rand(c, 9, generator=generator, dtype=torch.float64))
        for layer, c in (("relu1_1", 4), ("relu4_2", 6))
    }


def test_blended_is_the_weighted_mean():
    one, two = random_grams(1), random_grams(2)
    target = StyleTarget.blended([one, two], ROUGH, [3, 1])
    assert target.grams.keys() == target.energies.keys() == {"relu1_1", "relu4_2"}
    for layer, gram in target.grams.items():
        assert relative_error(gram, 0.75 * one[layer] + 0.25 * two[layer]) < 1e-14
        mean_square = sum(float(gram[i, i]) for i in range(len(gram))) / len(gram)
        assert target.energies[layer] == pytest.approx(mean_square, rel=1e-12)
    assert [units.roughness for units in target.units] == [pytest.approx((0.03, 0.25))]


def test_scaling_all_shares_changes_nothing():
    grams = [random_grams(1), random_grams(2)]
    one, two = StyleTarget.blended(grams, ROUGH, [3, 1]), StyleTarget.blended(grams, ROUGH, [0.3, 0.1])
    assert relative_error(one.grams["relu4_2"], two.grams["relu4_2"]) < 1e-14


def test_loss_of_the_blend_differs_from_the_blend_of_losses_by_a_constant():
    styles, shares = [random_grams(seed)["relu4_2"] for seed in (1, 2, 3)], [0.5, 0.2, 0.3]
    blend = StyleTarget.blended([{"relu4_2": gram} for gram in styles], [(1, 1)] * len(styles), shares).grams["relu4_2"]

    def difference(gram):
        single = sum(share * (gram - style).square().sum() for share, style in zip(shares, styles, strict=True))
        return float(single - (gram - blend).square().sum())

    first = difference(random_grams(7)["relu4_2"])
    assert first > 1
    assert difference(random_grams(8)["relu4_2"]) == pytest.approx(first, rel=1e-12)


def test_every_style_needs_a_share():
    with pytest.raises(ValueError, match="zip"):
        StyleTarget.blended([random_grams(1), random_grams(2)], ROUGH, [1.0])


def test_layers_may_weigh_styles_differently():
    one, two = random_grams(1), random_grams(2)
    target = StyleTarget.blended([one, two], ROUGH, [3, 1], [{"relu1_1": 1 / 3}, {"relu4_2": 0.0}])
    assert relative_error(target.grams["relu1_1"], (one["relu1_1"] + two["relu1_1"]) / 2) < 1e-14
    assert torch.equal(target.grams["relu4_2"], one["relu4_2"])


def test_joined_targets_keep_their_order_and_share_their_energies():
    single = [
        StyleTarget.blended([{"relu1_1": torch.diag(torch.tensor([a, b]))[None]}], [rough], [1])
        for (a, b), rough in zip(((1.0, 3), (4, 6)), ROUGH, strict=True)
    ]
    joined = StyleTarget.joined(single, [0.75, 0.25])
    assert joined.grams["relu1_1"].diagonal(0, 1, 2).tolist() == [[1, 3], [4, 6]]
    assert joined.energies == {"relu1_1": 0.75 * 2 + 0.25 * 5}
    assert [units.roughness for units in joined.units] == ROUGH
    assert [units.energies for units in joined.units] == [{"relu1_1": 2.0}, {"relu1_1": 5.0}]


def test_every_region_is_divided_by_its_own_weight():
    sums = GramSums({"relu1_1": torch.ones(2, 3, 3)}, {"relu1_1": torch.tensor([4.0, 0.5])})
    assert sums.normalised()["relu1_1"][:, 0, 0].tolist() == [0.25, 2]
