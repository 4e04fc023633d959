# The one interface for developers. Each recipe says why it is there; `.ci/run` runs the same ones.
# Needs: cargo (stable). `just`: `pip install rust-just` or `cargo install just`.

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")
seconds := "300"
# What no program of ours switches on, and is documented all the same; with tests, lab's own tests switch it on
optional := "--features plimsoll-balance/tower"

# What there is to run
_default:
    @just --list --unsorted

# Before a commit: what a machine can find is not left to a reviewer
check: fmt clippy docs

# One layout, so that a diff shows changes only; the fuzz crate is a workspace of its own
fmt:
    cargo fmt --all --check
    cargo fmt --check --manifest-path fuzz/Cargo.toml

# Lints of tests, benches and examples too: they are read as often as the rest
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# A broken link in the documentation is an error; private items are built because we read them too
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked {{ optional }}
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked {{ optional }} --document-private-items

# The whole suite, style included; arguments go to cargo, e.g. `just test -p plimsoll-meter`
test *arguments="--workspace":
    cargo test --locked {{ arguments }}

# A target directory of its own, because the flag rebuilds everything; without LTO, because linking
# would take longer than the tests.
# Every interleaving of the lock-free code
loom:
    #!/usr/bin/env bash
    set -euo pipefail
    export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="{{ target }}/loom"
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    cargo test --locked --release -p plimsoll-meter --lib -- loom
    cargo test --locked --release -p plimsoll-limit --test 'loom*'
    cargo test --locked --release -p plimsoll-balance --lib -- loom

# Parsers against arbitrary bytes, for `seconds=300`; needs a nightly toolchain and cargo-fuzz
fuzz parser="accept":
    mkdir -p fuzz/corpus/{{ parser }}
    cargo +nightly fuzz run {{ parser }} fuzz/corpus/{{ parser }} fuzz/seeds/{{ parser }} -- \
        -max_total_time={{ seconds }} -max_len=4096

# Time of the hot operations, by criterion; arguments go to cargo, e.g. `just bench -p plimsoll-meter`
bench *arguments="--workspace":
    cargo bench --locked {{ arguments }}

# Every bench once, without measuring: a bench that does not run is found here and not on the day it is needed
bench-once:
    cargo test --workspace --locked --bench '*'

# Plimsoll beside HAProxy, nginx and Envoy, in turns on one core; those not installed are reported as missing
compare what="throughput" *arguments="": release
    "{{ target }}/release/lab" compare {{ what }} --plimsoll "{{ target }}/release/plimsoll" {{ arguments }}

# The balancer scenarios in virtual time, with every policy: docs/balancing.md and its pictures
scenarios *arguments="--docs docs": release
    "{{ target }}/release/lab" scenarios {{ arguments }}

# The balancer scenarios with real processes: Plimsoll's gateway, HAProxy, nginx and Envoy over the same backends. Some 20
# minutes; e.g. `just scenarios-wire --only s04,s06 --peers plimsoll,haproxy --envoy /opt/envoy`
scenarios-wire *arguments="--docs docs": release
    "{{ target }}/release/lab" scenarios wire --plimsoll "{{ target }}/release/plimsoll" {{ arguments }}

# Knative's contract, asked over the wire of whatever listens at `url`, was told what `just conformance-environment` prints and
# has its application at 127.0.0.1:8080, e.g. `just conformance URL=http://127.0.0.1:8012 --metrics http://127.0.0.1:9090`
conformance url="http://127.0.0.1:8012" *arguments="":
    cargo run --quiet --locked -p plimsoll-lab -- conformance --url {{ trim_start_match(url, "URL=") }} {{ arguments }}

# What an implementation is to be told before its contract is asked, as variables for a shell
conformance-environment:
    @cargo run --quiet --locked -p plimsoll-lab -- conformance --environment

# Replicas started and stopped again and again, by the library and by the program: no process, file descriptor or memory
# may be left
soak cycles="2000":
    PLIMSOLL_SOAK_CYCLES={{ cycles }} cargo test --locked -p plimsoll-fleet --test soak
    PLIMSOLL_SOAK_CYCLES={{ cycles }} cargo test --locked -p plimsoll --test e2e -- --nocapture many_times_up_and_down

# What `plimsoll run` promises, measured, and what of it is met: some five minutes; e.g. `just coldstart --only start,idle`
coldstart *arguments="": release
    "{{ target }}/release/lab" coldstart --plimsoll "{{ target }}/release/plimsoll" {{ arguments }}

# What the README begins with; arguments go to the program, e.g. `just demo --plain`
demo *arguments:
    cargo run --release --locked -- demo {{ arguments }}

# From end to end: real sockets, real processes; arguments go to the tests, e.g. `just e2e websocket`
e2e *arguments:
    cargo test --locked -p plimsoll --test e2e -- {{ arguments }}

# Bodies of 1 GiB through little memory; `just test` has the same with an eighth of it
large:
    PLIMSOLL_E2E_FULL=1 cargo test --locked -p plimsoll --test e2e -- memory::

# The dashboard in pictures for docs/, by a headless Chromium: idle, a burst, scaled, and nothing again
screenshots:
    PLIMSOLL_SCREENSHOTS="{{ justfile_directory() }}/docs/dashboard" CI=true \
        cargo test --locked -p plimsoll --test e2e -- dashboard_run

# The programs as they are shipped, beside those they must work with: curl, h2load, promtool and a
# Prometheus server that scrapes. Debian: curl nghttp2-client prometheus.
# The release build between real clients and a real Prometheus
smoke: release
    .ci/smoke "{{ target }}/release"

# A container image without a container engine: one static program for this machine's processor, and whom to trust. The
# flag links the C library into the program; --target keeps it away from what runs while building.
image output=(target / "plimsoll-image.tar"):
    #!/usr/bin/env bash
    set -euo pipefail
    triple=$(rustc --version --verbose | sed -n 's/^host: //p')
    RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --release --locked --target "$triple" -p plimsoll
    cargo run --quiet --locked -p plimsoll-lab -- image --output "{{ output }}" \
        --program "{{ target }}/$triple/release/plimsoll" --certificates /etc/ssl/certs/ca-certificates.crt

# The image between skopeo, umoci and a chroot. Debian: skopeo umoci; and root
image-smoke: image
    .ci/image "{{ target }}/plimsoll-image.tar" "{{ target }}/debug/lab"

# Each crate builds with its own features only, not with those that the others switch on
alone:
    #!/usr/bin/env bash
    set -euo pipefail
    for manifest in crates/*/Cargo.toml lab/Cargo.toml; do
        name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -n 1)
        echo "cargo check -p $name"
        cargo check --quiet --locked -p "$name"
    done
    echo "cargo check -p plimsoll --no-default-features"
    cargo check --quiet --locked -p plimsoll --no-default-features --lib --bins

# Licences, versions and sources of the dependencies; needs cargo-deny 0.20
deny:
    cargo deny --workspace --locked check bans licenses sources

# The programs as they are shipped and measured
release:
    cargo build --release --locked -p plimsoll -p plimsoll-lab

# Twenty seconds of fuzzing for each parser, from the seeds, where the tools for it are
fuzz-briefly:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
        echo "skipped: needs a nightly toolchain and cargo-fuzz (cargo install cargo-fuzz)"
        exit 77
    fi
    for target in fuzz/fuzz_targets/*.rs; do
        just seconds=20 fuzz "$(basename "$target" .rs)"
    done

# All that must hold before a change lands, from an empty machine
ci:
    .ci/run
