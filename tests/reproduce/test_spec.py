"""Specifications: what is shipped is consistent, and mistakes are named."""

from collections.abc import Iterator

import pytest
from toy import TEXT, toy_spec

from hebm.config import RunConfig, load_config
from hebm.errors import ConfigError
from hebm.reproduce import Spec, load_spec, make_plan, spec_names
from hebm.reproduce.spec import parse_spec

TABLE_3 = {
    "VAE": [0.063, 0.337, 0.325, 0.148, 0.104],
    "MEG": [0.281, 0.401, 0.402, 0.290, 0.342],
    "BiGAN-s": [0.287, 0.443, 0.514, 0.347, 0.307],
    "LEBM": [0.336, 0.630, 0.619, 0.463, 0.413],
    "HVAE, L > 0": [0.494, 0.920, 0.913, 0.680, 0.791],
    "ours": [0.722, 0.949, 0.980, 0.941, 0.935],
}


def trained(spec: Spec, size_name: str) -> Iterator[tuple[str, RunConfig]]:
    """Every run that is trained at a size, with its configuration in each column and in what stands in for it."""
    size = spec.sized(size_name)
    stand_ins = [spec.columns[column].instead for column in size.columns]
    for column in dict.fromkeys([*size.columns, *filter(None, stand_ins)]):
        for key in size.runs or spec.runs:
            run, place = spec.runs[key], spec.columns[column]
            if run.weights_of is None:
                overrides = [*size.overrides, *place.overrides, *run.overrides]
                of_run = [*size.run_overrides.get(key, ()), *place.run_overrides.get(key, ())]
                yield key, load_config(place.preset or size.preset, [*overrides, *of_run])


@pytest.mark.parametrize("name", spec_names())
def test_every_name_has_all_sizes_sources_and_valid_configurations(name: str) -> None:
    """smoke without a file, small, full; each trained run resolves at each size; a verdict and a protocol."""
    spec = load_spec(name)
    assert list(spec.sizes) == ["smoke", "small", "full"]
    assert "arXiv:2310.09604" in spec.paper
    assert spec.protocol
    assert spec.verdict
    assert spec.traps
    for size_name in spec.sizes:
        for _, config in trained(spec, size_name):
            needs_no_file = config.data.name in ("digits", "factors")
            assert needs_no_file if size_name == "smoke" else config.data.name != "digits"
            objective, n_steps = config.objective, config.trainer.max_steps
            if n_steps is not None and objective.level_start_steps:
                assert max(objective.level_start_steps) + objective.level_fade_steps <= n_steps


@pytest.mark.parametrize("name", spec_names())
def test_smoke_is_tiny(name: str) -> None:
    """At most four cells trained for thirty steps per column."""
    spec = load_spec(name)
    size = spec.sized("smoke")
    runs = [key for key in size.runs or spec.runs if spec.runs[key].weights_of is None]
    assert len(runs) <= 4
    assert size.seeds == 1
    assert "trainer.max_steps=30" in size.overrides


def test_published_values_of_table_3_are_those_printed() -> None:
    """Digits 1, 4, 5, 7, 9 in this order."""
    spec = load_spec("table3-anomaly")
    assert {p.label: list(p.values.values()) for p in spec.published} == TABLE_3
    assert all(list(p.values) == ["1", "4", "5", "7", "9"] for p in spec.published)


def test_published_values_of_table_6_are_those_printed() -> None:
    """CIFAR-10, FID; none stands in a row of ours, whose features are others at size small."""
    spec = load_spec("table6-cifar10")
    assert {p.label.removesuffix(", FID"): p.values["cifar10"] for p in spec.published} == {
        "ours": 63.42, "2s-VAE": 72.90, "RAE": 74.16, "NCP-VAE": 78.06, "Multi-NCP": 65.01, "LEBM": 70.15,
    }  # fmt: skip
    assert all(p.row is None and p.measure == "fd" for p in spec.published)


def test_published_values_of_the_supplements_table_2_are_those_printed() -> None:
    """3DShapes: MIG and MIG-sup of the paper and of three steps of pro-VLAE."""
    spec = load_spec("disentangle")
    labels = ("ours", "pro-VLAE, s = 3", "pro-VLAE, s = 2", "pro-VLAE, s = 1")
    for measure, values in {
        "mig": (0.554, 0.357, 0.339, 0.247),
        "mig_sup": (0.672, 0.406, 0.333, 0.136),
    }.items():
        found = {p.label: p.values["shapes3d"] for p in spec.published if p.measure == measure}
        assert found == dict(zip(labels, values, strict=True))


@pytest.mark.parametrize("name", ["fig6-toy", "fig7-toy"])
def test_the_toys_have_three_digits_and_as_many_latents_a_level_as_they_say(name: str) -> None:
    """At every size; the model of one level has as many latents in all."""
    spec, n_latents = load_spec(name), 1 if name == "fig6-toy" else 2
    for size_name in spec.sizes:
        for run, config in trained(spec, size_name):
            levels = [level.latents for level in config.model.levels]
            assert levels == ([2 * n_latents] if run == "one_level" else [n_latents] * 2)
            assert config.data.labels == (0, 1, 2)


@pytest.mark.parametrize("name", spec_names())
def test_a_rival_is_a_control_and_has_none(name: str) -> None:
    """Other methods and pixels: a sentence about one that is ahead would stand for the model otherwise."""
    rivals = ("SimCLR", "BiGAN", "untrained weights", "PCA", "pixels")
    compared = [row.label for row in load_spec(name).rows if row.control]
    assert [label for label in compared if label.startswith(rivals)] == []


def test_an_unknown_name_or_size_is_refused_with_the_known_ones() -> None:
    """The nearest name is offered."""
    with pytest.raises(ConfigError, match="did you mean 'table3-anomaly'"):
        load_spec("table3")
    with pytest.raises(ConfigError, match="no size 'tiny'; choose from smoke, small, full"):
        load_spec("table3-anomaly").sized("tiny")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights_of: joint", "weights_of: joined", "runs.gaussian.weights_of names 'joined'"),
        ("control: gaussian}", "control: twin}", "the control of joint names 'twin'"),
        ("measures: [bad]", "measures: [worse]", "the row other names 'worse'"),
        ("instead: digits", "instead: digit", "columns.fashion.instead names 'digit'"),
        ("preset: fashion_mnist", "preset: fashion", "columns.fashion.preset names 'fashion'"),
        ("row: joint", "row: joints", "published ours names 'joints'"),
        ("row: joint", "row: joint, also: [others]", "published ours names 'others'"),
        ("{digits: 0.25}", "{digit: 0.25}", "published theirs names 'digit'"),
        ("columns: [digits, fashion]", "columns: [digits, svhn]", "sizes.small names 'svhn'"),
        ("{other: [data", "{others: [data", "sizes.small names 'others'"),
        ("key: other", "key: joint", "two rows have the same key"),
        ("[prior.kind=gaussian]}\n  other", "[prior.kind=mixture]}\n  other", "only sampler"),
        ("title:", "headline:", "Field required|Extra inputs"),
        ("suites: [toy]", "suites: []", "at least 1 item"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, message: str) -> None:
    """A reference to nothing, a derived run that would need training, an unknown key."""
    assert TEXT.count(old) == 1
    with pytest.raises(ConfigError, match=message):
        parse_spec(TEXT.replace(old, new), "toy")


def test_text_that_is_no_mapping_is_refused() -> None:
    """Both broken YAML and YAML of another kind."""
    for text in ("[1, 2", "just words"):
        with pytest.raises(ConfigError, match="not a YAML mapping"):
            parse_spec(text, "toy")


def test_without_rows_there_is_one_per_run() -> None:
    """With the runs' labels, in their order."""
    spec = toy_spec(rows=(), published=())
    assert [(r.key, r.run, r.label) for r in spec.all_rows] == [
        ("joint", "joint", "with energy"),
        ("gaussian", "gaussian", "twin"),
        ("other", "other", "other"),
    ]


def test_a_run_may_have_suites_of_its_own() -> None:
    """What only samples otherwise has no likelihood of its own; a suite that is not there is refused."""
    spec = load_spec("ablation-steps")
    suites = {cell.run: cell.suites for cell in make_plan(spec, "smoke").cells}
    assert suites == {"k15": ("samples", "likelihood", "probe"), "k15_s60": ("samples",)}
    runs = {key: run.model_copy(update={"suites": ("palmistry",)}) for key, run in spec.runs.items()}
    with pytest.raises(ConfigError, match=r"ablation-steps cannot be run with this version.*palmistry"):
        make_plan(spec.model_copy(update={"runs": runs}), "smoke")


def test_smoke_overrides_come_before_the_sizes_own() -> None:
    """So that a size can still change them."""
    spec = toy_spec()
    size = spec.sizes["smoke"].model_copy(update={"overrides": ("trainer.max_steps=7",)})
    overrides = toy_spec(sizes={"smoke": size.model_dump()}).sized("smoke").overrides
    assert overrides[-1] == "trainer.max_steps=7"
    assert "trainer.max_steps=30" in overrides[:-1]
