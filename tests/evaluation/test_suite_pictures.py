"""Pictures beside result files: which there are, and which way up the latent plane is."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.training.tiny import tiny_config

import hebm
from hebm.build import build_model
from hebm.errors import LatentShapeError
from hebm.evaluation import evaluate
from hebm.evaluation.pictures import plane_images
from hebm.evaluation.suite_pictures import write_suite_pictures
from hebm.latents import Latents
from hebm.training import Run

TWO = "model.levels=[{latents: 1, channels: 16}, {latents: 1, channels: 8}]"


class Plane(torch.nn.Module):
    """A stand-in whose images are its latents."""

    level_dims = (1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def decode(self, latents: Latents) -> torch.Tensor:
        return torch.cat(latents, 1)[:, :, None, None]


def test_the_plane_grows_to_the_right_and_upwards() -> None:
    """As a scatter of the same latents does: the top level across, the other up."""
    images = plane_images(Plane(), values=torch.tensor([-1.0, 0.0, 2.0]))
    assert images[:, 0, 0, 0].tolist() == [-1, 0, 2] * 3
    assert images[:, 1, 0, 0].tolist() == [2, 2, 2, 0, 0, 0, -1, -1, -1]


def test_a_plane_needs_two_latents_in_all() -> None:
    """On whichever levels they are."""
    with pytest.raises(LatentShapeError, match=r"levels have \[3, 2\]"):
        plane_images(build_model(tiny_config()), values=torch.zeros(2))
    one_level = build_model(tiny_config("model.levels=[{latents: 2, channels: 16}]"))
    assert plane_images(one_level, values=torch.zeros(2)).shape == (4, 1, 8, 8)


def test_hierarchy_has_every_level_redrawn_both_ways(tmp_path: Path) -> None:
    """Six rows of a sample and ten redraws, 64 pixels a cell, 2 between."""
    files = write_suite_pictures(tmp_path, "hierarchy", build_model(tiny_config()), seed=0)
    names = [f"hierarchy-level-{level}-{mode}.png" for level in (0, 1) for mode in ("conditional", "pasted")]
    assert [path.name for path in files] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(files[0]) as image:
        assert image.size == (11 * 66 - 2, 6 * 66 - 2)
    assert len({path.read_bytes() for path in files}) == 4


def test_aggregate_has_a_plane_where_there_is_one_and_samples_have_no_picture(tmp_path: Path) -> None:
    """Nothing is written otherwise."""
    assert write_suite_pictures(tmp_path, "aggregate", build_model(tiny_config()), seed=0) == []
    assert write_suite_pictures(tmp_path, "samples", build_model(tiny_config()), seed=0) == []
    assert not list(tmp_path.iterdir())
    (path,) = write_suite_pictures(tmp_path, "aggregate", build_model(tiny_config(TWO)), seed=0)
    assert path.name == "aggregate-plane.png"


def test_evaluating_leaves_the_pictures_beside_the_result(tmp_path: Path) -> None:
    """In the run's folder of result files."""
    config = tiny_config(TWO, "trainer.max_steps=2", "detection.calibrate_after_training=false")
    hebm.train(config, run_dir=tmp_path / "run")
    small = ["evaluation.aggregate.n_resamples=2", "evaluation.aggregate.n_long_steps=2"]
    path = evaluate(Run(tmp_path / "run"), "aggregate", overrides=small)
    assert sorted(p.name for p in path.parent.iterdir()) == ["aggregate-plane.png", "aggregate.json"]
