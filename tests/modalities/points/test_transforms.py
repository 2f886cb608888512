"""What a cloud becomes before the model sees it: subset, unit sphere, stretch, shift and rotation."""

import numpy as np
import pytest
import torch

from maskkit.modalities.points.transforms import eval_transform, train_transform

XYZ = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class TestTransforms:
    cloud = torch.from_numpy(XYZ) * 7 + 3

    def test_the_authors_order_and_ranges(self):
        """Random subset, then the unit sphere, then a stretch and a shift of each axis (docs/official.md P6)."""
        for seed in range(20):
            changed, plain = (train_transform(30, augment=a)(self.cloud, rng(seed)) for a in (True, False))
            assert plain.mean(dim=0).abs().max() < 1e-5 and plain.norm(dim=1).max() == pytest.approx(1, abs=1e-5)
            factor = (changed[1:] - changed[0]) / (plain[1:] - plain[0])
            torch.testing.assert_close(factor, factor.median(dim=0).values.expand(29, 3), atol=2e-3, rtol=2e-3)
            assert (factor.median(dim=0).values > 0.666).all() and (factor.median(dim=0).values < 1.501).all()
            assert (changed - plain * factor.median(dim=0).values).abs().max() < 0.201

    def test_moving_and_scaling_a_cloud_change_nothing_after_the_unit_sphere(self):
        one, other = (eval_transform(50)(c, rng()) for c in (self.cloud, self.cloud * 5 - 100))
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)

    def test_small_clouds_keep_every_point_and_are_filled_up_with_nan(self):
        cloud = torch.cat([self.cloud, torch.arange(50.0)[:, None]], dim=1)
        for transform in (eval_transform(64), train_transform(64, rotate="all")):
            got = transform(cloud, rng())
            assert got.shape == (64, 4) and got[50:].isnan().all() and len(got[:50, 3].unique()) == 50
        with pytest.raises(ValueError, match="15 points, fewer than 16"):
            eval_transform(64)(cloud[:15], rng())
        assert eval_transform(8)(cloud[:8], rng()).shape == (8, 4)

    @pytest.mark.parametrize("at", [3, 6])
    def test_normals_stay_upright_on_what_is_turned_and_stretched(self, at):
        """Of points on a sphere, stretched to an ellipsoid: there the normal is known, wherever its columns are."""
        sphere = torch.nn.functional.normalize(torch.randn(2000, 3, generator=rng()), dim=1)
        columns = {3: [sphere, sphere, torch.rand(2000, 3)], 6: [sphere, torch.rand(2000, 3), sphere]}[at]
        for rotate in ("none", "all"):
            changed = train_transform(2000, rotate=rotate, normals_at=at)(torch.cat(columns, dim=1), rng(1))
            xyz, normals = changed[:, :3], changed[:, at : at + 3]
            torch.testing.assert_close(normals.norm(dim=1), torch.ones(2000))
            near = torch.cdist(xyz, xyz).topk(6, largest=False).indices[:, 1:]
            away = torch.nn.functional.normalize(xyz[near] - xyz[:, None], dim=2)
            assert (away * normals[:, None]).sum(dim=2).abs().mean() < 0.06  # neighbours lie in the tangent plane
            assert ((xyz - xyz.mean(dim=0)) * normals).sum(dim=1).min() > 0  # they point outwards

    @pytest.mark.parametrize("axis", ["x", "y", "z", "all"])
    def test_rotations_keep_distances_and_turn_normals_along(self, axis):
        both = torch.cat([self.cloud, self.cloud, torch.ones(50, 1)], dim=1)
        turned = train_transform(50, augment=False, rotate=axis, normals_at=3)(both, rng())
        plain = train_transform(50, augment=False)(both, rng())
        torch.testing.assert_close(
            torch.cdist(turned[:, :3], turned[:, :3]), torch.cdist(plain[:, :3], plain[:, :3]), atol=2e-3, rtol=0
        )
        turn = torch.linalg.lstsq(plain[:, :3], turned[:, :3]).solution
        torch.testing.assert_close(plain[:, 3:6] @ turn, turned[:, 3:6], atol=1e-3, rtol=1e-3)
        assert torch.linalg.det(turn) == pytest.approx(1, abs=1e-3) and not torch.allclose(
            turn, torch.eye(3), atol=0.01
        )
        if axis != "all":
            still = "xyz".index(axis)
            torch.testing.assert_close(turned[:, still], plain[:, still], atol=1e-5, rtol=0)
