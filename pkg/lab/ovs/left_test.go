package ovs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulkhead/pkg/lab"
)

// pids are the processes of a switch, and those below them.
func (s *Switch) pids() []string {
	var out []string
	for _, d := range s.daemons {
		out = append(out, fmt.Sprint(d.cmd.Process.Pid))
	}
	return out
}

// runs reports whether a process is there and has not ended.
func runs(pid string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest != "" && rest[0] != 'Z' && rest[0] != 'X'
}

// standing lists what a lab leaves on the system while it stands.
func standing(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"/run/netns/*", "/run/bulkhead-lab/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, names...)
	}
	return out
}

func TestLeavesNothing(t *testing.T) {
	if left := standing(t); len(left) > 0 {
		t.Fatalf("there is something already: %v", left)
	}
	s, err := New(t.Context(), Options{Hosts: Hosts(2)})
	if err != nil {
		t.Fatal(err)
	}
	pids := s.pids()
	if len(standing(t)) == 0 || len(pids) == 0 {
		t.Error("the test does not see what a switch is made of")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if runs(pid) {
			t.Errorf("process %s runs on", pid)
		}
	}
	if left := standing(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A switch that cannot be made leaves nothing either.
func TestFailureLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	twice := Hosts(2)
	twice[1].Name = twice[0].Name
	for _, c := range []struct {
		ctx context.Context
		o   Options
	}{{ctx, Options{Hosts: Hosts(2)}}, {t.Context(), Options{}}, {t.Context(), Options{Hosts: twice}}, {t.Context(), Options{Hosts: Hosts(maxPorts + 1)}}} {
		if s, err := New(c.ctx, c.o); err == nil {
			s.Close()
			t.Errorf("%d hosts made a switch", len(c.o.Hosts))
		}
	}
	if left := standing(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// victimVar makes the test program one that has a switch and waits to be killed.
const victimVar = "BULKHEAD_OVS_VICTIM"

// victim says which processes its switch has, and waits.
func victim() int {
	s, err := New(context.Background(), Options{Hosts: Hosts(2)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(strings.Join(s.pids(), " "))
	_, _ = os.Stdin.Read(make([]byte, 1))
	return 1
}

// Who is killed takes the switch's processes along; the next lab sweeps up the rest.
func TestKilled(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), victimVar+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pids := strings.Fields(line)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil || len(pids) == 0 {
		t.Fatalf("the program says %q, %v", line, err)
	}
	limit := time.Now().Add(time.Minute)
	for _, pid := range pids {
		for runs(pid) {
			if time.Now().After(limit) {
				t.Fatalf("process %s of the killed program's switch runs on", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if len(standing(t)) == 0 {
		t.Error("the killed program left nothing to sweep up: the test sees nothing")
	}
	n, err := lab.BuildStar(lab.Star{Hosts: Hosts(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if left := standing(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A program that ends by itself is told of, with what it said.
func TestDeadDaemon(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(2)})
	for _, d := range s.daemons {
		d.stop()
	}
	err := s.SetACLs(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "ovsdb-server has ended") {
		t.Errorf("the switch's programs are gone, and a change says %v", err)
	}
}
