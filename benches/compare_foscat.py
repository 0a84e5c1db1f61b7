#!/usr/bin/env python3
"""How much sooner than FOSCAT is scatterc, on one core, both in turn in one run?

    python3 benches/compare_foscat.py --scatterc target/release/scatterc --python VENV/bin/python --nside 32 64 128 --out benches/results/NAME.json
    ... --hw 256 --length 4096                       images and series too
    ... --precision f32                              scatterc in single precision; FOSCAT always runs in its default, f32

VENV is any environment with `pip install foscat==2026.6.1 torch healpy`; nothing of it is needed here. Per size and round: scatterc's `bench` (one thread), FOSCAT as it is,
and FOSCAT repaired (--patched of the worker below). FOSCAT multiplies dense by sparse matrices, for which torch sorts the matrix again in every call; repaired, both
orientations of every matrix are kept and multiplied from the left, which gives the same numbers. Figures are the smallest CPU time of a call (processor time of the whole process, so
that another program beside does not count), and wall times for reference; the gradient is that of mean |S|^2, with the value. Set-up is the first evaluation of a fresh process with an
empty cache on both sides, operators included, imports left out. Standard library only, but for the worker.
"""
import argparse, json, os, platform, statistics, subprocess, sys, tempfile, time


def worker(a):
    """Times FOSCAT in this process and prints one JSON line."""
    import contextlib, resource, warnings
    warnings.filterwarnings("ignore")
    home = tempfile.mkdtemp(prefix="compare-foscat-")
    os.environ.update(HOME=home, CUDA_VISIBLE_DEVICES="")
    import numpy, torch
    torch.set_num_threads(1)
    if a.patched:
        repair(torch)
    import foscat.scat_cov, foscat.scat_cov1D, foscat.scat_cov2D
    rng = numpy.random.default_rng(0)
    common = dict(NORIENT=4, all_type="float32", TEMPLATE_PATH=os.path.join(home, "cache"), silent=True)
    if a.domain == "healpix":
        make, shape = lambda: foscat.scat_cov.funct(KERNELSZ=3, **common), (1, 12 * a.size**2)
    elif a.domain == "plane":
        make, shape = lambda: foscat.scat_cov2D.funct(**common), (1, a.size, a.size)
    else:
        make, shape = lambda: foscat.scat_cov1D.funct(**common), (1, a.size)
    x = torch.as_tensor(rng.standard_normal(shape).astype("float32"))
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        start, cpu = time.perf_counter(), time.process_time()
        op = make()
        op.eval(x)
        setup = time.perf_counter() - start, time.process_time() - cpu

        def forward():
            with torch.no_grad():
                op.eval(x)

        def gradient():
            v = x.clone().requires_grad_(True)
            op.reduce_mean(op.square(op.eval(v))).backward()

        found = {"setup_s": setup[0], "setup_cpu_s": setup[1], "torch": torch.__version__}
        for name, task in (("forward", forward), ("gradient", gradient)):
            task()
            wall, own = [], []
            until = time.perf_counter() + a.seconds
            while len(wall) < 3 or (len(wall) < a.reps and time.perf_counter() < until):
                start, cpu = time.perf_counter(), time.process_time()
                task()
                own.append(1e3 * (time.process_time() - cpu))
                wall.append(1e3 * (time.perf_counter() - start))
            found[f"{name}_cpu_ms"] = min(own)
            found[f"{name}_ms"] = statistics.median(wall)
            if name == "forward":
                found["peak_forward_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
    import shutil
    shutil.rmtree(home, ignore_errors=True)


def repair(torch):
    """Keeps every sparse matrix of FOSCAT in both orientations and multiplies from the left."""
    import foscat.BkTorch, foscat.SphereDownGeo
    kept = {}

    def orientations(matrix):
        if id(matrix) not in kept:
            flipped = matrix.to_sparse_coo().transpose(0, 1).coalesce().to_sparse_csr()
            kept[id(matrix)] = (matrix, flipped)
        return kept[id(matrix)]

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, matrix, flipped, x):
            ctx.flipped = flipped
            return matrix @ x

        @staticmethod
        def backward(ctx, gradient):
            return None, None, ctx.flipped @ gradient.contiguous()

    def multiply(self, dense, matrix):
        own, flipped = orientations(matrix)
        return Product.apply(flipped, own, dense.transpose(0, 1).contiguous()).transpose(0, 1)

    plain = foscat.SphereDownGeo.SphereDownGeo.forward

    def down(self, x):
        if self.mode != "smooth" or self.has_in_subset:
            return plain(self, x)
        batch, channels, _ = x.shape
        own, flipped = orientations(self.M)
        y = Product.apply(own, flipped, x.reshape(batch * channels, -1).transpose(0, 1).contiguous())
        return y.transpose(0, 1).reshape(batch, channels, self.K_out).contiguous(), self.cell_ids_out_t.to(x.device)

    foscat.BkTorch.BkTorch.bk_sparse_dense_matmul = multiply
    foscat.SphereDownGeo.SphereDownGeo.forward = down


def run(command, **more):
    out = subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout
    return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])


def ours(a, domain, size):
    """scatterc's bench: its first load in an empty cache is the set-up."""
    sizes = {"healpix": ["--nside", str(size)], "plane": ["--size", f"{size}x{size}", "--cut-edges"], "line": ["--size", str(size), "--cut-edges"]}[domain]
    command = [a.scatterc, "bench", "--json", "--quiet", "--domain", domain, "--statistic", "foscat", "--threads", "1", "--reps", str(a.reps), "--precision", a.precision]
    with tempfile.TemporaryDirectory(prefix="compare-foscat-") as cache:
        found = run(command + sizes, env=dict(os.environ, SCATTERC_CACHE_DIR=cache))
    found["setup_s"] = (found["compile_ms"] + found["load_ms"] + found["first_ms"]) / 1e3
    return found


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--scatterc", default="target/release/scatterc")
    ap.add_argument("--python", default=sys.executable, help="an interpreter that has FOSCAT")
    ap.add_argument("--nside", type=int, nargs="*", default=[])
    ap.add_argument("--hw", type=int, nargs="*", default=[])
    ap.add_argument("--length", type=int, nargs="*", default=[])
    ap.add_argument("--precision", default="f64", choices=("f64", "f32"))
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--reps", type=int, default=15)
    ap.add_argument("--seconds", type=float, default=30.0, help="a phase of FOSCAT ends after so long, and three calls")
    ap.add_argument("--unpatched-up-to", type=int, default=128, help="largest nside that FOSCAT as it is runs at")
    ap.add_argument("--out", default=None)
    ap.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    ap.add_argument("--domain", default="healpix", help=argparse.SUPPRESS)
    ap.add_argument("--size", type=int, default=32, help=argparse.SUPPRESS)
    ap.add_argument("--patched", action="store_true", help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.worker:
        return worker(a)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    rows = []
    for domain, size in [("healpix", n) for n in a.nside] + [("plane", n) for n in a.hw] + [("line", n) for n in a.length]:
        peer = [a.python, os.path.abspath(__file__), "--worker", "--domain", domain, "--size", str(size), "--reps", str(a.reps), "--seconds", str(a.seconds)]
        kinds = {"patched": peer + ["--patched"]}
        if domain != "healpix" or size <= a.unpatched_up_to:
            kinds["unpatched"] = peer
        own, theirs = [], {kind: [] for kind in kinds}
        for _ in range(a.rounds):
            own.append(ours(a, domain, size))
            for kind, command in kinds.items():
                theirs[kind].append(run(command))
        row = {"domain": domain, "size": size, "precision": own[0]["precision"], "simd": own[0]["simd"]}
        for key in ("setup_s", "forward_ms", "gradient_ms", "peak_rss_mb", "held_mb", "gradient_held_mb"):
            row[key] = statistics.median(o[key] for o in own)
        for key in ("forward_cpu_ms", "gradient_cpu_ms"):
            row[key] = min(o[key] for o in own)
        for kind, found in theirs.items():
            for key in ("forward_cpu_ms", "gradient_cpu_ms"):
                row[f"foscat_{kind}_{key}"] = min(t[key] for t in found)
                row[f"{kind}_{key.split('_')[0]}_ratio"] = row[f"foscat_{kind}_{key}"] / row[key]
            for key in ("setup_s", "forward_ms", "gradient_ms", "peak_forward_mb", "peak_mb"):
                row[f"foscat_{kind}_{key}"] = statistics.median(t[key] for t in found)
        row["torch"] = theirs["patched"][0]["torch"]
        rows.append(row)
        print(json.dumps(row), flush=True)
    report = {"date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "cores": os.cpu_count(), "threads": 1, "foscat": "2026.6.1", "foscat_dtype": "float32",
              "load_at_the_end": os.getloadavg()[0], "rounds": a.rounds, "rows": rows}
    try:
        with open("/proc/cpuinfo") as f:
            report["cpu"] = next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
        report["commit"] = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    except (OSError, StopIteration):
        pass
    if a.out:
        with open(a.out, "w") as f:
            json.dump(report, f, indent=1)
            f.write("\n")
    print("\nCPU ms, forward / value and gradient\n\n| | scatterc | FOSCAT repaired | ratio | FOSCAT as it is | ratio |\n|---|---|---|---|---|---|")
    for r in rows:
        cells = [f"{r['domain']} {r['size']}", f"{r['forward_cpu_ms']:.2f} / {r['gradient_cpu_ms']:.2f}"]
        for kind in ("patched", "unpatched"):
            if f"foscat_{kind}_forward_cpu_ms" in r:
                cells += [f"{r[f'foscat_{kind}_forward_cpu_ms']:.0f} / {r[f'foscat_{kind}_gradient_cpu_ms']:.0f}", f"{r[f'{kind}_forward_ratio']:.1f} / {r[f'{kind}_gradient_ratio']:.1f}"]
            else:
                cells += ["-", "-"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
