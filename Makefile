# One command for each thing to do; `make help` lists them. The work is in .ci/ and integration/.

.PHONY: help build test test-unit test-kernel integration vm check format proto run stop bench clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

build: ## the four programs, release, in .build/release
	@.ci/install
	@.ci/build

test: ## everything: build, check, unit, kernel and integration tests (root)
	@.ci/test

test-unit: ## Swift tests that need no root
	@.ci/install
	@.ci/swift-tests unit

test-kernel: ## Swift tests against the kernel (root)
	@.ci/install
	@.ci/swift-tests kernel

integration: ## cases against a real daemon (root); CASE="test_logs.py -k binary" chooses
	@.ci/integration $(CASE)

vm: ## cases in an emulated machine with cgroup v2 alone; CASE="vm/cases -k devices" chooses; or RUN="command" WITH="files"
	@.ci/vm $(if $(RUN),--run '$(RUN)' $(addprefix --with ,$(abspath $(WITH)))) $(CASE)

check: ## imports between rooms, format, generated code, forbidden things, longest functions
	@.ci/install
	@.ci/check

format: ## formats the Swift sources in place
	@.ci/swift-files | xargs -0 swift format format --in-place --parallel

proto: ## writes the generated Swift and C again from proto/
	@.ci/generate-protocols.sh

run: ## starts swiftletd and a pod with nginx, shows its page and its pause process (root)
	@integration/demo/run

stop: ## takes the pod of `make run` down and stops swiftletd
	@integration/demo/stop

bench: ## figures of our socket, and of SOCKETS="/run/containerd/containerd.sock ..." beside it (root)
	@integration/bench/run $(SOCKETS)

clean: ## removes what was built
	rm -rf .build .venv integration/generated
