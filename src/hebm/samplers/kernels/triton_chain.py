r"""K Langevin or MALA steps of a tile of chains in one launch, with state on the chip and noise from a counter.

.. math:: z' = z + m \big[-\eta (z + \nabla E(z)) + \sqrt{2 \eta \tau}\,\epsilon\big], \qquad m \in \{0, 1\}^D

where m is 0 in clamped levels; MALA takes τ = 1 and accepts z' with the probability of :mod:`hebm.samplers.mala`. ε of
a unit is a function of (seed, chain, step, unit) alone, by Philox-4x32-10 and the Box-Muller transform: neither the
batch's size nor the tile's shows in it. Networks come packed, padded to powers of two with zeros, so that padded units
neither add to the energy nor get a gradient.

Importing this module needs Triton; under ``TRITON_INTERPRET=1`` it runs on a CPU, slowly.

Source: Salmon et al. (2011), doi:10.1145/2063384.2063405, for Philox.
"""

# ruff: noqa: N803, N806  (what is known when the kernel is compiled is in capitals, as usual in Triton)
import triton
import triton.language as tl

__all__ = ["langevin_chain", "mala_chain"]


@triton.jit
def _activation(a, KIND: tl.constexpr, slope):
    """The activation of a configuration, by name."""
    if KIND == "leaky_relu":
        out = tl.where(a > 0, a, slope * a)
    elif KIND == "silu":
        out = a * tl.sigmoid(a)
    elif KIND == "gelu":
        out = 0.5 * a * (1 + tl.erf(a * 0.7071067811865476))
    elif KIND == "softplus":
        out = tl.maximum(a, 0.0) + tl.log(1 + tl.exp(-tl.abs(a)))
    else:
        tl.static_assert(KIND == "tanh")
        out = 2 * tl.sigmoid(2 * a) - 1
    return out


@triton.jit
def _derivative(a, KIND: tl.constexpr, slope):
    """Its derivative at a pre-activation."""
    if KIND == "leaky_relu":
        out = tl.where(a > 0, 1.0, slope)
    elif KIND == "silu":
        s = tl.sigmoid(a)
        out = s * (1 + a * (1 - s))
    elif KIND == "gelu":
        density = 0.3989422804014327 * tl.exp(-0.5 * a * a)
        out = 0.5 * (1 + tl.erf(a * 0.7071067811865476)) + a * density
    elif KIND == "softplus":
        out = tl.sigmoid(a)
    else:
        t = 2 * tl.sigmoid(2 * a) - 1
        out = 1 - t * t
    return out


@triton.jit
def _matrix(at, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A packed weight, [in, out]. Volatile, so that the compiler reads it again at each step, from the cache, instead
    of carrying all weights through the loop in registers it does not have."""
    return tl.load(at + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :], volatile=True)


@triton.jit
def _forward(h, at, N_IN: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr):
    """Pre-activation of a layer; its bias lies behind its weight."""
    bias = tl.load(at + N_IN * WIDTH + tl.arange(0, WIDTH))
    return tl.dot(h, _matrix(at, N_IN, WIDTH), input_precision=PRECISION) + bias[None, :]


@triton.jit
def _backward(
    grad, a, at, N_IN: tl.constexpr, WIDTH: tl.constexpr, KIND: tl.constexpr, slope, PRECISION: tl.constexpr
):
    """Gradient at a layer's input from that at its output."""
    delta = grad * _derivative(a, KIND, slope)
    return tl.dot(delta, tl.trans(_matrix(at, N_IN, WIDTH)), input_precision=PRECISION)


@triton.jit
def _energy(
    z, at, slope, DEPTH: tl.constexpr, LATENTS: tl.constexpr, WIDTH: tl.constexpr, KIND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One network of 1 to 4 hidden layers: values [rows] and gradients [rows, LATENTS]."""
    SECOND: tl.constexpr = LATENTS * WIDTH + WIDTH
    SQUARE: tl.constexpr = WIDTH * WIDTH + WIDTH
    a1 = _forward(z, at, LATENTS, WIDTH, PRECISION)
    h = _activation(a1, KIND, slope)
    if DEPTH > 1:
        a2 = _forward(h, at + SECOND, WIDTH, WIDTH, PRECISION)
        h = _activation(a2, KIND, slope)
    if DEPTH > 2:
        a3 = _forward(h, at + SECOND + SQUARE, WIDTH, WIDTH, PRECISION)
        h = _activation(a3, KIND, slope)
    if DEPTH > 3:
        a4 = _forward(h, at + SECOND + 2 * SQUARE, WIDTH, WIDTH, PRECISION)
        h = _activation(a4, KIND, slope)
    last = tl.load(at + SECOND + (DEPTH - 1) * SQUARE + tl.arange(0, WIDTH))
    value = tl.sum(h * last[None, :], axis=1)
    grad = tl.zeros_like(h) + last[None, :]
    if DEPTH > 3:
        grad = _backward(grad, a4, at + SECOND + 2 * SQUARE, WIDTH, WIDTH, KIND, slope, PRECISION)
    if DEPTH > 2:
        grad = _backward(grad, a3, at + SECOND + SQUARE, WIDTH, WIDTH, KIND, slope, PRECISION)
    if DEPTH > 1:
        grad = _backward(grad, a2, at + SECOND, WIDTH, WIDTH, KIND, slope, PRECISION)
    return value, _backward(grad, a1, at, LATENTS, WIDTH, KIND, slope, PRECISION)


@triton.jit
def _standard_normal(seed, chains, step, units):
    """ε of (seed, chain, step, unit): chains [rows], units [LATENTS], to [rows, LATENTS]."""
    zero = chains[:, None] * 0 + units[None, :] * 0
    first, second, _, _ = tl.philox(seed, zero + units[None, :], zero + step, zero + chains[:, None], zero)
    normal, _ = tl.pair_uniform_to_normal(tl.uint_to_uniform_float(first), tl.uint_to_uniform_float(second))
    return normal


@triton.jit
def _uniform(seed, chains, step):
    """A number in [0, 1) of (seed, chain, step), from a counter that no unit's noise has."""
    zero = chains * 0
    word, _, _, _ = tl.philox(seed, zero, zero + step, zero + chains, zero + 1)
    return tl.uint_to_uniform_float(word)


@triton.jit
def _target(
    z, networks, network_size, constant, slope,
    N_NETWORKS: tl.constexpr, DEPTH: tl.constexpr, LATENTS: tl.constexpr, WIDTH: tl.constexpr, KIND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """log p(z) [rows] and -∇log p(z) [rows, LATENTS]."""
    value, grad = constant - 0.5 * tl.sum(z * z, axis=1), z
    for i in tl.static_range(N_NETWORKS):
        own_value, own_grad = _energy(
            z, networks + i * network_size, slope, DEPTH, LATENTS, WIDTH, KIND, PRECISION
        )
        value, grad = value - own_value, grad + own_grad
    return value, grad


@triton.jit
def langevin_chain(
    start, end, trace, noise, seed, networks, free, n_chains, n_steps, n_latents, first_chain, n_streams, network_size,
    step_size, noise_scale, constant, slope,
    N_NETWORKS: tl.constexpr, DEPTH: tl.constexpr, LATENTS: tl.constexpr, WIDTH: tl.constexpr, KIND: tl.constexpr,
    ROWS: tl.constexpr, TRACED: tl.constexpr, INJECTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All steps of ROWS chains. `start`, `end` [n_chains, n_latents]; `trace` [n_steps, n_chains]; `noise`
    [n_steps, n_chains, n_latents] if it is injected; `seed` one 64-bit integer; `free` [LATENTS], 0 where clamped.
    A row's stream of noise is `first_chain + row % n_streams`; `constant` is that of the log-density."""
    rows, units = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, LATENTS)
    inside = (rows < n_chains)[:, None] & (units < n_latents)[None, :]
    place = rows[:, None] * n_latents + units[None, :]
    z = tl.load(start + place, mask=inside, other=0.0)
    moves, key = tl.load(free + units)[None, :], tl.load(seed)
    chains = first_chain + rows % n_streams
    for step in range(n_steps):
        value, grad = _target(
            z, networks, network_size, constant, slope, N_NETWORKS, DEPTH, LATENTS, WIDTH, KIND, PRECISION
        )
        if TRACED:
            tl.store(trace + rows, value, mask=rows < n_chains)
            trace += n_chains
        if INJECTED:
            epsilon = tl.load(noise + place, mask=inside, other=0.0)
            noise += n_chains * n_latents
        else:
            epsilon = tl.where(inside, _standard_normal(key, chains, step, units), 0.0)
        z += moves * (noise_scale * epsilon - step_size * grad)
    tl.store(end + place, z, mask=inside)


@triton.jit
def mala_chain(
    start, end, trace, noise, seed, networks, free, n_chains, n_steps, n_latents, first_chain, n_streams, network_size,
    step_size, noise_scale, constant, slope, uniforms, accepted,
    N_NETWORKS: tl.constexpr, DEPTH: tl.constexpr, LATENTS: tl.constexpr, WIDTH: tl.constexpr, KIND: tl.constexpr,
    ROWS: tl.constexpr, TRACED: tl.constexpr, INJECTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """As :func:`langevin_chain`, with a Metropolis test: `uniforms` [n_steps, n_chains] if they are injected, and
    `accepted` [n_chains], how many of its moves a chain made. A ratio that is not a number is a rejection."""
    rows, units = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, LATENTS)
    inside = (rows < n_chains)[:, None] & (units < n_latents)[None, :]
    place = rows[:, None] * n_latents + units[None, :]
    z = tl.load(start + place, mask=inside, other=0.0)
    moves, key = tl.load(free + units)[None, :], tl.load(seed)
    chains = first_chain + rows % n_streams
    value, grad = _target(
        z, networks, network_size, constant, slope, N_NETWORKS, DEPTH, LATENTS, WIDTH, KIND, PRECISION
    )
    count = tl.zeros([ROWS], tl.float32)
    for step in range(n_steps):
        if TRACED:
            tl.store(trace + rows, value, mask=rows < n_chains)
            trace += n_chains
        if INJECTED:
            epsilon = tl.load(noise + place, mask=inside, other=0.0)
            uniform = tl.load(uniforms + rows, mask=rows < n_chains, other=0.0)
            noise += n_chains * n_latents
            uniforms += n_chains
        else:
            epsilon = tl.where(inside, _standard_normal(key, chains, step, units), 0.0)
            uniform = _uniform(key, chains, step)
        change = moves * (noise_scale * epsilon - step_size * grad)
        moved = z + change
        new_value, new_grad = _target(
            moved, networks, network_size, constant, slope, N_NETWORKS, DEPTH, LATENTS, WIDTH, KIND, PRECISION
        )
        squares = tl.sum(moves * (new_grad * new_grad - grad * grad), axis=1)
        log_ratio = (
            new_value - value + 0.5 * tl.sum((grad + new_grad) * change, axis=1) - 0.25 * step_size * squares
        )
        accept = uniform < tl.exp(log_ratio)
        z, grad = tl.where(accept[:, None], moved, z), tl.where(accept[:, None], new_grad, grad)
        value, count = tl.where(accept, new_value, value), count + accept.to(tl.float32)
    tl.store(end + place, z, mask=inside)
    tl.store(accepted + rows, count, mask=rows < n_chains)
