"""What a cell's run cost, for tables to stand beside what it reached."""

import json

from hebm.report.history import read_history
from hebm.training import Run

__all__ = ["training_cost"]


def training_cost(run: Run) -> dict[str, float | int | None]:
    """Seconds of training and numbers of parameters of a finished run.

    Args:
        run: The run; cells that take its weights have its cost.

    Returns:
        ``training_s``: of all logged steps, those that were rolled back too, and of fitting the prior, on the machine
        that trained it; None if it was not logged. ``n_parameters``: of generator, encoder and prior together.
    """
    trainer = run.config().trainer
    history = read_history(
        run.metrics_file,
        batch_size=trainer.batch_size,
        energy_only_batch_size=trainer.energy_only_batch_size,
    )
    environment = json.loads((run.directory / "environment.json").read_text(encoding="utf-8"))
    sizes = environment["n_parameters"]
    return {
        "training_s": history.duration_s,
        "n_parameters": sum(sizes[part] for part in ("generator", "encoder", "prior")),
    }
