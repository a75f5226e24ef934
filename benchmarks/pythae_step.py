"""One training step of ``pythae``'s VAE on 28×28 images, batch 100: an outside yardstick, no like for like.

It runs in an environment of its own, because ``pythae`` installs an obsolete back-port of ``dataclasses``; nothing of
this library is imported. Prints a line of JSON.

    python -m venv .venv-pythae && .venv-pythae/bin/pip install pythae==0.1.2
    python -m benchmarks.suite --pythae .venv-pythae/bin/python
"""

import json
import statistics
import time

import torch

__all__ = ["main"]

N_STEPS, N_WARMUP = 60, 10


def main() -> None:
    """Time steps of its default multilayer VAE with Adam, as its trainer takes them."""
    from pythae.data.datasets import DatasetOutput
    from pythae.models import VAE, VAEConfig

    model = VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batch = DatasetOutput(data=torch.rand(100, 1, 28, 28))
    seconds = []
    for _ in range(N_WARMUP + N_STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    parameters = sum(p.numel() for p in model.parameters())
    result = {
        "what": "pythae VAE, multilayer perceptrons, 28×28, 10 latents, batch 100",
        "milliseconds": 1e3 * statistics.median(seconds[N_WARMUP:]),
        "n_parameters": parameters,
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
