#!/usr/bin/env python3
"""How much sooner than S2SCAT is scatterc, on the same cores in the same run?

    python3 benches/compare_s2scat.py --scatterc target/release/scatterc --python PYTHON --tables DIR --L 64 128 256 --out benches/results/NAME.json

Runs the two in turn, N = 3, J_min = 0, real fields, f64, on all cores and ours also on one thread, and prints a Markdown table of medians and their ratios. PYTHON has jax and S2SCAT
(`time_s2scat.py` says how). The peer runs with its tables built (from files in DIR where they exist, which it makes otherwise) and, unless --no-recursive is given, without
tables; ratios are those of its better mode, of wall time and of processor time, which other work on the machine disturbs less. With --adam also its own Adam
loop against ours, start-up included. Standard library only.
"""
import argparse, json, os, platform, subprocess, sys, tempfile, time
from statistics import median

HERE = os.path.dirname(os.path.abspath(__file__))


def run(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--scatterc", default="target/release/scatterc")
    ap.add_argument("--python", required=True)
    ap.add_argument("--tables", required=True)
    ap.add_argument("--L", type=int, nargs="+", default=[64, 128])
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--no-recursive", action="store_true")
    ap.add_argument("--adam", action="store_true", help="100 Adam steps at the first L")
    ap.add_argument("--out")
    a = ap.parse_args()
    modes = ["precompute"] if a.no_recursive else ["precompute", "recursive"]
    rows = []
    for L in a.L:
        ours, alone, theirs = [], [], {mode: [] for mode in modes}
        mine = [a.scatterc, "bench", "--json", "--quiet", "--bandlimit", str(L), "--directions", "3", "--reps", "50"]

        def peer(mode, *more):
            tables = os.path.join(a.tables, f"{L}.pkl" if mode == "precompute" else f"{L}-recursive.pkl")
            return [a.python, os.path.join(HERE, "time_s2scat.py"), "--L", str(L), "--mode", mode, "--tables", tables, "--reps", "3", *more]

        for k in range(a.rounds):
            ours.append(run(mine))
            alone.append(run([*mine, "--threads", "1"]))
            for mode in modes:
                # The mode without tables is slow: once is enough to see that it is.
                if k == 0 or mode == "precompute":
                    theirs[mode].append(run(peer(mode)))
        row = {"L": L, "N": 3, "J_min": 0, "rounds": a.rounds}
        for name in ("forward", "gradient"):
            for unit in ("ms", "cpu_ms"):
                key = f"{name}_{unit}"
                row[key] = median(o[key] for o in ours)
                for mode in modes:
                    row[f"s2scat_{mode}_{key}"] = median(t[key] for t in theirs[mode])
                row[f"one_thread_{key}"] = median(o[key] for o in alone)
                row[f"{key}_ratio"] = min(row[f"s2scat_{mode}_{key}"] for mode in modes) / row[key]
        row["compile_ms"] = median(o["compile_ms"] + o["load_ms"] for o in ours)
        row["s2scat_compile_s"] = median(t["forward_compile_s"] for t in theirs["precompute"])
        if a.adam and L == a.L[0]:
            row["s2scat_adam_100_steps_s"] = run(peer("precompute", "--adam", "100"))["adam_s"]
            with tempfile.TemporaryDirectory() as folder:
                target, new = os.path.join(folder, "target.npy"), os.path.join(folder, "new.npy")
                script = f"import numpy as n; r=n.random.default_rng(2); x=r.standard_normal(({L},{L}))+1j*r.standard_normal(({L},{L})); x/=1+n.arange({L})[:,None]; x[:,0]=x[:,0].real; n.save({target!r}, n.tril(x))"
                subprocess.run([a.python, "-c", script], check=True)
                command = [a.scatterc, "synthesise", target, "-o", new, "--steps", "100", "--optimiser", "adam", "--start", "white", "--directions", "3", "--quiet"]
                times = []
                for _ in range(7):
                    start = time.perf_counter()
                    subprocess.run(command, check=True, capture_output=True)
                    times.append(time.perf_counter() - start)
                row["adam_100_steps_s"] = median(times)
        rows.append(row)
        print(json.dumps(row), flush=True)
    report = {"date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "cores": os.cpu_count(), "dtype": "float64", "rows": rows}
    try:
        with open("/proc/cpuinfo") as f:
            lines = f.read().splitlines()
        report["cpu"] = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        flags = next((line for line in lines if line.startswith("flags")), "")
        report["vectors"] = next((word for word in ("avx512f", "avx2") if f" {word}" in flags), "baseline")
        report["commit"] = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    except (OSError, StopIteration):
        pass
    if a.out:
        with open(a.out, "w") as f:
            json.dump(report, f, indent=1)
            f.write("\n")
    print("\n| L | processor ms, forward / gradient: all cores | one thread | S2SCAT's better mode | ratio | to one thread | of wall time |\n|---|---|---|---|---|---|---|")
    for r in rows:
        best = [min(r[f"s2scat_{mode}_{name}_cpu_ms"] for mode in modes) for name in ("forward", "gradient")]
        alone = [r["one_thread_forward_cpu_ms"], r["one_thread_gradient_cpu_ms"]]
        print(
            f"| {r['L']} | {r['forward_cpu_ms']:.2f} / {r['gradient_cpu_ms']:.2f} | {alone[0]:.2f} / {alone[1]:.2f} | {best[0]:.0f} / {best[1]:.0f} "
            f"| {r['forward_cpu_ms_ratio']:.0f} / {r['gradient_cpu_ms_ratio']:.0f} | {best[0] / alone[0]:.0f} / {best[1] / alone[1]:.0f} "
            f"| {r['forward_ms_ratio']:.0f} / {r['gradient_ms_ratio']:.0f} |"
        )
    sys.exit(0)


if __name__ == "__main__":
    main()
