"""Configuration and what is built from it."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from hebm.build import build_model
from hebm.build_prior import build_sampler
from hebm.config import RunConfig, load_config, preset_names
from hebm.errors import ConfigError
from hebm.priors import GaussianPrior, JointPrior

PRESETS = preset_names()
SMALL = """
data: {name: digits, size: 8, channels: 1}
model:
  levels:
    - {latents: 4, channels: 12}
    - {latents: 2, channels: 8}
prior: {width: 16, depth: 1}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def leaves(values: object, prefix: str = "") -> dict[str, object]:
    """Dotted keys and values of a nested configuration; lists by number."""
    if isinstance(values, dict) and values:
        items = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list) and values:
        items = [(str(i), value) for i, value in enumerate(values)]
    else:
        return {prefix: values}
    return {
        k: v for key, value in items for k, v in leaves(value, f"{prefix}.{key}" if prefix else key).items()
    }


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("sampler.n_step=3", "sampler.n_steps"),
        ("smapler.n_steps=3", "sampler"),
        ("model.levels.0.channel=3", "model.levels.channels"),
        ("trainer.autoencoder.learning_rate=1", "trainer.autoencoder"),
        ("trainer.energy.weight_decai=1", "trainer.energy.weight_decay"),
        ("lipschitz=1", "prior.lipschitz"),
        ("prior.lipshitz=1", "prior.lipschitz"),
        ("sed=1", "seed"),
        ("trainer.lr=1", "trainer.base.lr"),
        ("evaluation.temperature=1", "sampler.temperature"),
        ("model.depth=1", "prior.depth"),
        ("lipshitz=1", "prior.lipschitz"),
        ("betaz=1", "trainer.energy.betas"),
    ],
)
def test_an_unknown_key_names_the_nearest(small: Path, key: str, nearest: str) -> None:
    """Misspelt at any depth, in any section, in lists, or put into the wrong section."""
    with pytest.raises(ConfigError, match=rf"is unknown. Did you mean '{nearest}"):
        load_config(small, [key])


def test_an_unknown_key_in_the_file_is_refused_too(tmp_path: Path) -> None:
    """With the file's name."""
    path = tmp_path / "bad.yaml"
    path.write_text(SMALL + "trainr: {max_epochs: 3}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad.yaml: the key 'trainr' is unknown. Did you mean 'trainer'"):
        load_config(path)


def test_overrides_reach_nested_keys_and_list_items(small: Path) -> None:
    """Values are read as YAML; later overrides win."""
    config = load_config(
        small,
        [
            "model.levels.0.latents=7",
            "model.levels.1={latents: 3, channels: 5}",
            "trainer.energy.lr=2e-6",
            "trainer.autoencoder.betas=[0.0, 0.9]",
            "prior.lipschitz=1",
            "prior.lipschitz=null",
            "objective.free_bits=[0.5, 0.25]",
            "description=a = b",
        ],
    )
    assert [(level.latents, level.channels) for level in config.model.levels] == [(7, 12), (3, 5)]
    assert config.trainer.energy.lr == 2e-6
    assert config.trainer.autoencoder.betas == (0.0, 0.9)
    assert config.prior.lipschitz is None
    assert config.objective.free_bits == (0.5, 0.25)
    assert config.description == "a = b"


def test_an_override_keeps_the_rest_of_its_section(small: Path) -> None:
    """Only the named value moves away from what the file and the defaults say."""
    before, after = (
        leaves(load_config(small, o).model_dump(mode="json")) for o in ([], ["trainer.energy.lr=0.5"])
    )
    assert {k for k in after if after[k] != before.get(k)} == {"trainer.energy.lr"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "has no value; write seed=VALUE"),
        ("data={", "not valid YAML"),
        ("model.levels.2.latents=3", "choose an item from 0 to 1, not 2"),
        ("model.levels.top.latents=3", "choose an item from 0 to 1, not top"),
        ("data.size.width=3", "size is a single value"),
        ("sampler.step_size=-1", "greater than 0"),
        ("sampler.n_steps=many", "sampler.n_steps = 'many'"),
        ("model.merge=multiply", "'add' or 'concat'"),
        ("model.levels=[]", "at least 1 item"),
        ("objective.free_bits=[1.0]", "1 values for 2 levels"),
        ("objective.level_start_steps=[0]", r"level_start_steps=\[0\] for 2 levels"),
        ("objective.level_start_steps=[5, 10]", "one at least is 0"),
        ("data.channels=2", "data.channels = 2"),
    ],
)
def test_bad_overrides_are_refused(small: Path, override: str, message: str) -> None:
    """Bad syntax, bad places and bad values say what to do."""
    with pytest.raises(ConfigError, match=message):
        load_config(small, [override])


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    """A misspelt preset names the nearest; missing, broken and non-mapping files are told apart."""
    with pytest.raises(ConfigError, match=r"neither a preset nor a file\. Did you mean 'digits'"):
        load_config("digit")
    with pytest.raises(ConfigError, match="does not exist; check the path"):
        load_config(tmp_path / "none.yaml")
    broken, listed = tmp_path / "broken.yaml", tmp_path / "list.yaml"
    broken.write_text("a: [", encoding="utf-8")
    listed.write_text("- 1", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(broken)
    with pytest.raises(ConfigError, match="must be a YAML mapping"):
        load_config(listed)
    with pytest.raises(ConfigError, match="the key 'model' is missing"):
        load_config(_written(tmp_path, "seed: 1"))


def _written(folder: Path, text: str) -> Path:
    path = folder / "written.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_and_says_what_it_is(name: str) -> None:
    """It loads, describes itself, and its networks fit its images."""
    config = load_config(name)
    assert config.description
    with torch.device("meta"):
        model = build_model(config)
    assert model.image_shape == (config.data.channels, config.data.size, config.data.size)
    assert model.level_dims == tuple(level.latents for level in config.model.levels)


RELEASED = {"svhn_sampling": (392_288, 752_160, 8_551), "svhn_fid": (55_348_608, 18_999_396, 15_301)}


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_the_svhn_presets_have_the_released_parameter_counts(name: str) -> None:
    """Generator, encoder and energy, to the last parameter."""
    if name not in PRESETS:
        pytest.skip(f"the preset {name} is not there yet")
    with torch.device("meta"):
        model = build_model(load_config(name))
    parts = (model.generator, model.encoder, model.prior.energy)
    assert tuple(sum(p.numel() for p in part.parameters()) for part in parts) == RELEASED[name]


@pytest.mark.parametrize("name", PRESETS)
def test_the_resolved_yaml_reads_back_as_the_same_configuration(name: str, tmp_path: Path) -> None:
    """Through a file, paths and tuples and nulls included; the hash is the same."""
    config = load_config(name, ["data.path=/some/where", "trainer.max_steps=5"])
    again = load_config(_written(tmp_path, config.to_yaml()))
    assert again == config
    assert again.hash() == config.hash()


OTHER_VALUES = (
    *(
        "1",
        "3",
        "0.5",
        "0.25",
        "false",
        "x",
        "per_level",
        "add",
        "bernoulli",
        "gaussian",
        "silu",
        "persistent",
    ),
    *(
        "skip",
        "cosine",
        "bf16",
        "classifier",
        "top_down",
        "metropolis",
        "reference",
        "joint",
        "[3]",
        "[0, 3]",
        "[0.5]",
        "[x]",
        "pca",
        "pixels",
        "{mala: 3}",
    ),
)


def changed(config: RunConfig, key: str) -> RunConfig:
    """A valid configuration that differs in one value."""
    now = leaves(config.model_dump(mode="json"))[key]
    nearby = (str(now + 1), str(0.9 * now)) if isinstance(now, int | float) else ()
    for value in (*OTHER_VALUES, *nearby):
        try:
            other = config.with_overrides([f"{key}={value}"])
        except ConfigError:
            continue
        if other != config:
            return other
    raise AssertionError(f"no other value fits {key}")


def test_the_hash_changes_with_every_value(small: Path) -> None:
    """Each leaf, changed alone, gives another hash; no two agree."""
    two_phase = [
        "prior.training=two_phase",
        "trainer.energy_only_steps=5",
    ]  # or there is nothing to fine-tune
    config = load_config(small, two_phase)
    keys = leaves(config.model_dump(mode="json"))
    hashes = {config.hash(), *(changed(config, key).hash() for key in keys)}
    assert len(hashes) == len(keys) + 1


def test_a_configuration_is_frozen(small: Path) -> None:
    """Sections too; a changed copy comes from `with_overrides`."""
    config = load_config(small)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.prior.width = 3
    assert config.with_overrides(["seed=3"]).seed == 3
    assert config.seed == 0


def weights(config: RunConfig) -> dict[str, torch.Tensor]:
    return build_model(config).state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_seed_decides_the_initial_weights(small: Path) -> None:
    """Same seed the same in every tensor, other seed different in every random one; the global stream has no say."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = weights(load_config(small))
    torch.rand(3)
    torch.manual_seed(6)
    again, other = weights(load_config(small)), weights(load_config(small, ["seed=1"]))
    torch.manual_seed(5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(first, again)
    equal = [name for name in first if torch.equal(first[name], other[name])]
    assert all(first[name].unique().tolist() in ([0], [1]) for name in equal)  # constants alone


def test_building_leaves_the_global_streams_as_they_were(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is drawn for the weights; an accelerator's stream is not even seeded."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.random.get_rng_state()
    build_model(load_config(small))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert seeded == []


@pytest.mark.parametrize(
    "overrides", [["prior.width=99"], ["prior.lipschitz=1"], ["prior.coupling=per_level"]]
)
def test_the_gaussian_twin_starts_from_the_same_generator_and_encoder(
    small: Path, overrides: list[str]
) -> None:
    """The prior, whatever its size, shifts no other initial weight: the comparison is matched."""
    joint = build_model(load_config(small, overrides))
    twin = build_model(load_config(small, ["prior.kind=gaussian"]))
    assert isinstance(joint.prior, JointPrior)
    assert isinstance(twin.prior, GaussianPrior)
    assert same(joint.generator.state_dict(), twin.generator.state_dict())
    assert same(joint.encoder.state_dict(), twin.encoder.state_dict())


def test_the_configuration_reaches_the_objects(small: Path) -> None:
    """Every option of model, prior and sampler arrives at its object."""
    overrides = [
        "model.merge=add",
        "model.likelihood=gaussian_learned",
        "model.likelihood_scale=0.7",
        "model.top_width=13",
        "prior.coupling=per_level",
        "prior.width=9",
        "prior.depth=3",
        "prior.activation=gelu",
        "prior.lipschitz=2.5",
        "sampler.n_steps=7",
        "sampler.step_size=0.03",
        "sampler.temperature=0.5",
    ]
    config = load_config(small, overrides)
    model, sampler = build_model(config), build_sampler(config)
    assert type(model.generator.ladder).__name__ == "AddLadder"
    assert model.generator.ladder.top[0].out_features == 13
    assert model.generator.likelihood.log_scale.exp().item() == pytest.approx(0.7)
    assert list(model.generator.likelihood.parameters())
    networks = model.prior.energy.networks
    assert [network.layers[0].weight.shape for network in networks] == [(9, 4), (9, 2)]
    assert {(len(n.layers), n.activation.name, n.output_scale) for n in networks} == {(4, "gelu", 2.5)}
    assert (sampler.n_steps, sampler.step_size, sampler.temperature) == (7, 0.03, 0.5)
    assert model.sampler == sampler


def test_images_and_levels_that_do_not_fit_are_refused(small: Path) -> None:
    """When the model is built, with the key to change."""
    with pytest.raises(
        ConfigError, match=r"8 to 128 pixels wide, but these have 200; resize them \(data.size\)"
    ):
        build_model(load_config(small, ["data.size=200"]))


@pytest.mark.parametrize(
    ("overrides", "is_two_phase", "has_energy", "learns_by_steps"),
    [
        ("kind=gaussian", False, False, False),
        ("kind=full_gaussian", True, False, False),
        ("kind=mixture", True, False, False),
        ("kind=vamp", True, False, False),
        ("kind=flow", True, False, True),
        ("kind=top_down", False, False, True),
        ("kind=joint", False, True, True),
        ("kind=joint base=top_down", False, True, True),
        ("kind=joint base=mixture", True, True, True),
        ("kind=joint base=vamp", True, True, True),
        ("kind=persistent", False, True, True),
        ("kind=persistent base=mixture", True, True, True),
        ("kind=importance base=mixture", True, True, True),
        ("kind=importance base=top_down", True, True, True),
        ("kind=nce", True, True, True),
        ("kind=nce base=top_down", True, True, True),
        ("kind=nce base=mixture", True, True, True),
        ("kind=recovery", True, True, True),
    ],
)
def test_what_learns_when_follows_from_kind_and_base(
    small: Path, overrides: str, is_two_phase: bool, has_energy: bool, learns_by_steps: bool
) -> None:
    """In `auto`; an explicit training wins where it is possible."""
    prior = [f"prior.{part}" for part in overrides.split()]
    section = load_config(small, [*prior, "trainer.energy_only_steps=5"]).prior
    assert (section.is_two_phase, section.has_energy, section.learns_by_steps) == (
        is_two_phase,
        has_energy,
        learns_by_steps,
    )
    for training in ("joint", "two_phase"):
        fitted = section.kind in ("full_gaussian", "vamp") or section.base == "vamp"
        explicit = [*prior, f"prior.training={training}", "trainer.energy_only_steps=5"]
        if training == "joint" and fitted:
            with pytest.raises(ConfigError, match=r"set prior\.training=two_phase"):
                load_config(small, explicit)
        else:
            assert load_config(small, explicit).prior.is_two_phase is (training == "two_phase")


@pytest.mark.parametrize("kind", ["mixture", "flow", "top_down", "recovery"])
def test_a_learned_base_needs_an_energy_that_tilts_it(small: Path, kind: str) -> None:
    """It would be ignored in silence; both ways out are named."""
    message = r"set prior\.kind to joint, persistent, importance or nce, or prior\.kind=mixture"
    with pytest.raises(ConfigError, match=message):
        load_config(small, [f"prior.kind={kind}", "prior.base=mixture", "trainer.energy_only_steps=5"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["prior.kind=nce"],
        ["prior.kind=recovery"],
        ["prior.kind=flow"],
        ["prior.base=mixture"],
        ["prior.training=two_phase"],
        ["prior.kind=top_down", "prior.training=two_phase"],
    ],
)
def test_a_second_phase_with_something_to_learn_needs_steps(small: Path, overrides: list[str]) -> None:
    """The key is named; with steps it is accepted, and what is fitted at once needs none."""
    with pytest.raises(ConfigError, match=r"no steps for the second; set trainer\.energy_only_steps"):
        load_config(small, overrides)
    assert load_config(small, [*overrides, "trainer.energy_only_steps=1"]).prior.is_two_phase
    assert load_config(small, ["prior.kind=mixture"]).prior.is_two_phase


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prior.noise_levels=[]", "at least 1 item"),
        ("prior.noise_levels=[0.5, 1.0]", "less than 1"),
        ("prior.n_components=[]", "at least 1 item"),
        ("prior.n_components=[0]", "greater than 0"),
        ("prior.n_stages=0", "greater than 0"),
        ("prior.kind=normal", "'gaussian', 'full_gaussian'"),
        ("prior.base=flow", "'standard', 'top_down', 'mixture' or 'vamp'"),
        ("prior.kind=importance", r"learned base: set prior\.base to mixture, vamp or top_down"),
    ],
)
def test_bad_values_of_the_prior_are_refused(small: Path, override: str, message: str) -> None:
    """Of every key that only some kinds read."""
    with pytest.raises(ConfigError, match=message):
        load_config(small, [override])


@pytest.mark.parametrize(
    ("overrides", "sampler"),
    [
        ("prior.kind=joint", "ShortRunLangevin"),
        ("prior.kind=joint prior.base=top_down", "WhitenedChains"),
        ("prior.kind=nce prior.base=mixture", "IndependenceChains"),
        ("prior.kind=nce prior.base=vamp", "IndependenceChains"),
        ("prior.kind=importance prior.base=mixture", "IndependenceChains"),
        ("prior.kind=joint prior.base=mixture sampler.kind=langevin", "ShortRunLangevin"),
        ("prior.kind=joint sampler.kind=metropolis", "MetropolisChains"),
        ("prior.kind=joint prior.base=top_down sampler.kind=independence", "IndependenceChains"),
        ("prior.kind=flow", "MetropolisChains"),
        ("prior.kind=recovery", "RecoveryChains"),
    ],
)
def test_the_sampler_fits_the_prior(small: Path, overrides: str, sampler: str) -> None:
    """By name where one is given, else by kind and base; steps of training and of sampling."""
    config = load_config(
        small,
        [*overrides.split(), "sampler.n_steps=4", "sampler.sampling_steps=9", "trainer.energy_only_steps=5"],
    )
    trains, samples = build_sampler(config, training=True), build_sampler(config)
    assert type(trains).__name__ == type(samples).__name__ == sampler
    if sampler == "WhitenedChains":
        trains, samples = trains.free, samples.free
    assert (trains.n_steps, samples.n_steps) == (4, 9)


def test_hashes_of_before_a_key_was_there_are_known_where_it_is_off() -> None:
    """Levels that learn at once have the hash of versions without that key, too; the others have their own alone."""
    config = load_config("digits")
    before = config.model_dump(mode="json")
    del before["objective"]["level_start_steps"], before["objective"]["level_fade_steps"]
    text = json.dumps(before, sort_keys=True)
    assert config.hashes() == {config.hash(), hashlib.sha256(text.encode()).hexdigest()}
    one_by_one = config.with_overrides(
        [f"objective.level_start_steps={[50 * n for n in range(len(config.model.levels))]}"]
    )
    assert one_by_one.hashes() == {one_by_one.hash()}


def test_the_training_hash_leaves_out_what_training_does_not_depend_on() -> None:
    """Evaluation and description; everything else counts."""
    config = load_config("digits")
    for override in ("evaluation.n_samples=7", "description=other words"):
        other = config.with_overrides([override])
        assert other.training_hash() == config.training_hash() != config.hash()
        assert other.hash() != config.hash()
    for override in (
        "seed=1",
        "prior.width=7",
        "detection.score=energy",
        "data.limit=500",
        "sampler.n_steps=7",
    ):
        assert config.with_overrides([override]).training_hash() != config.training_hash()
