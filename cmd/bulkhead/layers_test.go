package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// layers lists the packages from the bottom up. A package may import packages of
// lower layers, and of its own only where own says so. A prefix stands for the
// packages below it; the longest one that fits holds.
var layers = []struct {
	prefix string
	level  int
}{
	{"bulkhead/pkg/diag", 0},
	{"bulkhead/internal/tries", 0},
	{"bulkhead/inventory", 1},
	{"bulkhead/pkg/config/strict", 1},
	{"bulkhead/inventory/file", 2},
	{"bulkhead/inventory/neighbor", 2},
	{"bulkhead/pkg/aws", 1},
	{"bulkhead/inventory/ec2", 2},
	{"bulkhead/pkg/policy", 3},
	{"bulkhead/pkg/policy/policytest", 4},
	{"bulkhead/pkg/classify", 5},
	{"bulkhead/pkg/config", 5},
	{"bulkhead/pkg/packet", 5},
	{"bulkhead/pkg/compile", 6},
	{"bulkhead/bench/estate", 6},
	{"bulkhead/pkg/driver", 7},
	{"bulkhead/pkg/prove", 8},
	{"bulkhead/pkg/driver/drivertest", 9},
	{"bulkhead/pkg/plan", 9},
	{"bulkhead/pkg/store", 9},
	{"bulkhead/pkg/apply", 10},
	{"bulkhead/pkg/live", 11},
	{"bulkhead/pkg/reconcile", 12},
	{"bulkhead/pkg/lab", 0},
	{"bulkhead/pkg/probe", 6},
	{"bulkhead/examples", 0},
	{"bulkhead/drivers/aws/awstest", 0},
	{"bulkhead/drivers/aws", 9},
	{"bulkhead/drivers/netconf", 9},
	{"bulkhead/drivers/netconf/dialect", 8},
	{"bulkhead/drivers/netconf/e2e", 10},
	{"bulkhead/drivers/netconf/netconftest", 0},
	{"bulkhead/drivers/netconf/session", 6},
	{"bulkhead/drivers/nftables/ruleset", 1},
	{"bulkhead/drivers/nftables/kernel", 2},
	{"bulkhead/drivers/nftables/decode", 8},
	{"bulkhead/drivers/nftables/render", 8},
	{"bulkhead/drivers/nftables", 9},
	{"bulkhead/drivers", 10},
	{"bulkhead/bench/harness", 1},
	{"bulkhead/bench", 15},
	{"bulkhead/pkg/controller", 13},
	{"bulkhead/pkg/daemon", 14},
	{"bulkhead/cmd/bulkhead/demo", 15},
	{"bulkhead/cmd/bulkhead", 16},
}

func level(pkg string) (int, bool) {
	at, _, found := layerOf(pkg)
	return at, found
}

func layerOf(pkg string) (at int, best string, found bool) {
	for _, l := range layers {
		if (pkg == l.prefix || strings.HasPrefix(pkg, l.prefix+"/")) && len(l.prefix) > len(best) {
			best, at, found = l.prefix, l.level, true
		}
	}
	return at, best, found
}

type listed struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
	Dir        string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,Dir", "bulkhead/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
}

// Imports point downward only.
func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		from, ok := level(p.ImportPath)
		if !ok {
			t.Errorf("%s has no place in the layers; give it one", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, "bulkhead/") {
				continue
			}
			_, mine, _ := layerOf(p.ImportPath)
			to, theirs, _ := layerOf(imp)
			if to > from || to == from && mine != theirs {
				t.Errorf("%s (layer %d) imports %s (layer %d)", p.ImportPath, from, imp, to)
			}
		}
	}
}

// What the proof stands on is written twice, and neither can see the other.
func TestIndependentHalves(t *testing.T) {
	forbidden := map[string][]string{
		"bulkhead/drivers/nftables/decode":   {"bulkhead/drivers/nftables/render", "bulkhead/drivers/nftables/kernel", "bulkhead/pkg/compile", "bulkhead/pkg/policy"},
		"bulkhead/drivers/nftables/render":   {"bulkhead/drivers/nftables/decode", "bulkhead/pkg/prove"},
		"bulkhead/pkg/driver/portacl/decode": {"bulkhead/pkg/driver/portacl/render", "bulkhead/pkg/driver/want", "bulkhead/pkg/policy"},
		"bulkhead/pkg/driver/portacl/render": {"bulkhead/pkg/driver/portacl/decode", "bulkhead/pkg/prove"},
		"bulkhead/pkg/policy":                {"bulkhead/pkg/compile", "bulkhead/pkg/packet", "bulkhead/pkg/classify"},
		"bulkhead/pkg/compile":               {"net", "net/http", "os", "os/exec", "time/tzdata"},
		"bulkhead/pkg/prove":                 {"net/http", "os", "os/exec"},
		"bulkhead/pkg/plan":                  {"net/http", "os", "os/exec"},
	}
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for _, f := range forbidden[p.ImportPath] {
				if imp == f {
					t.Errorf("%s must not import %s", p.ImportPath, imp)
				}
			}
		}
	}
}
