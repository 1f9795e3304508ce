package demo

import (
	"os"
	"strings"
	"testing"
)

// The demo with a switch agrees, says in its first lines what is not real, and shows both
// the isolation and the way back.
func TestSwitchDemo(t *testing.T) {
	exe := program(t)
	out, code := runDemo(t, exe, BreakNothing, os.Geteuid(), swVar+"=1")
	if code != 0 || !strings.Contains(out, "All of it agrees with the policy") || strings.Contains(out, "WRONG") {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	head, _, _ := strings.Cut(out, "\n1. ")
	if !strings.Contains(head, "NOT REAL") {
		t.Errorf("it does not begin by saying what is not real:\n%s", head)
	}
	// Before; on trial; confirmed; the mistake on trial; gone back.
	var seen []string
	for _, l := range strings.Split(out, "\n") {
		if f := strings.Fields(l); len(f) > 4 && (f[0] == "hmi-1" || f[0] == "plc-1") && f[2] == "plc-2" {
			seen = append(seen, strings.Join(f, " "))
		}
	}
	const alone, s7 = "plc-1 -> plc-2 - - - -", "hmi-1 -> plc-2 works - - -"
	want := []string{"hmi-1 -> plc-2 works works works works", "plc-1 -> plc-2 works works works works",
		s7, alone, s7, alone, "hmi-1 -> plc-2 - works - -", alone, s7, alone}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("the tables are\n%s\nand not\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	if testing.Verbose() {
		t.Log(out)
	}
}

// The comparison bites: no lists, or one that drops all from the HMI, and it fails.
func TestSwitchComparisonBites(t *testing.T) {
	exe := program(t)
	for how, want := range map[string]string{BreakOpen: "works WRONG", BreakClose: "- WRONG"} {
		t.Run(how, func(t *testing.T) {
			out, code := runDemo(t, exe, how, os.Geteuid(), swVar+"=1")
			if code != exitDisagree || !strings.Contains(out, want) || strings.Contains(out, "All of it agrees") {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
}

// Whoever lacks something is told which part needs it, and how to get it.
func TestSwitchNeeds(t *testing.T) {
	all, none := func(string) bool { return true }, func(string) bool { return false }
	if l := unmet(true, true, all); len(l) != 0 {
		t.Errorf("nothing is missing, and this is said: %v", l)
	}
	for _, want := range []struct {
		root, tap bool
		has       func(string) bool
		lines     int
		words     []string
	}{
		{false, false, all, 1, []string{"root", "sudo"}},
		{true, false, all, 1, []string{"/dev/net/tun"}},
		{true, true, none, 3, []string{"openvswitch-switch", "package netconfd", "openssh-server"}},
		{true, true, func(p string) bool { return p != "sshd" }, 1, []string{"sshd", "openssh-server"}},
	} {
		got := unmet(want.root, want.tap, want.has)
		if len(got) != want.lines {
			t.Errorf("%d lines and not %d: %q", len(got), want.lines, got)
		}
		for _, w := range want.words {
			if !strings.Contains(strings.Join(got, "\n"), w) {
				t.Errorf("%q is not in %q", w, got)
			}
		}
	}
}

// As an ordinary user it says so, and starts nothing.
func TestSwitchNeedsRoot(t *testing.T) {
	exe := program(t)
	uid := os.Geteuid()
	if uid == 0 {
		uid = nobody
	}
	out, code := runDemo(t, exe, BreakNothing, uid, swVar+"=1")
	if code != 1 || !strings.Contains(out, "root") || strings.Contains(out, "1. ") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestOneDemoAtATime(t *testing.T) {
	if err := Run(t.Context(), Options{AWS: true, Switch: true}); err == nil {
		t.Error("a demo with AWS and a switch was begun")
	}
}
