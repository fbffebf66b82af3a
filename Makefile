# Thin: each target is a line or two; what they do is in scripts/ and tests/.
# Everything that may be kept between clones lives under PARTITA_CACHE (default ~/.cache/partita).
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run cluster-local build test lint fix bench bench-cluster torture simulate image cluster cluster-down test-cluster clean

# The environment of the build (prebuilt RocksDB, target folder); scripts/setup installs what is missing first.
ENV := env="$$(scripts/setup)" && eval "$$(sed 's/^/export /' <<<"$$env")" &&

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## standalone on 127.0.0.1:8000 with examples/ and ./data
	@$(ENV) cargo build --locked --release -p partita && exec "$$CARGO_TARGET_DIR/release/partita" standalone --manifests examples --data data

cluster-local: ## three replicas and a router as processes, on 127.0.0.1:8000 with examples/ and ./data: kill one and watch
	@$(ENV) cargo build --locked --release -p partita && exec "$$CARGO_TARGET_DIR/release/partita" cluster-local --manifests examples --data data

build: ## the binary that ships
	@$(ENV) cargo build --locked --release -p partita && echo "$$CARGO_TARGET_DIR/release/partita"

test: ## everything that CI runs; it only reads the tree
	@$(ENV) scripts/test

lint: ## formatting, clippy, licences: the part of `make test` that needs no build of the binary
	@$(ENV) scripts/lint

fix: ## format, regenerate what is generated
	@$(ENV) scripts/fix

bench: ## ours against peers and ceilings, interleaved; prints ratios
	@$(ENV) tests/bench/run

bench-cluster: ## on a Kubernetes cluster of this machine: from a Table to Ready, failover, memory
	@$(ENV) "$$(tests/python/environment)/bin/python" tests/kubernetes/bench

torture: ## the long runs: 1,000 kills, long fuzzing
	@$(ENV) scripts/torture

simulate: ## groups of several voters under faults, so many fresh seeds: make simulate SEEDS=5000
	@$(ENV) SIMULATION_SEEDS=$(or $(SEEDS),1000) cargo test --locked -p partita-replication --test simulation -- --nocapture

image: ## the container image, without Docker (IMAGE_PROFILE=dev is built sooner)
	@$(ENV) scripts/image

cluster: ## a Kubernetes cluster on this machine, with Partita and examples/, to play with
	@$(ENV) tests/kubernetes/play up

cluster-down: ## removes it
	@tests/kubernetes/play down

test-cluster: ## the tests that any cluster can run: KUBECONFIG=… IMAGE=… CLIENT_IMAGE=…
	@tests/kubernetes/run --any-cluster

clean: ## remove ./data and this clone's build output (the cache stays)
	rm -rf data
