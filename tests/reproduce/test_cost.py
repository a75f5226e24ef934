"""What a run cost: seconds from its log, parameters from what it wrote of itself."""

import json
from pathlib import Path

import pytest
import yaml

from hebm.config import load_config
from hebm.reproduce.cost import training_cost
from hebm.training import Run


def test_seconds_are_those_of_all_phases_and_parameters_those_of_all_parts(tmp_path: Path) -> None:
    """100 steps of 20 images and 100 of 50 latents at 1,000 a second, 3 s of fitting: 2 + 5 + 3 s."""
    config = load_config("digits", ["trainer.batch_size=20", "trainer.energy_only_batch_size=50"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    lines = [
        {"step": 100, "images_per_s": 1000.0, "phase": "joint"},
        {"event": "prior_fitted", "step": 100, "duration_s": 3.0},
        {"step": 200, "images_per_s": 1000.0, "phase": "energy"},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sizes = {"generator": 1, "encoder": 20, "prior": 300, "energy": 250}
    (tmp_path / "environment.json").write_text(json.dumps({"n_parameters": sizes}))
    cost = training_cost(Run(tmp_path))
    assert cost == {"training_s": pytest.approx(10.0), "n_parameters": 321}
