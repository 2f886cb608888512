"""A survey's mean and variance do not depend on how the numbers come, and the parts of a mixture count by weight."""

import pytest
import torch

from maskkit.data.source import BadSampleError, spread_evenly
from maskkit.data.survey import Moments, look, look_at_parts, measure_parts


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_those_of_all_numbers_at_once(offset):
    values = torch.randn(3, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + offset
    moments = Moments(3)
    for batch in values.split([1, 7, 500, 492], dim=1):
        moments.add(batch)
    assert moments.count == 1000
    torch.testing.assert_close(moments.mean, values.mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.variance, values.var(1, correction=0), rtol=1e-8, atol=0)


def test_float32_is_added_up_in_float64():
    moments = Moments(1)
    for _ in range(100):
        moments.add(torch.full((1, 1000), 16777217.0 / 3))
    assert moments.variance.item() == 0.0


def test_the_parts_of_a_mixture_count_by_weight_not_by_length():
    numbers = {"a": [0.0] * 1000, "b": [4.0] * 10}
    mean, std = measure_parts("3*a + 1*b", 1, lambda path: [torch.tensor([numbers[path]])])
    assert mean == (1.0,) and std == pytest.approx((3.0**0.5,))
    assert measure_parts("a", 1, lambda path: [torch.tensor([numbers[path]])]) == ((0.0,), (1.0,))  # constant


def test_the_part_with_the_largest_weight_stands_for_all():
    assert look_at_parts("0.2*a + 0.5*b + 0.3*c", str.upper) == ("B", ["A", "B", "C"])
    assert look_at_parts("0.5*a + 0.5*b", str.upper) == ("A", ["A", "B"])
    assert look_at_parts("a b", str.upper) == ("A B", ["A B"])


def test_a_look_is_spread_and_passes_over_bad_samples():
    class Ten:
        def spread(self, count):
            return spread_evenly(10, count)

    def read(index):
        if index in (0, 9):
            raise BadSampleError(str(index), "broken")
        return index

    assert look(Ten(), 4, lambda index: index) == [0, 3, 6, 9] and look(Ten(), 4, read) == [3, 6]
    with pytest.raises(ValueError, match="none of 2 samples can be read; the first: 0: broken"):
        look(Ten(), 2, read)
