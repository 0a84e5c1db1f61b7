#!/usr/bin/env python3
"""How much sooner than S2SCAT is scatterc, on the same cores in the same run?

    python3 benches/compare_s2scat.py --scatterc target/release/scatterc --peer 'PYTHON peer_s2scat.py' --L 64 128 --out benches/results/NAME.json

Runs the two in turn (S2SCAT in precompute mode, its tables from the files of an earlier run where --tables DIR has them), N = 3, J_min = 0, real fields, f64, and
prints a Markdown table of medians and their ratios. `--peer` is a command that takes --L --N --jmin --mode --reps --tables and prints one JSON line with
forward_ms_median, grad_ms_median and synth_s (with --synth). The time of one Adam step of the peer is the difference of two runs of --synth, so that tracing and
compiling do not count; ours is the time of one gradient evaluation. Standard library only.
"""
import argparse, json, os, platform, shlex, statistics, subprocess, sys, time


def run(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--scatterc", default="target/release/scatterc")
    ap.add_argument("--peer", required=True)
    ap.add_argument("--tables", default=None)
    ap.add_argument("--L", type=int, nargs="+", default=[64, 128])
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--adam", action="store_true", help="also time the peer's own Adam loop")
    ap.add_argument("--out", default=None)
    a = ap.parse_args()
    rows = []
    for L in a.L:
        ours, theirs = [], []
        peer = shlex.split(a.peer) + ["--L", str(L), "--N", "3", "--jmin", "0", "--mode", "precompute", "--reps", "3"]
        if a.tables:
            peer += ["--tables", os.path.join(a.tables, f"tables{L}.pkl")]
        mine = [a.scatterc, "bench", "--json", "--quiet", "--bandlimit", str(L), "--directions", "3", "--reps", "15"]
        for _ in range(a.rounds):
            ours.append(run(mine))
            theirs.append(run(peer))
        row = {"L": L, "N": 3, "J_min": 0, "rounds": a.rounds}
        for name, key, peer_key in (("forward", "forward_ms", "forward_ms_median"), ("gradient", "gradient_ms", "grad_ms_median")):
            row[f"{name}_ms"] = statistics.median(o[key] for o in ours)
            row[f"s2scat_{name}_ms"] = statistics.median(t[peer_key] for t in theirs)
            row[f"{name}_ratio"] = statistics.median(t[peer_key] / o[key] for o, t in zip(ours, theirs))
        row["compile_ms"] = statistics.median(o["compile_ms"] for o in ours)
        row["s2scat_compile_s"] = statistics.median(t["compile_s"] for t in theirs)
        if a.adam:
            few, many = (run(peer + ["--synth", str(n)])["synth_s"] for n in (5, 25))
            row["s2scat_adam_step_ms"] = (many - few) / 20 * 1e3
            row["adam_step_ratio"] = row["s2scat_adam_step_ms"] / run(mine)["gradient_ms"]
        rows.append(row)
        print(json.dumps(row), flush=True)
    report = {"date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "cores": os.cpu_count(), "dtype": "float64", "rows": rows}
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
    print("\n| L | scatterc forward / gradient ms | S2SCAT forward / gradient ms | ratio |\n|---|---|---|---|")
    for r in rows:
        print(f"| {r['L']} | {r['forward_ms']:.2f} / {r['gradient_ms']:.2f} | {r['s2scat_forward_ms']:.0f} / {r['s2scat_gradient_ms']:.0f} | {r['forward_ratio']:.0f} / {r['gradient_ratio']:.0f} |")
    sys.exit(0)


if __name__ == "__main__":
    main()
