package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The variables that turn this test program into the demo.
const (
	exeVar   = "BULKHEAD_DEMO_TEST_EXE"
	breakVar = "BULKHEAD_DEMO_TEST_BREAK"
	moreVar  = "BULKHEAD_DEMO_TEST_VERBOSE"
	awsVar   = "BULKHEAD_DEMO_TEST_AWS"
	swVar    = "BULKHEAD_DEMO_TEST_SWITCH"
)

// exitDisagree tells the test that the comparison found something.
const exitDisagree = 42

func TestMain(m *testing.M) {
	exe := os.Getenv(exeVar)
	if exe == "" {
		os.Exit(m.Run())
	}
	err := Run(context.Background(), Options{Exe: exe, Out: os.Stdout, Err: os.Stderr,
		Break: os.Getenv(breakVar), Verbose: os.Getenv(moreVar) != "", AWS: os.Getenv(awsVar) != "", Switch: os.Getenv(swVar) != "", Again: []string{"/proc/self/exe"}})
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, err)
	var exit *exec.ExitError
	switch {
	case errors.Is(err, ErrDisagree):
		os.Exit(exitDisagree)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	}
	os.Exit(1)
}

// program builds the bulkhead program where every user can run it.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bulkhead-demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "bulkhead")
	if out, err := exec.Command("go", "build", "-o", exe, "bulkhead/cmd/bulkhead").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	copySelf(t, self(exe))
	return exe
}

// self is where program has put a copy of this test program.
func self(exe string) string { return filepath.Join(filepath.Dir(exe), "demo.test") }

// copySelf copies this test program to where every user can run it. Once, before any of
// them does: a file that somebody writes cannot be executed.
func copySelf(t *testing.T, to string) {
	t.Helper()
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// nobody is a user without any privilege.
const nobody = 65534

func runDemo(t *testing.T, exe, how string, uid int, env ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, self(exe))
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), exeVar+"="+exe, breakVar+"="+how, "HOME=/nonexistent"), env...)
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	begin := time.Now()
	err := cmd.Run()
	t.Logf("took %s", time.Since(begin).Round(100*time.Millisecond))
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "DATA RACE") { // the exit code of one that fails does not say so
		t.Errorf("the race detector found something:\n%s", b.String())
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

func TestDemo(t *testing.T) {
	exe := program(t)
	users := []int{os.Geteuid()}
	if os.Geteuid() == 0 {
		users = append(users, nobody)
	}
	for _, uid := range users {
		t.Run(fmt.Sprintf("user %d", uid), func(t *testing.T) {
			t.Parallel() // each is in namespaces of its own, and waits most of the time
			out, code := runDemo(t, exe, BreakNothing, uid)
			if code != 0 || !strings.Contains(out, "All of it agrees with the policy") || strings.Contains(out, "WRONG") {
				t.Errorf("exit code %d:\n%s", code, out)
			}
			if testing.Verbose() {
				t.Log(out)
			}
		})
	}
}

// The comparison bites: one element of one map, more or less, and it fails.
func TestComparisonBites(t *testing.T) {
	exe := program(t)
	for how, want := range map[string]string{BreakOpen: "and it arrived", BreakClose: "it did not arrive"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			out, code := runDemo(t, exe, how, os.Geteuid())
			if code != exitDisagree || !strings.Contains(out, want) || strings.Contains(out, "All of it agrees") {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
}

func TestUnknownBreak(t *testing.T) {
	if err := Run(t.Context(), Options{Break: "everything"}); err == nil {
		t.Error("an unknown way to break the ruleset was accepted")
	}
}
