"""What the benchmark on robustness makes of the values of several runs."""

import statistics

import pytest
from benchmarks.robustness import compare, measures, summarise


def results(without: list[float | None], with_defence: list[float | None]) -> dict[str, object]:
    latent = {
        "without_defence": {"auddc": {"per_image": without}},
        "with_defence": {"auddc": {"per_image": with_defence}},
    }
    found = {
        "ms_ssim_reconstruction": {"per_image": [0.5]},
        "latent_skl": {"per_image": [9.0]},
        "accuracy": None,
    }
    linf = [{"radius": 0.1, "without_defence": found, "with_defence": found}]
    return {"per_level": {"all": {"latent": latent, "linf": linf}}}


def test_means_and_both_errors_by_hand() -> None:
    """Runs count alike; se_pairs is that of the mean of the runs' means; a run with one value is left out."""
    found = summarise([[1.0, 3.0], [5.0, 6.0, None, 7.0], [100.0, None]])
    assert found["per_run"] == [2.0, 6.0]
    assert found["mean"] == 4.0
    assert found["se_runs"] == pytest.approx(statistics.stdev([2.0, 6.0]) / 2**0.5)
    assert found["se_pairs"] == pytest.approx((2 / 2 + 1 / 3) ** 0.5 / 2)
    assert summarise([[1.0, 3.0]])["se_runs"] is None
    assert summarise([[None]])["mean"] is None


def test_differences_are_paired_and_signed() -> None:
    """Joint with defence less twin without, image by image; the verdict follows the larger error."""
    twin = measures(results([0.1, 0.5, 0.9], [0.2, 0.6, 1.0]))
    joint = measures(results([0.1, 0.5, 0.9], [0.4, 0.79, 1.21]))
    row = compare([{"joint": joint, "twin": twin}])["auddc all"]
    main = row["differences"]["joint with defence - twin"]
    assert main["mean"] == pytest.approx(0.3)
    assert main["se_pairs"] == pytest.approx(statistics.stdev([0.3, 0.29, 0.31]) / 3**0.5)
    assert main["verdict"] == "higher"
    assert row["differences"]["joint - twin"]["mean"] == 0
    assert "no difference" in row["differences"]["joint - twin"]["verdict"]
    assert row["differences"]["joint with defence - twin with defence"]["mean"] == pytest.approx(0.2)
    assert row["cells"]["twin with_defence"]["mean"] == pytest.approx(0.6)
    worse = compare([{"joint": twin, "twin": joint}])["auddc all"]["differences"]
    assert worse["joint with defence - twin with defence"]["verdict"] == "lower"


def test_runs_that_disagree_give_no_verdict() -> None:
    """Two runs with differences +0.3 and -0.1: each clear, together not."""
    zero = measures(results([0.0, 0.0], [0.0, 0.0]))
    up, down = measures(results([0.0, 0.0], [0.3, 0.31])), measures(results([0.0, 0.0], [-0.1, -0.11]))
    table = compare([{"joint": up, "twin": zero}, {"joint": down, "twin": zero}])
    assert "no difference" in table["auddc all"]["differences"]["joint with defence - twin"]["verdict"]
    assert set(table) == {"auddc all", "ms_ssim_reconstruction all 0.1", "latent_skl all 0.1"}
