#!/usr/bin/env bash
# Makes the archive of the command for this platform: scatterc-VERSION-TARGET.tar.gz with its checksum, in the folder given (default: target/binary). Its selftest must pass.
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-target/binary}"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
target="$(rustc -vV | sed -n 's/^host: //p')"
name="scatterc-$version-$target"
cargo build --release --locked --package scatterc-cli
mkdir -p "$out/$name"
cp "${CARGO_TARGET_DIR:-target}/release/scatterc" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$out/$name/"
cp cli/src/fonts/LICENCE "$out/$name/LICENCE-DejaVu"
"$out/$name/scatterc" selftest
# The same files give the same archive.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$out" -cf - "$name" | gzip -n > "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" > "$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
