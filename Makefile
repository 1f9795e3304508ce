# What people type. `make help` lists it.
GO      ?= go
BIN     := bin/bulkhead
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
# The kernel's firewall is written in these tests, in namespaces of their own.
ROOT    := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=PATH,HOME,GOPATH,GOCACHE,GOMODCACHE,GOFLAGS,GOPROXY,CI)

.PHONY: help build demo demo-aws demo-switch test bench soak lint check fuzz fmt clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: $(BIN) ## build bin/bulkhead

$(BIN): FORCE
	@echo "building $(BIN) (the first build takes a minute)" >&2
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/bulkhead

FORCE:

demo: build ## a small plant in namespaces: plan, apply, prove, real packets (root or ordinary user)
	@$(BIN) demo

demo-aws: build ## a plant, and two VPCs of a simulated AWS account, under one policy (root or ordinary user)
	@$(BIN) demo --aws

demo-switch: build ## devices of one VLAN isolated at the ports of a switch, and a rollback (root or sudo; Open vSwitch, netconfd)
	@$(ROOT) $(BIN) demo --switch

test: lint ## everything, under the race detector and without, against the real kernel (root or sudo)
	@scripts/install-test-deps.sh
	$(RACE) -timeout 40m $(PURE)
	$(RACE) -timeout 60m -p 1 $(REAL)
	$(TEST) -timeout 60m $(call few,$(LONG) $(PURE))
	$(TEST) -timeout 60m -p 1 $(call few,$(filter-out $(LONG),$(REAL)))

TEST := $(ROOT) env PATH="$$PATH:/usr/sbin:/sbin" $(GO) test
# By itself the detector keeps each process for a second after its end, in which nothing
# of ours runs; there are hundreds, of programs that tests start.
RACE := $(ROOT) env PATH="$$PATH:/usr/sbin:/sbin" GORACE=atexit_sleep_ms=0 $(GO) test -race

# Packages whose tests send packets, or count seconds of the kernel's: one at a time.
REAL := ./cmd/... ./drivers ./drivers/nftables ./drivers/nftables/kernel ./drivers/netconf/e2e ./drivers/netconf/netconftest/yuma ./pkg/lab/... ./pkg/live/... ./pkg/probe/...
# The longest of them keeps one core busy without the detector: it is alone among those
# that are none of them, and they take the other core.
LONG := ./drivers/nftables
PURE := ./bench/... ./drivers/aws/... ./drivers/netconf ./drivers/netconf/dialect ./drivers/netconf/netconftest ./drivers/netconf/session ./drivers/nftables/decode ./drivers/nftables/render ./drivers/nftables/ruleset ./examples/... ./internal/... ./inventory/... \
	./pkg/apply/... ./pkg/aws/... ./pkg/classify/... ./pkg/compile/... ./pkg/config/... ./pkg/controller/... ./pkg/daemon/... ./pkg/diag/... \
	./pkg/driver/... ./pkg/packet/... ./pkg/plan/... ./pkg/policy/... ./pkg/prove/... ./pkg/reconcile/... ./pkg/store/...

# The race detector makes a computation five to ten times slower. Under it tests of many
# cases try a tenth of them (internal/tries): here are those packages, by what their tests
# import, for a run without it that tries them all.
few = $$($(GO) list -test -f '{{$$test := .ImportPath}}{{range .Deps}}{{if eq . "bulkhead/internal/tries"}}{{$$test}}{{"\n"}}{{end}}{{end}}' $(1) | sed -n 's/\.test$$//p')

check: ## what needs no privilege: vet, lint, tests of pure code
	$(GO) test ./inventory/... ./pkg/config/... ./pkg/classify/... ./pkg/packet/... ./pkg/policy/... ./pkg/compile/... ./pkg/diag/... ./pkg/plan/...

bench: ## the figures of docs/performance.md (ROW=name,... RUNS=n SMALL=1 LIST=1; root or ordinary user)
	@$(GO) build -o bin/bench ./bench
	@PATH="$$PATH:/usr/sbin:/sbin" bin/bench $(if $(ROW),-row $(ROW)) $(if $(RUNS),-runs $(RUNS)) $(if $(SMALL),-small) $(if $(LIST),-list)

soak: ## the daemon on a real kernel for ten minutes: memory, descriptors and goroutines stay (root or sudo)
	$(ROOT) env PATH="$$PATH:/usr/sbin:/sbin" $(GO) test ./pkg/daemon -run TestSoak -v -timeout 20m -soak 10m

lint: ## vet and staticcheck (pinned in tools/go.mod)
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...

fuzz: ## every fuzz target for FUZZTIME (default 30s) each
	@scripts/fuzz.sh

fmt: ## format
	gofmt -w bench cmd pkg drivers internal inventory examples

clean: ## remove what was built
	rm -rf bin
