"""Frame numbers, as the authors draw them and as times ask for them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskkit.modalities.video.sampling import Sampling

RNG = torch.Generator()


def times(count: int, rate: float = 25) -> np.ndarray:
    return np.arange(count) / rate


def written_out(count: int, frames: int, stride: int, start: int) -> list[int]:
    """What VideoMAE's kinetics.py does, step by step: numbers from 1, a step only while it stays below the length."""
    number, found = start + 1, []
    for _ in range(frames):
        found.append(number - 1)
        if number + stride < count:
            number += stride
    return found


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**31))
def test_every_so_many_frames_is_the_authors_rule(count, frames, stride, seed):
    numbers = Sampling(frames=frames, stride=stride)(times(count), torch.Generator().manual_seed(seed))
    room = count - frames * stride
    assert 0 <= numbers[0] <= max(room, 0)
    assert numbers.tolist() == written_out(count, frames, stride, int(numbers[0]))
    assert numbers.max() < count


def test_short_clips_repeat_their_last_frame():
    numbers = Sampling(frames=16, stride=4)(times(30), RNG).tolist()
    assert numbers == [0, 4, 8, 12, 16, 20, 24, 28] + [28] * 8
    assert Sampling(frames=4, stride=4)(times(1), RNG).tolist() == [0, 0, 0, 0]
    assert Sampling(frames=4, seconds=10.0)(times(3), RNG).tolist()[-1] == 2


def test_every_start_is_drawn():
    draws = [Sampling(frames=2, stride=2)(times(6), torch.Generator().manual_seed(s))[0] for s in range(100)]
    assert set(draws) == {0, 1, 2}  # randint(6 - 4 + 1)
    assert Sampling(frames=2, stride=2)(times(6), None)[0] == 1  # the middle


@given(st.integers(70, 300), st.sampled_from([24.0, 25.0, 29.97, 30.0, 50.0]), st.integers(0, 2**31))
def test_seconds_spread_as_mae_st_does(count, rate, seed):
    """decoder.py of mae_st: linspace(start, start + span x rate - 1), cut to whole numbers."""
    span = 1.0
    numbers = Sampling(frames=8, seconds=span)(times(count, rate), torch.Generator().manual_seed(seed))
    share = float(torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    start = share * max(count - span * rate, 0)
    theirs = np.linspace(start, start + span * rate - 1, 8).clip(0, count - 1)
    assert np.abs(numbers - np.floor(theirs)).max() <= 1 and (numbers - theirs <= 0.06).all()
    assert (numbers == np.floor(theirs + 1e-3 * rate)).all()


def test_frames_a_second_follow_the_clock_where_the_rate_varies():
    stamps = np.array([0.0, 0.1, 0.2, 0.3, 0.7, 1.1, 1.5, 1.9])
    assert Sampling(frames=4, fps=2)(stamps, None).tolist() == [0, 3, 4, 6]  # at 0.07, 0.57, 1.07 and 1.57 s
    assert Sampling(frames=5, fps=25)(times(100, 50), None).tolist() == [45, 47, 49, 51, 53]


@pytest.mark.parametrize("ways", [{}, {"stride": 2, "fps": 5.0}, {"stride": 0}, {"fps": -1.0}])
def test_one_way_of_spacing_is_asked_for(ways):
    with pytest.raises(ValueError, match="say how frames are spaced|must be positive"):
        Sampling(frames=4, **ways)
