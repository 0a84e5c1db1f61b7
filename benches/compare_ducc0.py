#!/usr/bin/env python3
"""Scalar spherical harmonic transforms, ours against ducc0 (pip install ducc0), one thread each, processor time of the thread, alternating.

  cargo bench -p scatterc --bench transforms --no-run      # prints the path of the binary
  python benches/compare_ducc0.py BINARY [--L 256 512 1024] [--out benches/results/NAME.json]

Prints per bandlimit and number of fields: milliseconds of each, best of the rounds, and the ratio ducc0 / ours. Same grid (Gauss-Legendre, L rings of 2L - 1 samples), same
triangle of coefficients, FFTs included; ducc0 takes several fields one after the other, because its scalar transforms have no batch.
"""
import argparse
import json
import subprocess
import time

import ducc0
import numpy as np

ROUNDS = 4


def peer(L, fields):
    """Milliseconds of `fields` inverse and forward transforms."""
    rng = np.random.default_rng(0)
    n = L * (L + 1) // 2
    alm = rng.standard_normal((1, n)) + 1j * rng.standard_normal((1, n))
    alm[:, :L] = alm[:, :L].real
    options = dict(spin=0, lmax=L - 1, geometry="GL", nthreads=1)
    map_ = np.empty((1, L, 2 * L - 1))
    times = [time.thread_time()]
    for _ in range(fields):
        ducc0.sht.synthesis_2d(alm=alm, ntheta=L, nphi=2 * L - 1, map=map_, **options)
    times.append(time.thread_time())
    for _ in range(fields):
        ducc0.sht.analysis_2d(map=map_, alm=alm, **options)
    times.append(time.thread_time())
    return np.diff(times) * 1e3


def ours(binary, L, fields):
    text = subprocess.run([binary, "--bench", "--fields", str(fields), "--rounds", "3", str(L)], check=True, capture_output=True, text=True).stdout
    row = json.loads(text)
    return np.array([row["inverse_ms"], row["forward_ms"]])


parser = argparse.ArgumentParser()
parser.add_argument("binary")
parser.add_argument("--L", type=int, nargs="+", default=[256, 512, 1024])
parser.add_argument("--out")
arguments = parser.parse_args()
rows = []
for L in arguments.L:
    for fields in (1, 5):
        best = {"ours": np.full(2, np.inf), "ducc0": np.full(2, np.inf)}
        peer(L, 1)
        for _ in range(ROUNDS):
            best["ours"] = np.minimum(best["ours"], ours(arguments.binary, L, fields))
            best["ducc0"] = np.minimum(best["ducc0"], peer(L, fields))
        for k, direction in enumerate(("inverse", "forward")):
            a, b = best["ours"][k], best["ducc0"][k]
            print(f"L={L} fields={fields} {direction}: ours {a:.3f} ms, ducc0 {ducc0.__version__} {b:.3f} ms, ratio {b / a:.2f}")
            rows.append({"L": L, "fields": fields, "direction": direction, "ours_cpu_ms": a, "ducc0_cpu_ms": b, "ratio": b / a})
if arguments.out:
    with open(arguments.out, "w") as file:
        json.dump({"date": time.strftime("%Y-%m-%d"), "threads": 1, "ducc0": ducc0.__version__, "rows": rows}, file, indent=1)
        file.write("\n")
