#!/usr/bin/env python3
"""How much sooner than S2SCAT is scatterc on one GPU, both measured in turn in the same call?

On a machine with an NVIDIA GPU and its driver, in the root of this repository:

    python3 -m venv .peer && .peer/bin/pip install 'jax[cuda13]' 'numpy' optax nvidia-cuda-nvrtc==13.0.88
    .peer/bin/pip install --no-deps s2fft s2wav s2scat
    cargo build --release
    target/release/scatterc doctor                     # says which driver, device and compiler are found
    python3 benches/gpu_s2scat.py --peer '.peer/bin/python PATH/peer_s2scat.py' --L 64 128 256 --out benches/results/NAME.json

PATH/peer_s2scat.py is a script that runs S2SCAT with the options --L --N --jmin --mode --reps --batch and prints one JSON line with device, forward_ms_median,
grad_ms_median, batch_forward_ms_median, compile_s, compile_grad_s and device_peak_mb; its numbers must be complete when its clock stops. A machine without a network
needs the wheels of these packages and target/release/scatterc brought along; the wheel of NVRTC is enough for scatterc, found through SCATTERC_NVRTC_DIR or the
environment that is active.

For every L the two run in turn, --rounds times: N = 3, J_min = 0, real fields, f64 on both sides; ours also in f32 with --f32, marked as such and never compared with
f64. S2SCAT runs in precompute mode, and where that fails (its tables grow as L^4) in recursive mode, which the table says. A first run of each that fills caches does
not count. The script ends with an error when the peer did not run on a GPU. JAX is told not to take all memory of the device beforehand.
Standard library only.
"""
import argparse, json, os, shlex, statistics, subprocess, sys, time


def run(command, limit):
    """The last JSON line of a command, or why there is none."""
    environment = dict(os.environ, XLA_PYTHON_CLIENT_PREALLOCATE="false")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        return None, f"took longer than {limit} s"
    except OSError as error:
        return None, str(error)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return None, (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return json.loads(lines[-1]), None


def device():
    """Name and driver of the first GPU, as the driver's own tool tells them."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        return subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def median(rounds, key):
    found = [r[key] for r in rounds if r and key in r]
    return statistics.median(found) if found else None


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--scatterc", default="target/release/scatterc")
    ap.add_argument("--peer", required=True)
    ap.add_argument("--L", type=int, nargs="+", default=[64, 128, 256])
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--reps", type=int, default=15)
    ap.add_argument("--batch", type=int, default=0, help="also time that many fields together")
    ap.add_argument("--f32", action="store_true", help="also time ours in f32")
    ap.add_argument("--limit", type=float, default=240.0, help="seconds for one process")
    ap.add_argument("--device", default="cuda", help="ours; `cpu` only to try the script itself, with --any-device")
    ap.add_argument("--any-device", action="store_true", help="accept a peer that runs on the CPU, to try the script itself")
    ap.add_argument("--out", default=None)
    a = ap.parse_args()
    rows, faults = [], []
    for L in a.L:
        mine = [a.scatterc, "bench", "--json", "--quiet", "--device", a.device, "--bandlimit", str(L), "--directions", "3", "--reps", str(a.reps)]
        peer = shlex.split(a.peer) + ["--L", str(L), "--N", "3", "--jmin", "0", "--reps", str(a.reps)]
        commands = {"ours": mine}
        if a.batch:
            commands["ours_batch"] = mine + ["--batch", str(a.batch)]
            peer += ["--batch", str(a.batch)]
        if a.f32:
            commands["ours_f32"] = mine + ["--precision", "f32"]
        row = {"L": L, "N": 3, "J_min": 0, "rounds": a.rounds, "batch": a.batch, "s2scat_refused": {}}
        for mode in ("precompute", "recursive"):
            commands["peer"] = peer + ["--mode", mode]
            found, why = run(commands["peer"], a.limit)
            if found:
                row["s2scat_mode"], row["s2scat_device"] = mode, found.get("device")
                break
            row["s2scat_refused"][mode] = why
            del commands["peer"]
        if "peer" not in commands:
            faults.append(f"L = {L}: S2SCAT: {row['s2scat_refused']}")
        if "s2scat_device" in row and not a.any_device and not any(word in str(row["s2scat_device"]).lower() for word in ("cuda", "gpu")):
            sys.exit(f"S2SCAT ran on `{row['s2scat_device']}`, expected a GPU: is JAX installed with CUDA? (--any-device to accept it)")
        for name in list(commands):
            if name != "peer":
                warm, why = run(commands[name], a.limit)
                if warm is None:
                    faults.append(f"L = {L}: {name}: {why}")
                    del commands[name]
        rounds = {name: [] for name in commands}
        for _ in range(a.rounds):
            for name, command in commands.items():
                found, why = run(command, a.limit)
                rounds[name].append(found)
                if found is None:
                    faults.append(f"L = {L}: {name}: {why}")
        for name in ("ours", "ours_f32", "ours_batch"):
            for key in ("compile_ms", "load_ms", "forward_ms", "gradient_ms", "held_mb", "gradient_held_mb"):
                row[f"{name}_{key}"] = median(rounds.get(name, []), key)
        for key in ("forward_ms_median", "grad_ms_median", "batch_forward_ms_median", "compile_s", "compile_grad_s", "configure_s", "device_peak_mb"):
            row[f"s2scat_{key}"] = median(rounds.get("peer", []), key)
        both = [(o, p) for o, p in zip(rounds.get("ours", []), rounds.get("peer", [])) if o and p]
        row["forward_ratio"] = statistics.median(p["forward_ms_median"] / o["forward_ms"] for o, p in both) if both else None
        row["gradient_ratio"] = statistics.median(p["grad_ms_median"] / o["gradient_ms"] for o, p in both) if both else None
        both = [(o, p) for o, p in zip(rounds.get("ours_batch", []), rounds.get("peer", [])) if o and p and "batch_forward_ms_median" in p]
        row["batch_forward_ratio"] = statistics.median(p["batch_forward_ms_median"] / o["forward_ms"] for o, p in both) if both else None
        rows.append(row)
        print(json.dumps(row), flush=True)
    report = {"date": time.strftime("%Y-%m-%d"), "gpu": device(), "dtype": "float64", "rows": rows, "faults": faults}
    try:
        report["commit"] = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    except OSError:
        pass
    if a.out:
        with open(a.out, "w") as f:
            json.dump(report, f, indent=1)
            f.write("\n")
    show = lambda value, digits=2: "-" if value is None else f"{value:.{digits}f}"
    print(f"\n{report['gpu']}, f64\n\n| L | scatterc forward / gradient ms | S2SCAT forward / gradient ms (mode) | ratio |\n|---|---|---|---|")
    for r in rows:
        ours = f"{show(r['ours_forward_ms'], 3)} / {show(r['ours_gradient_ms'], 3)}"
        theirs = f"{show(r['s2scat_forward_ms_median'])} / {show(r['s2scat_grad_ms_median'])} ({r.get('s2scat_mode', 'none')})"
        print(f"| {r['L']} | {ours} | {theirs} | {show(r['forward_ratio'], 1)} / {show(r['gradient_ratio'], 1)} |")
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
