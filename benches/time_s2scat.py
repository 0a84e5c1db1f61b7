#!/usr/bin/env python3
"""Wall and processor time of S2SCAT, forward and with the gradient of its own loss; one JSON line.

    python time_s2scat.py --L 64 --mode precompute --tables tables64.pkl

Needs jax[cpu], numpy < 2, optax, and s2fft, s2wav, s2scat installed with --no-deps. N = 3, J_min = 0, a real field, f64. Tables are made once and kept in the file.
From L = 256 the functions of its tables come from s2fft's recursion at fixed n (seconds) in place of the one over whole planes, O(L^4), that takes more than an
hour; the two agree to 1.3e-12 at L = 64.
"""
import argparse, json, os, pickle, statistics, sys, time, types

try:
    import torch  # noqa: F401
except ImportError:
    # s2wav imports torch where nothing here needs it.
    stub = types.ModuleType("torch")
    stub.tensor = type("tensor", (), {})
    sys.modules["torch"] = stub
import jax

jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
import s2scat

ap = argparse.ArgumentParser()
ap.add_argument("--L", type=int, required=True)
ap.add_argument("--N", type=int, default=3)
ap.add_argument("--mode", choices=["precompute", "recursive"], default="precompute")
ap.add_argument("--reps", type=int, default=3)
ap.add_argument("--tables")
ap.add_argument("--configure-only", action="store_true")
ap.add_argument("--adam", type=int, default=0, help="steps of S2SCAT's own Adam loop")
a = ap.parse_args()
L, N, recursive = a.L, a.N, a.mode == "recursive"
if L >= 256:
    import s2wav.transforms.construct as construct
    from s2fft.precompute_transforms.construct import spin_spherical_kernel_jax

    def wigner_kernel(L, N, reality, sampling, nside, forward):
        """`wigner_kernel_jax` of real signals, inverse: d^l_{mn}(theta) (2 l + 1) / (8 pi^2), [n, theta, l, m]."""
        assert reality and not forward
        degrees = jnp.arange(L)
        scale = jnp.sqrt((2 * degrees + 1) * 4 * jnp.pi) / (8 * jnp.pi**2)
        return jnp.stack([spin_spherical_kernel_jax(L, -n, False, sampling, nside, False, "price-mcewen") * scale[:, None] for n in range(N)])

    construct.wigner_kernel_jax = wigner_kernel
block = jax.block_until_ready
out = {"tool": "s2scat", "L": L, "N": N, "J_min": 0, "mode": a.mode, "jax": jax.__version__, "cores": os.cpu_count()}

if a.tables and os.path.exists(a.tables):
    with open(a.tables, "rb") as f:
        tables = block(jax.tree_util.tree_map(jnp.asarray, pickle.load(f)))
else:
    wall, cpu = time.perf_counter(), time.process_time()
    tables = block(s2scat.configure(L, N, 0, True, recursive, False))
    out.update(tables_s=time.perf_counter() - wall, tables_cpu_s=time.process_time() - cpu)
    if a.tables:
        with open(a.tables, "wb") as f:
            pickle.dump(jax.tree_util.tree_map(np.asarray, tables), f, protocol=5)
if a.configure_only:
    print(json.dumps(out), flush=True)
    sys.exit(0)


def field(seed):
    r = np.random.default_rng(seed)
    x = r.standard_normal((L, L)) + 1j * r.standard_normal((L, L))
    ell, m = np.arange(L)[:, None], np.arange(L)[None]
    x = np.where(m <= ell, x / (1.0 + ell), 0)
    x[:, 0] = x[:, 0].real
    return jnp.asarray(x)


# Tables are an argument: constants would be embedded in the program.
def forward(x, tables):
    return s2scat.scatter(x, L, N, 0, True, tables, None, recursive, False, None)


def loss(x, tables, target):
    return s2scat.optimisation.l2_covariance_loss(forward(x, tables), target)


def timed(name, function, *args):
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    out[f"{name}_compile_s"] = time.perf_counter() - start
    result = block(compiled(*args))
    wall, cpu = [], []
    for _ in range(a.reps):
        start, used = time.perf_counter(), time.process_time()
        block(compiled(*args))
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - used) * 1e3)
    out.update({f"{name}_ms": statistics.median(wall), f"{name}_cpu_ms": statistics.median(cpu)})
    return result


x = field(1)
target = timed("forward", forward, field(2), tables)
timed("gradient", jax.value_and_grad(loss), x, tables, target)
if a.adam:
    norm = s2scat.compute_norm(field(2), L, N, 0, True, tables, recursive)
    goal = s2scat.scatter(field(2), L, N, 0, True, tables, norm, recursive)
    objective = lambda z: s2scat.optimisation.l2_covariance_loss(s2scat.scatter(z, L, N, 0, True, tables, norm, recursive), goal)
    wall, cpu = time.perf_counter(), time.process_time()
    z, _ = s2scat.optimisation.fit_optax(x, objective, a.adam, 1e-3, None, max(1, a.adam // 10), True, False, True)
    block(z)
    out.update(adam_steps=a.adam, adam_s=time.perf_counter() - wall, adam_cpu_s=time.process_time() - cpu)
print(json.dumps(out), flush=True)
