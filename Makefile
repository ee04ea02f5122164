# `make demo` and `make test` are all a newcomer needs; both set the machine up first (scripts/setup).

SHELL := /bin/bash
.DELETE_ON_ERROR:

target_dir := $(or $(CARGO_TARGET_DIR),target)
# The real folder, not the link: cargo rebuilds libtorch's bindings whenever this path changes.
libtorch = $$(realpath .local/libtorch)
cargo = LIBTORCH=$(libtorch) cargo
# Tests work on networks of a few kilobytes, where a second thread per operator only gets in the way. Many wait for a timeout: more of
# them run side by side than there are cores.
one_thread = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 RUST_TEST_THREADS=4

# Lets the tests say how long each took. Only they see it: set for cargo itself, it would compile everything again.
times = CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env RUSTC_BOOTSTRAP=1"

.PHONY: demo check test bench load conformance zoo model soak fuzz lint style build setup clean

## Sets up, builds, and runs one job through the HTTP service on the example network.
demo: build
	scripts/demo

## The fuzzers are formatted, but not compiled: they have a workspace and a lock file of their own.
style: setup
	$(cargo) fmt --check
	$(cargo) fmt --check --manifest-path fuzz/Cargo.toml
	$(cargo) clippy --locked --all-targets -- -D warnings

## What to run before every commit: format, clippy, unit tests, and the layers of ARCHITECTURE.md.
check: style
	$(one_thread) $(cargo) test --locked --lib --quiet
	$(cargo) test --locked --test it --quiet layering::

## Sets up and runs every check: format, clippy, unit and integration tests, documentation. Lists the slowest tests at the end.
##
## `cargo test` and not one process per test: loading libtorch takes longer than most tests.
test: lint
	scripts/setup --tests
	set -o pipefail; $(one_thread) $(times) $(cargo) test --locked --all-targets -- -Z unstable-options --report-time | scripts/slowest
	$(cargo) test --locked --doc --quiet

## Runs whole jobs side by side and writes BENCHMARKS.md; FULL=1 takes hours.
bench: build
	python3 scripts/benchmarks $(if $(FULL),--full)

## Measures polls beside PostgreSQL's own SELECT, lists, claims and scrapes with 100,000 jobs and a million events. Needs rustc, pgbench
## and PostgreSQL with its contrib modules (Debian: postgresql).
load: build
	python3 scripts/load

## Runs the executor on ONNX's own backend tests and writes docs/operators.md.
conformance: build
	scripts/with_wheels conformance scripts/conformance

## Exports some sixty networks with PyTorch and Keras, looks at each, drops a block of each, and writes docs/networks.md.
zoo: build
	scripts/with_wheels keras scripts/keras --folder "$(target_dir)/keras"
	scripts/with_wheels zoo scripts/zoo --keras "$(target_dir)/keras"

## Explores the lease protocol with as many attempts as the queue allows, and walks it longer beside the code. See docs/reliability.md.
model: setup
	MODEL_ATTEMPTS=3 MODEL_TRACES=1000 $(cargo) test --locked --test it queue::model -- --nocapture

## Whole jobs of every family of networks; jobs under random kills, restarts and cancels for SOAK_MINUTES (30), twenty kills at random
## moments, and SOAK_JOBS (200) over two services and four workers. See docs/reliability.md.
soak: setup
	PRACTISED_ALL_FAMILIES=1 $(cargo) test --locked --test it families_are_compressed
	PRACTISED_SOAK_MINUTES=$${SOAK_MINUTES:-30} PRACTISED_SOAK_JOBS=$${SOAK_JOBS:-200} PRACTISED_SOAK_WORKERS=4 PRACTISED_KILLS=20 \
	    $(cargo) test --locked --test it -- service::soak service::zombies::a_worker_killed --nocapture --test-threads=1

## Gives random requests to a service and hostile bytes to what reads a customer's files, FUZZ_SECONDS (60) for each target. See
## docs/fuzzing.md.
fuzz: setup
	LIBTORCH=$(libtorch) scripts/fuzz

lint: style
	RUSTDOCFLAGS="-D warnings" $(cargo) doc --locked --no-deps --lib --document-private-items --quiet

## The release binary at target/release/practised with its helper beside it, wherever cargo builds.
build: setup
	$(cargo) build --locked --release
	@if [ "$(target_dir)" != target ]; then \
	    install -D -t target/release "$(target_dir)/release/practised" "$(target_dir)/release/practised-helper"; fi

setup:
	scripts/setup

clean:
	cargo clean
	rm -rf demo-out
