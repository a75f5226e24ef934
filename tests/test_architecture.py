"""The rooms of `src/hebm` and who may import whom, read from the source; what importing the package does."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "hebm"
MODULES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)

BASICS = {"errors", "randomness", "latents", "distributions"}
MODEL = {*BASICS, "nn", "priors", "models", "samplers", "objectives", "learners"}
# The table of the house style. Importing within a room is always allowed.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "randomness": set(),
    "allocator": set(),
    "latents": {"errors", "randomness"},
    "distributions": {"errors", "randomness"},
    "nn": set(),
    "priors": {*BASICS, "nn"},
    "models": {*BASICS, "nn", "priors"},
    "samplers": {"latents", "randomness", "errors"},
    "objectives": {"latents", "distributions"},
    "learners": {*BASICS, "priors", "samplers", "objectives"},
    "data": {"errors", "randomness"},
    "metrics": {"errors"},
    "features": {"nn", "data", "errors", "randomness", "metrics"},
    "attacks": {*BASICS, "models", "samplers"},
    "representations": {*BASICS, "nn", "models", "data", "features"},
    "detection": {*BASICS, "models", "samplers", "objectives", "priors", "learners"},
    "presets": set(),
    "config": {"errors"},
    "build_prior": {*MODEL, "config"},
    "build": {*MODEL, "build_prior", "data", "features", "metrics", "detection", "config"},
    "training": {
        "build", "build_prior", "learners", "distributions",
        "models", "objectives", "samplers", "data", "config", "latents", "randomness", "errors", "priors",
        "files", "detection", "allocator",
    },
    "sklearn": {"config", "data", "detection", "errors", "models", "training", "build"},
    "evaluation": {
        "build", "training.checkpoint", "training.run", "training.environment", "models", "samplers", "metrics",
        "features", "data", "latents", "randomness", "config", "errors", "detection",
        "files", "priors", "distributions", "attacks", "report.grid", "representations", "allocator",
    },
    "released": {"build", "training", "models", "config", "errors", "files"},
    "report": {"metrics", "errors", "files"},
    "reproduce": {"build", "config", "data", "evaluation", "training", "models", "report", "errors", "files"},
}  # fmt: skip
FORBIDDEN_PACKAGES = {"torchvision", "pytorch_lightning", "lightning"}


def module_name(path: Path) -> str:
    """Dotted name below the package: `training.loop`, `training` for its `__init__`, `` for the package's own."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path) -> set[str]:
    """Full dotted names of everything a module imports, at any depth, also inside functions."""
    package = ["hebm", *path.relative_to(ROOT).parent.parts]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def allowed(importer: str, target: str) -> bool:
    """Whether a module (below the package) may import a dotted name (below the package)."""
    room, target_room = importer.split(".")[0], target.split(".")[0]
    if room in (target_room, "cli", "__main__"):
        return True
    if target_room == "cli":
        return False
    if room == "" or target == "__version__":
        return True
    prefixes = [".".join(target.split(".")[:n]) for n in range(1, len(target.split(".")) + 1)]
    return any(prefix in ALLOWED[room] for prefix in prefixes)


def identifier(path: Path) -> str:
    return module_name(path) or "hebm"


every_module = pytest.mark.parametrize("path", MODULES, ids=identifier)


@every_module
def test_imports_go_only_where_the_table_allows(path: Path) -> None:
    """No arrow that the house style does not have; nothing imports the command line."""
    arrows = {name.removeprefix("hebm.") for name in imported(path) if name.split(".")[0] == "hebm"}
    assert [target for target in sorted(arrows) if not allowed(module_name(path), target)] == []


def test_every_room_is_in_the_table() -> None:
    """A new room needs a line before it needs code."""
    rooms = {module_name(path).split(".")[0] for path in MODULES} - {"", "cli", "__main__"}
    assert rooms - set(ALLOWED) == set()


def test_the_table_has_no_cycle() -> None:
    """Rooms can be put into an order in which each imports only earlier ones."""
    left, order = {room: {t.split(".")[0] for t in targets} for room, targets in ALLOWED.items()}, []
    while left:
        ready = sorted(room for room, targets in left.items() if targets <= set(order))
        assert ready, f"a cycle among {sorted(left)}"
        order += ready
        left = {room: targets for room, targets in left.items() if room not in ready}


@pytest.mark.parametrize(
    ("importer", "target", "verdict"),
    [
        ("nn.mlp", "errors.HebmError", False),
        ("priors.joint", "nn.MLP", True),
        ("priors.joint", "models.JointModel", False),
        ("samplers.chains", "priors.JointPrior", False),
        ("evaluation.generate", "training.run.Run", True),
        ("evaluation.generate", "training.loop.train", False),
        ("build", "cli.app", False),
        ("", "cli", False),
        ("cli.train", "training.loop.train", True),
        ("models.joint", "models.encoder.LadderEncoder", True),
    ],
)
def test_the_check_itself_tells_arrows_apart(importer: str, target: str, verdict: bool) -> None:
    """Known good and known bad arrows."""
    assert allowed(importer, target) is verdict


def test_relative_and_late_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import within a function or with dots does not slip through."""
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    room = tmp_path / "nn"
    room.mkdir()
    path = room / "bad.py"
    path.write_text(
        "def f():\n    from ..models import joint\n    from .mlp import MLP\n    import hebm.cli\n"
    )
    assert imported(path) == {"hebm.models.joint", "hebm.nn.mlp.MLP", "hebm.cli"}


@every_module
def test_no_module_imports_a_forbidden_package(path: Path) -> None:
    """No torchvision, and of Lightning only Fabric."""
    assert {name.split(".")[0] for name in imported(path)} & FORBIDDEN_PACKAGES == set()


@every_module
def test_every_module_has_a_docstring_and_all(path: Path) -> None:
    """What a module is for comes first; what it offers is listed, exists, and is sorted by the linter."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no docstring"
    if path.name == "__main__.py" or module_name(path) == "presets":
        return
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets] == ["__all__"]
    ]
    assert len(lists) == 1, "exactly one literal __all__"
    assert set(lists[0]) <= defined_names(tree)


def defined_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=identifier)
def test_init_files_only_re_export(path: Path) -> None:
    """A docstring, imports, `__all__` and `__version__`; no code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body[1:]:
        named = isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets]
        assert isinstance(node, ast.Import | ast.ImportFrom) or named in (["__all__"], ["__version__"])


@every_module
def test_everything_public_is_documented(path: Path) -> None:
    """Public classes, functions and methods have a docstring (of `forward`, the class's own will do)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    nodes = [*tree.body, *(member for c in classes if not c.name.startswith("_") for member in c.body)]
    public = [
        n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")
    ]
    public = [node for node in public if node.name != "forward"]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


PROBE = """
import random, sys
import numpy, torch
import rich.console  # draws from Python's own stream when it is imported, and scikit-learn imports it
def state():
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": str(numpy.random.get_state()),
        "python": random.getstate(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "linear": torch.nn.Linear.forward,
        "printing": numpy.get_printoptions(),
        "path": list(sys.path),
    }
before = state()
import hebm
after = state()
print([key for key in before if before[key] != after[key]], "torchvision" in sys.modules)
"""


def test_importing_the_package_changes_no_global_state() -> None:
    """No seed, dtype, thread count, mode or patched class; torchvision is not loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split("\n")[0] == "[] False", done.stdout + done.stderr
