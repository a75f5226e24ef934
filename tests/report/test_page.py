"""The report: one file, everything inside, nothing that is not so."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_directories import log_record, make_full_run, make_run, write_metrics, write_suite

from hebm.errors import RunDirectoryError
from hebm.report import write_report


class _Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.hidden = False
        self.feed(source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag == "style"

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else f"{data} "


def _page(run: Path) -> _Page:
    return _Page(write_report(run).read_text(encoding="utf-8"))


def test_the_page_asks_for_nothing_outside_itself(tmp_path: Path) -> None:
    make_full_run(tmp_path / "twin", kind="gaussian")
    source = write_report(make_full_run(tmp_path)).read_text(encoding="utf-8")
    page = _Page(source)
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert re.match("data:|#", attributes.get(name) or "#"), (tag, attributes[name])
    css = source[source.index("<style>") : source.index("</style>")]
    assert "@import" not in css
    assert "url(" not in css
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))
    assert ("meta", {"charset": "utf-8"}) in page.tags


def test_every_image_is_inside_and_described(tmp_path: Path) -> None:
    make_full_run(tmp_path / "twin", kind="gaussian")
    tags = _page(make_full_run(tmp_path)).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 8, "real, reconstruction, prior, base, twin, two levels redrawn, one swept"
    assert all((image["src"] or "").startswith("data:image/png;base64,") and image["alt"] for image in images)
    plots = [attributes for tag, attributes in tags if tag == "svg"]
    assert len(plots) == 4
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)


def test_ids_are_unique(tmp_path: Path) -> None:
    ids = [attributes["id"] for _, attributes in _page(make_full_run(tmp_path)).tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0


def test_text_of_the_run_is_escaped(tmp_path: Path) -> None:
    write_metrics(
        make_full_run(tmp_path), [log_record(50), {"event": "diverged", "step": 60, "reason": "<i>x</i>"}]
    )
    write_suite(tmp_path, "probe", {"<u>name</u>": "<s>value</s>"})
    page = _page(tmp_path)
    assert not {tag for tag, _ in page.tags} & {"b", "i", "u", "s", "script"}
    for text in ("<script>alert(1)</script>", "<b>test</b> &", "<i>x</i>", "<u>name</u>", "<s>value</s>"):
        assert text in page.text


def test_a_bare_run_names_the_command_of_every_missing_part(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a run")
    text = _page(run).text
    for command in (
        "hebm report RUN",
        "hebm evaluate RUN --suite samples",
        "hebm hierarchy RUN",
        "hebm traverse RUN",
        "hebm train RUN/config.yaml --run-dir RUN --resume",
    ):
        assert command.replace("RUN", f"'{run}'") in text


def test_a_full_run_names_no_missing_part(tmp_path: Path) -> None:
    make_full_run(tmp_path / "twin", kind="gaussian")
    assert not any(a.get("class") == "missing" for _, a in _page(make_full_run(tmp_path)).tags)


def test_a_gaussian_run_asks_neither_for_chains_nor_for_a_twin(tmp_path: Path) -> None:
    run = make_full_run(tmp_path, kind="gaussian", energy_along_chain=None)
    text = _page(run).text
    assert "it has no energy and no chains" in text
    assert "twin" not in text
    assert "Same generator, base prior" not in text


@pytest.mark.parametrize("damage", ["{", "[1]", '{"results": 3}'])
def test_a_damaged_result_file_is_named(tmp_path: Path, damage: str) -> None:
    (make_full_run(tmp_path) / "evaluation" / "ood.json").write_text(damage)
    assert (
        f"evaluation/ood.json is not a valid result file. It is made again by hebm evaluate {tmp_path} --suite ood"
        in (_page(tmp_path).text)
    )


def test_a_damaged_picture_is_left_out(tmp_path: Path) -> None:
    (make_full_run(tmp_path) / "samples" / "real.png").write_bytes(b"\x89PNG\r\n")
    assert "Real images" not in _page(tmp_path).text


@pytest.mark.parametrize("is_inception", [True, False, None, "yes", 1])
def test_fid_is_said_with_the_standard_inception_weights_only(tmp_path: Path, is_inception: object) -> None:
    page = _page(make_full_run(tmp_path, is_standard_inception=is_inception))
    words = page.text + json.dumps([attributes.get("alt", "") for _, attributes in page.tags])
    assert bool(re.search(r"\bFID\b", words)) is (is_inception is True)
    assert ("Fréchet distance (digits-classifier@1234abcd), samples" in words) is (is_inception is not True)


def test_the_twin_column_is_there_with_a_twin_only(tmp_path: Path) -> None:
    alone = _page(make_full_run(tmp_path)).text
    assert "This model Prior gap" in alone
    assert "hebm train" in alone[alone.index("No Gaussian twin") :]
    make_full_run(tmp_path / "twin", kind="gaussian", prior_gap=5.0, fd_prior=12.5)
    together = _page(tmp_path).text
    assert "This model Gaussian twin Prior gap" in together
    assert "Prior gap 2.5 here, 5 for the Gaussian twin: a ratio of 0.5." in together
    assert "6.25 12.5" in together


def test_numbers_by_different_extractors_are_not_compared(tmp_path: Path) -> None:
    make_full_run(tmp_path / "twin", kind="gaussian", extractor="other@5678")
    text = _page(make_full_run(tmp_path)).text
    assert "do not compare: extractor is digits-classifier@1234abcd here and other@5678 for the twin" in text
    assert "a ratio of" not in text


def test_unknown_suites_are_shown_as_they_come(tmp_path: Path) -> None:
    results = {"pair": {"auroc": 0.875, "n_in": 12000, "curve": list(range(99))}, "mean": [0.5, 0.25]}
    write_suite(make_full_run(tmp_path), "something_new", results)
    text = _page(tmp_path).text
    for row in ("pair.auroc 0.875", "pair.n_in 12,000", "pair.curve (99 values)", "mean 0.5, 0.25"):
        assert row in text


def test_values_that_are_not_finite_are_words(tmp_path: Path) -> None:
    run = make_full_run(tmp_path, fd_prior=float("nan"), prior_gap=float("inf"), recall="nan")
    write_metrics(run, [log_record(50, loss="nan", energy_prior="inf", rate_per_level=["nan", 1.0])])
    text = _page(run).text
    assert "infinite" in text
    assert text.count("not a number") == 2


def test_events_are_told_in_order(tmp_path: Path) -> None:
    events = [
        {"event": "checkpoint_refused", "reason": "hash differs"},
        {"event": "diverged", "step": 1200, "reason": "loss is not finite", "tries": 0},
        {"event": "rollback", "step": 1000, "energy_lr": 5e-05},
        {"event": "resumed", "step": 1500},
        {"event": "moved", "where": "elsewhere"},
    ]
    write_metrics(make_full_run(tmp_path), [log_record(50), *events])
    assert (
        "A damaged checkpoint was passed over: hash differs. At step 1,200 training diverged: loss is not finite. "
        "Rolled back to step 1,000; the energy's learning rate is 5e-05 from here. Resumed at step 1,500. "
        "moved: where elsewhere."
    ) in _page(tmp_path).text


def test_key_facts_come_from_the_files(tmp_path: Path) -> None:
    text = _page(make_full_run(tmp_path)).text
    for fact in (
        "Levels, top first 5 + 2 latents",
        "Prior one energy over all levels, width 16, depth 1",
        "Steps 150 (3 epochs)",
        "Training time 15 s",
        "Hardware a machine",
        "Seed 7",
        "hebm 9.8.7",
        "Config hash feedc0ffeefe ",
    ):
        assert fact in text


def test_the_report_is_the_same_twice(tmp_path: Path) -> None:
    run = make_full_run(tmp_path)
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


@pytest.mark.parametrize(
    ("config", "message"), [(None, "not a run directory"), ("a: [", "YAML"), ("3", "mapping")]
)
def test_a_directory_that_is_no_run_is_refused_and_left_alone(
    tmp_path: Path, config: str | None, message: str
) -> None:
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RunDirectoryError, match=message):
        write_report(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
