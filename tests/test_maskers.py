"""One law for every masker, and the authors' arithmetic for the counts."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskkit import maskers
from maskkit.maskers import (
    BlockMasker,
    ByScore,
    FrameMasker,
    Several,
    Stripes,
    TubeMasker,
    Uniform,
    UnitMasker,
    count_visible,
)
from maskkit.parts import part
from maskkit.step import Step
from maskkit.testing import check_masker
from maskkit.types import Mask, Tokens


def tokens(batch: int, num_tokens: int, valid: torch.Tensor | None = None) -> Tokens:
    pos = torch.arange(float(num_tokens))[None, :, None]
    return Tokens(x=torch.zeros(batch, num_tokens, 2), pos=pos, valid=valid, grid=(num_tokens,))


# Each masker joins this list, so no law is forgotten for a new one.
MASKERS = [Uniform(ratio=ratio, rounding=rounding) for ratio in (0.3, 0.75, 0.9) for rounding in ("keep", "hide")]
MASKERS += [Stripes(ratios=(ratio,), rounding=rounding) for ratio in (0.3, 0.8) for rounding in ("keep", "hide")]


@pytest.mark.parametrize("masker", MASKERS, ids=repr)
@pytest.mark.parametrize("num_tokens", [11, 64, 196])
def test_every_masker_keeps_the_laws(masker, num_tokens):
    check_masker(masker, tokens(3, num_tokens))


@pytest.mark.parametrize("masker", MASKERS, ids=repr)
def test_padding_is_neither_seen_nor_predicted(masker):
    valid = torch.arange(40)[None] < torch.tensor([[40], [25], [17]])
    mask = check_masker(masker, tokens(3, 40, valid))
    assert mask.visible.shape[1] + mask.hidden.shape[1] == 17  # the shortest sample sets the counts


# Counted by running the authors' own lines: MAE and Audio-MAE keep, VideoMAE and Point-MAE hide.
@pytest.mark.parametrize(
    ("num_tokens", "ratio", "keep", "hide"),
    [(196, 0.75, 49, 49), (512, 0.8, 102, 103), (64, 0.6, 25, 26), (100, 0.9, 9, 10), (196, 0.9, 19, 20)],
)
def test_counts_are_the_authors(num_tokens, ratio, keep, hide):
    assert count_visible(num_tokens, ratio, "keep") == keep
    assert count_visible(num_tokens, ratio, "hide") == hide
    mask = Uniform(ratio=ratio, rounding="keep")(tokens(2, num_tokens))
    assert mask.visible.shape == (2, keep) and mask.hidden.shape == (2, num_tokens - keep)


@given(st.integers(2, 3000), st.floats(0.01, 0.99), st.sampled_from(["keep", "hide"]))
def test_counts_round_as_stated_or_raise(num_tokens, ratio, rounding):
    try:
        visible = count_visible(num_tokens, ratio, rounding)
    except ValueError as error:
        assert "leaves no" in str(error)
        return
    hidden = num_tokens - visible
    exact = num_tokens * (1 - ratio) if rounding == "keep" else num_tokens * ratio
    assert 0 <= exact - (visible if rounding == "keep" else hidden) < 1
    assert visible > 0 and hidden > 0


def test_every_token_is_hidden_about_as_often():
    draws = Uniform(ratio=0.75)(tokens(4000, 16), torch.Generator().manual_seed(0))
    share = torch.bincount(draws.hidden.flatten(), minlength=16) / 4000
    assert (share - 0.75).abs().max() < 0.03  # four standard deviations of a binomial


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 1.5])
def test_a_ratio_outside_is_refused(ratio):
    with pytest.raises(ValueError, match=r"mask ratio must lie in \(0, 1\), got"):
        Uniform(ratio=ratio)


def test_no_token_left_is_refused():
    with pytest.raises(ValueError, match="mask ratio 0.9 of 4 tokens leaves no visible token"):
        Uniform(ratio=0.9)(tokens(2, 4))
    with pytest.raises(ValueError, match="mask ratio 0.1 of 4 tokens leaves no hidden token"):
        Uniform(ratio=0.1, rounding="hide")(tokens(2, 4))


@given(st.integers(1, 5), st.integers(2, 30), st.data())
def test_hide_shows_the_rest(batch, num_tokens, data):
    num_hidden = data.draw(st.integers(1, num_tokens - 1))
    hidden = torch.rand(batch, num_tokens).argsort(dim=1)[:, :num_hidden]
    mask = Mask.hide(hidden, num_tokens)
    mask.check(tokens(batch, num_tokens))
    assert torch.equal(
        torch.cat([mask.visible, mask.hidden], 1).sort(1).values, torch.arange(num_tokens).expand(batch, -1)
    )


@pytest.mark.parametrize(
    ("visible", "hidden", "message"),
    [
        ([[0, 1]], [[1, 2]], "names token 1 of sample 0 more than once"),
        ([[0, 4]], [[1, 2]], r"mask.visible must lie in \[0, 4\), got \[0, 4\]"),
        ([[0]], [[-1]], r"mask.hidden must lie in \[0, 4\), got \[-1, -1\]"),
        ([[0], [0]], [[1], [1]], r"mask.visible must be \[1 K\]"),
        ([[True, False]], [[1]], "boolean mask is no Mask"),
        ([[1]], [[]], "names no token"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(visible, hidden, message):
    with pytest.raises(ValueError, match=message):
        Mask(torch.tensor(visible), torch.tensor(hidden)).check(tokens(1, 4))


def spectrogram(batch: int, rows: int, columns: int, lengths: list[int] | None = None) -> Tokens:
    """Tokens in rows of time and columns of frequency, some clips shorter than the batch."""
    pos = torch.cartesian_prod(torch.arange(float(rows)), torch.arange(float(columns)))[None]
    valid = None if lengths is None else (pos[..., 0] < torch.tensor(lengths)[:, None])
    return Tokens(x=torch.zeros(batch, rows * columns, 2), pos=pos, valid=valid, grid=(rows, columns))


# int(64 x 0.2) = 12 rows of 8, 64 x int(8 x 0.2) = 64 x 1, and what models_mae.py keeps: int(64 x 0.3) x int(8 x 0.7).
@pytest.mark.parametrize(
    ("ratios", "rows", "columns"), [((0.8, 0.0), 12, 8), ((0.0, 0.8), 64, 1), ((0.7, 0.3), 19, 5), ((0.6, 0.5), 25, 4)]
)
def test_stripes_hide_whole_rows_and_columns(ratios, rows, columns):
    mask = check_masker(Stripes(ratios=ratios), spectrogram(3, 64, 8))
    assert mask.visible.shape == (3, rows * columns) and mask.hidden.shape == (3, 512 - rows * columns)
    for row in mask.visible:
        seen = torch.zeros(512, dtype=torch.bool).index_fill(0, row, True).view(64, 8)
        assert seen.any(dim=1).sum() == rows and seen.any(dim=0).sum() == columns
        assert torch.equal(seen, seen.any(dim=1, keepdim=True) & seen.any(dim=0, keepdim=True))


def test_every_row_is_striped_about_as_often():
    mask = Stripes(ratios=(0.75, 0.0))(spectrogram(2000, 16, 4), torch.Generator().manual_seed(0))
    share = torch.bincount(mask.hidden.flatten() // 4, minlength=16) / 8000
    assert (share - 0.75).abs().max() < 0.04


@pytest.mark.parametrize("ratios", [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_stripes_leave_padding_alone(ratios):
    tokens = spectrogram(3, 12, 4, lengths=[12, 9, 6])
    mask = check_masker(Stripes(ratios=ratios), tokens)
    assert mask.visible.shape[1] + mask.hidden.shape[1] == 6 * 4  # the shortest sample sets the counts
    assert tokens.valid.gather(1, torch.cat([mask.visible, mask.hidden], dim=1)).all()
    assert any((row // 4 >= 6).any() for row in mask.hidden[:1])  # the long one is used to its end


def test_stripes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="a share for at least one axis"):
        Stripes(ratios=(0.0, 0.0))
    with pytest.raises(ValueError, match=r"mask ratio must lie in \(0, 1\)"):
        Stripes(ratios=(0.5, 1.0))
    with pytest.raises(ValueError, match="stripes along 2 axes need tokens on such a grid"):
        Stripes(ratios=(0.5, 0.5))(tokens(2, 12))
    holes = spectrogram(1, 4, 4).replace(valid=torch.tensor([[True] * 5 + [False] * 6 + [True] * 5]))
    with pytest.raises(ValueError, match="padding behind the sample along whole axes"):
        Stripes(ratios=(0.5, 0.0))(holes)


def on_grid(batch: int, *grid: int) -> Tokens:
    count = int(torch.tensor(grid).prod())
    return Tokens(x=torch.zeros(batch, count, 2), pos=torch.zeros(1, count, len(grid)), grid=grid)


@pytest.mark.parametrize("masker", [TubeMasker(ratio=0.75), TubeMasker(ratio=0.5, rounding="keep")], ids=repr)
@pytest.mark.parametrize("grid", [(8, 14, 14), (3, 5, 7), (4, 9), (2, 3, 4, 5)])
def test_tubes_hide_the_same_cells_in_every_slot(masker, grid):
    mask = check_masker(masker, on_grid(3, *grid))
    cells = int(torch.tensor(grid[1:]).prod())
    for index in (mask.visible, mask.hidden):
        slots = (index // cells).view(3, grid[0], -1)
        assert (slots == torch.arange(grid[0])[:, None]).all()
        assert ((index % cells).view(3, grid[0], -1) == (index % cells).view(3, grid[0], -1)[:, :1]).all()
    assert mask.visible.shape[1] == grid[0] * count_visible(cells, masker.ratio, masker.rounding)


def test_tube_counts_are_the_authors():
    mask = TubeMasker(ratio=0.9)(on_grid(2, 8, 14, 14))
    assert mask.visible.shape == (2, 160) and mask.hidden.shape == (2, 1408)
    assert not torch.equal(mask.visible[0], mask.visible[1])  # each sample has its own


@pytest.mark.parametrize("grid", [(8, 14, 14), (5, 6)])
def test_frames_hide_whole_slots(grid):
    mask = check_masker(FrameMasker(ratio=0.75), on_grid(3, *grid))
    cells, slots = int(torch.tensor(grid[1:]).prod()), grid[0]
    assert mask.hidden.shape[1] == int(0.75 * slots) * cells
    for row in mask.hidden:
        assert torch.bincount(row // cells).max() == cells and set(torch.bincount(row // cells).tolist()) <= {0, cells}


@pytest.mark.parametrize("masker", [TubeMasker(), FrameMasker()])
def test_tubes_and_frames_need_a_whole_grid(masker):
    valid = torch.ones(2, 24, dtype=torch.bool)
    for bad in (on_grid(2, 2, 3, 4).replace(valid=valid), on_grid(2, 2, 3, 4).replace(grid=None)):
        with pytest.raises(ValueError, match="needs tokens that fill a grid"):
            masker(bad)


@pytest.mark.parametrize("masker", [Uniform(ratio=0.9), Stripes(ratios=(0.9,)), BlockMasker(ratio=0.9)], ids=repr)
def test_a_short_sample_in_a_padded_batch_leaves_one_token_of_each_kind(masker):
    mask = check_masker(masker, tokens(2, 40, torch.arange(40)[None] < torch.tensor([[40], [3]])))
    assert mask.visible.shape[1] == 1 and mask.hidden.shape[1] == 2
    with pytest.raises(ValueError, match="a mask needs two tokens, the shortest sample of the batch has 1"):
        masker(tokens(2, 40, torch.arange(40)[None] < torch.tensor([[40], [1]])))


def test_stripes_need_padding_behind_the_sample():
    with pytest.raises(ValueError, match="padding behind"):
        Stripes(ratios=(0.5,))(tokens(1, 10, torch.arange(10)[None] >= 4))


def in_units(index: torch.Tensor, grid: tuple[int, ...], unit: tuple[int, ...]) -> torch.Tensor:
    """Return how many tokens of each unit are named, [B units]."""
    named = torch.zeros(len(index), *grid).flatten(1).scatter(1, index, 1.0).view(-1, *grid)
    for axis, step in enumerate(unit):
        named = named.unflatten(1 + axis, (-1, step)).sum(dim=2 + axis)
    return named.flatten(1)


# data_simmim.py: ceil(7 x 7 x 0.6) = 30 units of 32 pixels, each of 2 x 2 patches of 16 pixels.
@pytest.mark.parametrize(
    ("grid", "unit", "ratio", "units", "hidden"),
    [
        ((14, 14), (2, 2), 0.6, 30, 120),
        ((4, 6), (2, 3), 0.5, 2, 12),
        ((4, 8, 8), (2, 4, 2), 0.3, 5, 80),
        ((12,), (1,), 0.7, 9, 9),
    ],
)
def test_units_are_hidden_whole(grid, unit, ratio, units, hidden):
    mask = check_masker(UnitMasker(unit=unit, ratio=ratio), on_grid(3, *grid))
    size = int(torch.tensor(unit).prod())
    counts = in_units(mask.hidden, grid, unit)
    assert mask.hidden.shape == (3, hidden) and mask.visible.shape[1] + hidden == int(torch.tensor(grid).prod())
    assert ((counts == 0) | (counts == size)).all() and ((counts == size).sum(dim=1) == units).all()


def test_every_unit_is_hidden_about_as_often():
    mask = UnitMasker(unit=(2, 2), ratio=0.5)(on_grid(2000, 8, 8), torch.Generator().manual_seed(0))
    share = (in_units(mask.hidden, (8, 8), (2, 2)) > 0).float().mean(dim=0)
    assert (share - 0.5).abs().max() < 0.05


def test_units_in_a_padded_batch_are_single_tokens():
    valid = torch.arange(16)[None] < torch.tensor([[16], [10]])
    mask = check_masker(UnitMasker(unit=(2, 2), ratio=0.6), on_grid(2, 4, 4).replace(valid=valid))
    assert mask.hidden.shape == (2, 6) and mask.visible.shape == (2, 4)


def test_units_that_do_not_fit_are_refused():
    for grid in ((6, 5), (6,), (6, 6, 6)):
        with pytest.raises(
            ValueError, match=r"units of \(2, 2\) tokens do not fill the grid .*; choose a unit that divides"
        ):
            UnitMasker(unit=(2, 2))(on_grid(2, *grid))
    with pytest.raises(ValueError, match="do not fill the grid None"):
        UnitMasker(unit=(2, 2))(on_grid(2, 4, 4).replace(grid=None))
    with pytest.raises(ValueError, match="mask ratio 0.9 of 4 units leaves none visible; choose smaller units"):
        UnitMasker(unit=(2, 2), ratio=0.9)(on_grid(2, 4, 4))
    for unit in ((), (2, 0)):
        with pytest.raises(ValueError, match="unit must be at least 1 token along each axis"):
            UnitMasker(unit=unit)


@part
@dataclass(frozen=True)
class FirstNumber:
    """A score of the contents."""

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> torch.Tensor:
        return tokens.x[..., 0]


def scored(count: int, num_tokens: int, progress: float = 0.0) -> Step:
    x = torch.rand(count, num_tokens, 2, generator=torch.Generator().manual_seed(3))
    return Step(None, x, tokens(count, num_tokens).replace(x=x), progress=progress)


def drawn(masker, step, seed=0):
    return masker(step.tokens, torch.Generator().manual_seed(seed), step=step)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_hidden_tokens_is_that_of_the_highest_scores(share):
    masker = ByScore(score=FirstNumber(), ratio=0.5, start_share=share, end_share=share)
    step = scored(3000, 16)
    check_masker(masker, step.tokens, step=step) if share < 1 else None
    mask = drawn(masker, step)
    assert mask.hidden.shape == (3000, 8) and torch.equal(mask.scores, step.tokens.x[..., 0])
    rank = mask.scores.argsort(dim=1, descending=True).argsort(dim=1)
    hidden = torch.zeros(3000, 16).scatter(1, mask.hidden, 1.0)
    often = torch.stack([hidden[rank == place].mean() for place in range(16)])
    forced = int(8 * share)
    assert (often[:forced] == 1).all()  # the highest, always
    if forced < 8:
        assert (often[forced:] - (8 - forced) / (16 - forced)).abs().max() < 0.05  # the others, evenly
    else:
        assert (often[8:] == 0).all()


def test_ratio_and_share_go_to_their_ends_over_the_run():
    masker = ByScore(score=FirstNumber(), ratio=0.25, end_ratio=0.75, start_share=0.0, end_share=1.0)
    assert masker.varies and not ByScore(score=FirstNumber()).varies
    assert not ByScore(score=FirstNumber(), ratio=0.5, end_ratio=0.5).varies
    counts = [drawn(masker, scored(2, 16, progress)).hidden.shape[1] for progress in (0, 0.25, 0.5, 1)]
    assert counts == [4, 6, 8, 12]
    late = scored(2, 16, progress=1.0)
    top = late.tokens.x[..., 0].argsort(dim=1, descending=True)[:, :12]
    assert torch.equal(drawn(masker, late).hidden.sort(dim=1).values, top.sort(dim=1).values)


def test_scores_leave_padding_alone():
    step = scored(2, 16)
    step.tokens = step.tokens.replace(valid=torch.arange(16)[None] < torch.tensor([[16], [8]]))
    mask = check_masker(ByScore(score=FirstNumber(), ratio=0.5, start_share=0.5), step.tokens, step=step)
    assert mask.hidden.shape == (2, 4) and mask.visible.shape == (2, 4)


@pytest.mark.parametrize("settings", [{"ratio": 1.0}, {"end_ratio": 0.0}, {"start_share": 1.1}, {"end_share": -0.1}])
def test_scores_with_impossible_shares_are_refused(settings):
    with pytest.raises(ValueError, match="must lie in"):
        ByScore(score=FirstNumber(), **settings)


def test_several_masks_come_one_after_another_from_one_generator():
    step = scored(3, 16)
    inner = (Uniform(ratio=0.5), Several(maskers=(ByScore(score=FirstNumber(), ratio=0.25),), times=2))
    masks = drawn(Several(maskers=inner, times=2), step)
    assert [mask.hidden.shape[1] for mask in masks] == [8, 8, 4, 4, 4, 4]
    assert not torch.equal(masks[0].hidden, masks[1].hidden)
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(masks[0].hidden, Uniform(ratio=0.5)(step.tokens, rng).hidden)
    assert torch.equal(masks[1].hidden, Uniform(ratio=0.5)(step.tokens, rng).hidden)
    check_masker(Several(maskers=(Uniform(), Uniform(ratio=0.5))), step.tokens, step=step)
    for settings in ({"maskers": ()}, {"maskers": (Uniform(),), "times": 0}):
        with pytest.raises(ValueError, match="several masks need a masker and times of at least 1"):
            Several(**settings)


SETTINGS = {"stripes": {"ratios": (0.5, 0.5)}, "unit": {"unit": (2, 2), "ratio": 0.5}}


@pytest.mark.parametrize("name", maskers.NAMES)
def test_maskers_are_made_by_name(name):
    masker = maskers.make(name, **SETTINGS.get(name, {"ratio": 0.5}))
    mask = check_masker(masker, spectrogram(3, 4, 8))
    assert 0 < mask.hidden.shape[1] < 32


def test_wrong_names_and_settings_of_maskers_are_one_line():
    assert set(maskers.NAMES) >= {"uniform", "stripes", "tube", "frame", "block", "unit"}
    with pytest.raises(ValueError, match="masker must be one of uniform, stripes, .*, got 'blob'"):
        maskers.make("blob")
    with pytest.raises(ValueError, match="masker 'uniform': got an unexpected keyword argument 'ration'"):
        maskers.make("uniform", ration=0.5)
    with pytest.raises(ValueError, match=r"mask ratio must lie in \(0, 1\), got 2"):
        maskers.make("uniform", ratio=2)
    with pytest.raises(AttributeError, match="module maskkit.maskers has no attribute 'NAME'"):
        _ = maskers.NAME
