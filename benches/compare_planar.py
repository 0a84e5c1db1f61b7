#!/usr/bin/env python3
"""How do statistics of images and series compare with kymatio, XLA and the planar PyTorch packages, on the same core in the same run?

    python3 benches/compare_planar.py --scatterc target/release/scatterc --python PYTHON --peers FOLDER --precision f32 --out benches/results/NAME.json

Every row runs in turn, `--rounds` times, on one thread: scatterc's own `bench`, a peer script (peer_planar.py, with `--python`'s packages) and, for `cheng`, the XLA program
anchor_xla_planar.py, both in FOLDER. Times are processor times of the process in milliseconds, medians over the rounds of each program's own figure (scatterc: median of its
repetitions; the scripts: their least). A peer that is not installed is left out and named under `missing`. `--small` takes sizes for a quick check of the harness.
Standard library only.
"""
import argparse, json, os, platform, shlex, statistics, subprocess, sys, time

ROWS = [
    # name, scatterc options, peer options, XLA options
    ("cheng 256 J=7 L=4", ["--domain", "plane", "--statistic", "cheng", "--size", "256x256", "--scales", "7", "--orientations", "4"],
     ["--peer", "stcov", "--size", "256", "--J", "7", "--L", "4"], ["--size", "256", "--J", "7", "--L", "4"]),
    ("cheng 512 J=8 L=4", ["--domain", "plane", "--statistic", "cheng", "--size", "512x512", "--scales", "8", "--orientations", "4"],
     ["--peer", "stcov", "--size", "512", "--J", "8", "--L", "4"], ["--size", "512", "--J", "8", "--L", "4"]),
    ("kymatio2d 256 J=4 L=8", ["--domain", "plane", "--statistic", "kymatio2d", "--size", "256x256", "--scales", "4", "--orientations", "8"],
     ["--peer", "kymatio2d-torch", "--size", "256", "--J", "4", "--L", "8"], None),
    ("kymatio1d 2^14 J=8 Q=8", ["--domain", "line", "--statistic", "kymatio1d", "--size", "16384", "--scales", "8"],
     ["--peer", "kymatio1d-torch", "--size", "16384", "--J", "8", "--Q", "8"], None),
    ("spectra 2^14 J=11", ["--domain", "line", "--statistic", "spectra", "--size", "16384", "--scales", "11"],
     ["--peer", "spectra1d", "--size", "16384", "--J", "11"], None),
]
SMALL = {"512x512": "32x32", "256x256": "32x32", "16384": "512", "512": "32", "256": "32", "7": "3", "8": "3", "11": "5", "4": "4"}


def small(options):
    """The options with small sizes; scales that fit them."""
    return options and [SMALL.get(x, x) if k > 0 and options[k - 1] in ("--size", "--scales", "--J") else x for k, x in enumerate(options)]


def run(command, environment):
    """The last JSON line a command prints, or the reason why there is none."""
    made = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in made.stdout.splitlines() if line.startswith("{")]
    if made.returncode or not lines:
        return None, (made.stderr.strip().splitlines() or ["no output"])[-1][:200]
    return json.loads(lines[-1]), None


def median(results, key):
    found = [r[key] for r in results if r.get(key) is not None]
    return round(statistics.median(found), 4) if found else None


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--scatterc", default="target/release/scatterc")
    ap.add_argument("--python", default=sys.executable, help="an interpreter with the peers' packages; clones of what is not packaged under $PEERS_ROOT")
    ap.add_argument("--peers", default=None, help="the folder of peer_planar.py and anchor_xla_planar.py")
    ap.add_argument("--precision", default="f32", choices=["f32", "f64"])
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--reps", type=int, default=11)
    ap.add_argument("--budget", type=float, default=5.0, help="seconds per timed function of a peer")
    ap.add_argument("--rows", nargs="*", default=None, help="parts of names of the rows to run")
    ap.add_argument("--small", action="store_true")
    ap.add_argument("--out", default=None)
    a = ap.parse_args()
    python = shlex.split(a.python)
    dtype = "float32" if a.precision == "f32" else "float64"
    one = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    rows, missing = [], {}
    for name, own, peer, xla in ROWS:
        if a.rows and not any(part in name for part in a.rows):
            continue
        if a.small:
            own, peer, xla = small(own), small(peer), small(xla)
        commands = {"scatterc": [a.scatterc, "bench", "--json", "--quiet", "--threads", "1", "--precision", a.precision, "--reps", str(a.reps)] + own}
        if a.peers:
            script = os.path.join(a.peers, "peer_planar.py")
            commands["peer"] = python + [script] + peer + ["--dtype", dtype, "--threads", "1", "--budget", str(a.budget)]
            if xla:
                script = os.path.join(a.peers, "anchor_xla_planar.py")
                for mode in ("fwd", "grad"):
                    commands[f"xla {mode}"] = python + [script] + xla + ["--dtype", dtype, "--mode", mode, "--threads", "1", "--budget", str(a.budget)]
        results = {key: [] for key in commands}
        # An empty cache for the first round, whose set-up is then that of a first start.
        for _ in range(a.rounds):
            for key, command in commands.items():
                if f"{name}: {key}" in missing:
                    continue
                found, reason = run(command, one)
                if found is None:
                    missing[f"{name}: {key}"] = reason
                else:
                    results[key].append(found)
        row = {"name": name, "options": own, "rounds": a.rounds}
        ours = results["scatterc"]
        if ours:
            for key in ("forward_cpu_ms", "gradient_cpu_ms", "set_up_cpu_ms", "gradient_set_up_cpu_ms", "held_mb", "gradient_held_mb", "flops", "gradient_flops"):
                row[key] = median(ours, key)
            row["first_set_up_cpu_ms"] = ours[0].get("set_up_cpu_ms")
            row["simd"] = ours[0]["simd"]
        theirs = results.get("peer", [])
        if theirs:
            seconds = {"peer_forward_cpu_ms": "fwd_cpu_min_s", "peer_gradient_cpu_ms": "grad_cpu_min_s", "peer_set_up_cpu_ms": "setup_cpu_s"}
            row.update({key: median(theirs, of) and round(1e3 * median(theirs, of), 3) for key, of in seconds.items()})
            row["peer_gradient_finite"] = theirs[0].get("grad_finite")
            row["peer"] = theirs[0]["peer"]
        for mode, key in (("fwd", "forward"), ("grad", "gradient")):
            anchor = results.get(f"xla {mode}", [])
            if anchor:
                row[f"xla_{key}_cpu_ms"] = round(1e3 * median(anchor, "run_cpu_min_s"), 3)
                row[f"xla_{key}_build_cpu_ms"] = round(1e3 * median(anchor, "build_cpu_s"), 1)
                row[f"xla_{key}_temp_mb"] = median(anchor, "temp_mb")
        for key in ("forward", "gradient"):
            for other in ("peer", "xla"):
                if row.get(f"{key}_cpu_ms") and row.get(f"{other}_{key}_cpu_ms"):
                    row[f"{other}_{key}_ratio"] = round(row[f"{other}_{key}_cpu_ms"] / row[f"{key}_cpu_ms"], 2)
        rows.append(row)
        print(json.dumps(row), flush=True)
    report = {"date": time.strftime("%Y-%m-%d"), "machine": platform.machine(), "cores": os.cpu_count(), "dtype": dtype, "threads": 1, "small": a.small, "rows": rows, "missing": missing}
    try:
        with open("/proc/cpuinfo") as f:
            report["cpu"] = next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
        report["load_after"] = round(os.getloadavg()[0], 2)
        report["commit"] = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    except (OSError, StopIteration):
        pass
    if a.out:
        with open(a.out, "w") as f:
            json.dump(report, f, indent=1)
            f.write("\n")
    print("\n| | scatterc forward / gradient, CPU ms | peer | XLA | ratio to the peer | ratio to XLA |\n|---|---|---|---|---|---|")
    two = lambda row, key: " / ".join("-" if row.get(key.format(k)) is None else f"{row[key.format(k)]:.1f}" for k in ("forward", "gradient"))
    for row in rows:
        print("| " + " | ".join([row["name"]] + [two(row, key) for key in ("{}_cpu_ms", "peer_{}_cpu_ms", "xla_{}_cpu_ms", "peer_{}_ratio", "xla_{}_ratio")]) + " |")
    for what, reason in missing.items():
        print(f"not run: {what}: {reason}")


if __name__ == "__main__":
    main()
