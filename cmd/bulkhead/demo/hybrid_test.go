package demo

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bulkhead/examples"
)

// The demo with a cloud, as a user without any privilege: it agrees, and says in its first
// lines and beside its figures what is simulated.
func TestHybridDemo(t *testing.T) {
	exe := program(t)
	uid := os.Geteuid()
	if uid == 0 {
		uid = nobody
	}
	out, code := runDemo(t, exe, BreakNothing, uid, awsVar+"=1")
	if code != 0 || !strings.Contains(out, "All of it agrees with the policy") || strings.Contains(out, "WRONG") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	head, _, _ := strings.Cut(out, "\n1. ")
	if !strings.Contains(head, "SIMULATION") {
		t.Errorf("it does not begin by saying what is simulated:\n%s", head)
	}
	for _, l := range strings.Split(out, "\n") {
		if strings.Contains(l, "written: ") && !strings.Contains(l, simulated) || strings.Contains(l, "groups") && strings.Contains(l, " disagree") && !strings.Contains(l, "simulated") {
			t.Errorf("a figure of the simulation is not said to be one: %s", l)
		}
	}
	if testing.Verbose() {
		t.Log(out)
	}
}

// The comparison bites: one rule more or less in the simulated account, and it fails.
func TestHybridComparisonBites(t *testing.T) {
	exe := program(t)
	for how, want := range map[string]string{BreakOpen: "policy says false", BreakClose: "policy says true"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			out, code := runDemo(t, exe, how, os.Geteuid(), awsVar+"=1")
			if code != exitDisagree || !strings.Contains(out, want) || strings.Contains(out, "All of it agrees") {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
}

// What the example has written down of the account is what the simulation holds.
func TestExampleIsTheEstate(t *testing.T) {
	h := &hybrid{demo: &demo{dir: t.TempDir()}, e: newEstate()}
	if err := examples.Write("hybrid", h.truthDir()); err != nil {
		t.Fatal(err)
	}
	if err := h.judgeAnew(t.Context()); err != nil {
		t.Fatal(err)
	}
	site, err := examples.FS("hybrid")
	if err != nil {
		t.Fatal(err)
	}
	said, err := fs.ReadFile(site, "inventory/cloud.csv")
	if err != nil {
		t.Fatal(err)
	}
	is, err := os.ReadFile(filepath.Join(h.truthDir(), "inventory", "cloud.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if string(said) != string(is) {
		t.Errorf("the example says\n%s\nand the account holds\n%s", said, is)
	}
}
