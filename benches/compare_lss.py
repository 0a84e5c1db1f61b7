#!/usr/bin/env python3
"""How long do 300 steps of L-BFGS from white noise take here and with FOSCAT, and what do they reach? The experiment of FOSCAT's demonstration.

    python3 benches/compare_lss.py --scatterc target/release/scatterc --python VENV/bin/python --map LSS_map_nside128.npy --seeds 0 1 --out benches/results/NAME.json

The map is degraded by plain means of children to `--nside`; FOSCAT's notebook loss (squares over its sigmas, K = 3, L = 4) is minimised for `--steps` steps, in turn, on the same cores. Ours is the whole command,
`scatterc synthesise --compatible --start white`, with an empty cache the first time. FOSCAT's `wall_s` is its descent alone, its `whole_s` the whole process with imports and the
matrices of its operators. VENV has FOSCAT and healpy.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile, time


def moments(nside, target, map_):
    import healpy, numpy
    power = [healpy.anafast(healpy.reorder(numpy.asarray(m, dtype=float), n2r=True), lmax=3 * nside - 1, iter=3) for m in (target, map_)]
    ratio = lambda a, b: float(sum((2 * l + 1) * power[1][l] for l in range(a, b)) / sum((2 * l + 1) * power[0][l] for l in range(a, b)))
    return {
        "deviation_ratio": float(numpy.std(map_) / numpy.std(target)),
        "power_ratio": ratio(1, 3 * nside),
        "power_ratio_below_2_nside": ratio(1, 2 * nside),
        "correlation": float(numpy.corrcoef(target, map_)[0, 1]),
    }


def worker(a):
    import contextlib, warnings

    warnings.filterwarnings("ignore")
    os.environ.update(HOME=tempfile.mkdtemp(), CUDA_VISIBLE_DEVICES="")
    import numpy, torch
    import foscat.scat_cov, foscat.Synthesis

    target = numpy.load(a.map)
    if a.score:
        print(json.dumps(moments(a.nside, target, numpy.load(a.score).ravel())))
        return
    with contextlib.redirect_stdout(sys.stderr):
        op = foscat.scat_cov.funct(NORIENT=4, KERNELSZ=3, all_type="float32", TEMPLATE_PATH=os.environ["HOME"], silent=True)
        reference, sigma = op.eval(op.backend.bk_cast(target[None, :]), calc_var=True)
        loss = foscat.Synthesis.Loss(lambda u, o, r: o.reduce_mean(o.square((r[0] - o.eval(u)) / r[1])), op, reference, sigma)
        rng = numpy.random.default_rng(a.seed)
        start = op.backend.bk_cast((rng.standard_normal((1, target.size)) * target.std() + target.mean()).astype("float32"))
        value = lambda u: float(numpy.asarray(op.reduce_mean(op.square((reference - op.eval(op.backend.bk_cast(u))) / sigma))))
        first = value(start)
        began, cpu = time.perf_counter(), time.process_time()
        made = foscat.Synthesis.Synthesis([loss]).run(start, EVAL_FREQUENCY=10**6, NUM_EPOCHS=a.steps)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        made = numpy.asarray(made.detach().numpy() if hasattr(made, "detach") else made).reshape(1, -1)
        last = value(made.astype("float32"))
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "loss": [first, last], **moments(a.nside, target, made[0])}))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--scatterc", default="target/release/scatterc")
    ap.add_argument("--python", default=sys.executable)
    ap.add_argument("--map", required=True)
    ap.add_argument("--nside", type=int, default=32)
    ap.add_argument("--steps", type=int, default=300)
    ap.add_argument("--seeds", type=int, nargs="+", default=[0])
    ap.add_argument("--own", type=int, nargs="*", default=[], help="further seeds that only ours runs with")
    ap.add_argument("--precision", default="f64", choices=("f64", "f32"))
    ap.add_argument("--also", default=None, help="a further loss of ours, such as variances=10")
    ap.add_argument("--out", default=None)
    ap.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    ap.add_argument("--score", default=None, help=argparse.SUPPRESS)
    ap.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.worker:
        return worker(a)
    folder = tempfile.mkdtemp(prefix="compare-lss-")
    target = os.path.join(folder, "target.npy")
    degrade = "import numpy, sys; m = numpy.load(sys.argv[1]).astype('float64'); numpy.save(sys.argv[2], m.reshape(12 * int(sys.argv[3]) ** 2, -1).mean(axis=1))"
    subprocess.run([a.python, "-c", degrade, a.map, target, str(a.nside)], check=True)
    own_environment = {**os.environ, "SCATTERC_CACHE_DIR": os.path.join(folder, "cache")}
    peer = [a.python, os.path.abspath(__file__), "--worker", "--map", target, "--nside", str(a.nside), "--steps", str(a.steps)]
    last = lambda text: json.loads([line for line in text.splitlines() if line.startswith("{")][-1])
    rows = []
    for seed in a.seeds + a.own:
        made = os.path.join(folder, f"{seed}.npy")
        command = [a.scatterc, "synthesise", target, "-o", made, "--domain", "healpix", "--statistic", "foscat", "--compatible", "--start", "white", "--tolerance", "0"]
        command += ["--steps", str(a.steps), "--seed", str(seed)] + (["--precision", a.precision] if a.precision != "f64" else [])
        command += ["--also", a.also] if a.also else []
        began = time.perf_counter()
        said = subprocess.run(command, check=True, env=own_environment, capture_output=True, text=True)
        row = {"seed": seed, "wall_s": time.perf_counter() - began}
        row["loss"] = [float(x) for x in re.findall(r"loss (\S+) -> (\S+) in", said.stdout + said.stderr)[-1]]
        row.update(last(subprocess.run(peer + ["--score", made], check=True, capture_output=True, text=True).stdout))
        if seed in a.seeds:
            began = time.perf_counter()
            row["foscat"] = last(subprocess.run(peer + ["--seed", str(seed)], check=True, capture_output=True, text=True).stdout)
            row["foscat"]["whole_s"] = time.perf_counter() - began
            row["wall_ratio"] = row["foscat"]["wall_s"] / row["wall_s"]
            row["whole_ratio"] = row["foscat"]["whole_s"] / row["wall_s"]
        print(json.dumps(row), flush=True)
        rows.append(row)
    found = {"date": time.strftime("%Y-%m-%d"), "nside": a.nside, "steps": a.steps, "precision": a.precision, "also": a.also, "rows": rows}
    for ratio in ("wall_ratio", "whole_ratio"):
        found[f"median_{ratio}"] = statistics.median(row[ratio] for row in rows if ratio in row)
    if a.out:
        with open(a.out, "w") as f:
            json.dump(found, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
