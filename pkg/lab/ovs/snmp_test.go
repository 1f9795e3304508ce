package ovs

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bulkhead/pkg/lab"
)

// manager asks a switch's agent by net-snmp's tools.
type manager struct {
	t *testing.T
	s *Switch
}

// run runs a tool and returns what it says, and whether it succeeded.
func (m manager) run(tool, user string, args ...string) (string, bool) {
	m.t.Helper()
	all := append([]string{"-v3", "-l", "authPriv", "-a", "SHA-256", "-A", SNMPAuth, "-x", "AES", "-X", SNMPPrivacy, "-u", user,
		"-On", "-Oe", "-Ox", "-t60", "-r0", fmt.Sprintf("127.0.0.1:%d", snmpPort)}, args...)
	cmd := exec.Command(tool, all...)
	cmd.Env = append(os.Environ(), "MIBS=", "SNMPCONFPATH="+m.s.path("none"), "SNMP_PERSISTENT_DIR="+m.s.path("persistent"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := m.s.Net.Gateway.Run(cmd)
	return out.String(), err == nil
}

func (m manager) set(args ...string) {
	m.t.Helper()
	if out, ok := m.run("snmpset", SNMPWriter, args...); !ok {
		m.t.Fatalf("snmpset %v: %s", args, out)
	}
	if err := m.s.Settle(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

func (m manager) refused(why string, args ...string) {
	m.t.Helper()
	if out, ok := m.run("snmpset", SNMPWriter, args...); ok || !strings.Contains(out, why) {
		m.t.Errorf("snmpset %v: %s (want %s)", args, out, why)
	}
}

func (m manager) expect(oid, want string) {
	m.t.Helper()
	out, _ := m.run("snmpget", SNMPReader, oid)
	if strings.TrimSpace(out) != oid+" = "+want {
		m.t.Errorf("%s (want %s)", out, want)
	}
}

const (
	oidStatic = ".1.3.6.1.2.1.17.7.1.4.3.1"
	oidPVID   = ".1.3.6.1.2.1.17.7.1.4.5.1.1"
)

func serve(t *testing.T) (*Switch, *Agent, manager, *lab.Prober) {
	t.Helper()
	s := newSwitch(t, Options{Hosts: Hosts(3)})
	a, err := s.ServeSNMP(t.Context())
	if err != nil {
		for _, d := range s.daemons {
			said, _ := os.ReadFile(d.log)
			t.Logf("%s: %s", d.name, said)
		}
		t.Fatal(err)
	}
	return s, a, manager{t, s}, newProber(t, s)
}

func without2(s *Switch) func(q *lab.Probe) bool {
	return func(q *lab.Probe) bool { return q.From != "h2" && s.Net.Owner(q.Dst) != "h2" }
}

// A port goes to another VLAN as RFC 4363 has it, and back; frames follow.
func TestSNMPMovesPorts(t *testing.T) {
	s, _, m, p := serve(t)
	expect(t, s, p, "at first", mesh(s), all)
	out, ok := m.run("snmpwalk", SNMPReader, ".1.3.6.1.2.1.17.7.1.2.2.1.2.1")
	for i := 1; i <= 3; i++ {
		if line := fmt.Sprintf(".1.2.1.2.0.0.0.0.%d = INTEGER: %d\n", i, i); !ok || !strings.Contains(out, line) {
			t.Errorf("the learned address of host %d is not there: %s", i, out)
		}
	}
	m.set(oidStatic+".5.30", "i", "4", oidStatic+".1.30", "s", "quarantine", oidStatic+".2.30", "x", "40", oidStatic+".4.30", "x", "40")
	m.expect(oidStatic+".1.30", fmt.Sprintf("Hex-STRING: % X", "quarantine"))
	m.expect(oidStatic+".2.30", `Hex-STRING: 40`)
	m.expect(oidStatic+".5.30", `INTEGER: 1`)
	expect(t, s, p, "VLAN 30 is made", mesh(s), all)
	m.set(oidPVID+".2", "u", "30")
	m.set(oidStatic+".2.1", "x", "A0", oidStatic+".4.1", "x", "A0")
	m.expect(oidPVID+".2", "Gauge32: 30")
	expect(t, s, p, "port 2 is in VLAN 30", mesh(s), without2(s))
	m.set(oidStatic+".2.1", "x", "E0", oidStatic+".4.1", "x", "E0", oidPVID+".2", "u", "1", oidStatic+".5.30", "i", "6")
	expect(t, s, p, "port 2 is back", mesh(s), all)
	m.expect(oidStatic+".5.30", "No Such Instance currently exists at this OID")

	if err := s.SetPVID(t.Context(), 1, 5); err == nil {
		t.Error("a VLAN was set behind the agent's back")
	}
	if _, err := s.ServeSNMP(t.Context()); err == nil {
		t.Error("a second agent was started")
	}
}

// A port that is no member of its own VLAN is cut off: who forgets the member list must
// find out here.
func TestSNMPMembers(t *testing.T) {
	s, _, m, p := serve(t)
	m.set(oidStatic+".5.30", "i", "4")
	m.set(oidPVID+".2", "u", "30")
	m.set(oidPVID+".3", "u", "30")
	for _, c := range []struct {
		list string
		want func(q *lab.Probe) bool
	}{
		{"00", func(q *lab.Probe) bool { return false }},
		{"20", func(q *lab.Probe) bool { return false }}, // port 3 alone
		{"60", func(q *lab.Probe) bool { return q.From != "h1" && s.Net.Owner(q.Dst) != "h1" }},
	} {
		m.set(oidStatic+".2.30", "x", c.list, oidStatic+".4.30", "x", c.list)
		expect(t, s, p, "members "+c.list, mesh(s), c.want)
	}
	// A tagged member gets frames with a tag, which a host without VLANs does not take up.
	m.set(oidStatic+".4.30", "x", "20")
	expect(t, s, p, "port 2 is tagged", mesh(s), func(q *lab.Probe) bool { return q.From == "h2" && s.Net.Owner(q.Dst) == "h3" })
}

func TestSNMPRefusals(t *testing.T) {
	s, a, m, p := serve(t)
	m.set(oidStatic+".5.30", "i", "4")
	m.refused("inconsistentValue", oidStatic+".5.30", "i", "4")
	m.refused("inconsistentValue", oidStatic+".5.1", "i", "6")
	m.refused("inconsistentValue", oidPVID+".2", "u", "31")
	m.refused("inconsistentValue", oidStatic+".4.30", "x", "40") // untagged, and no member
	m.refused("inconsistentName", oidStatic+".1.31", "s", "x")
	m.refused("wrongType", oidPVID+".2", "i", "30")
	m.refused("wrongValue", oidPVID+".2", "u", "5000")
	m.refused("wrongValue", oidStatic+".2.30", "x", "10") // port 4 of 3
	m.refused("wrongLength", oidStatic+".1.30", "s", strings.Repeat("x", 33))
	m.refused("noCreation", oidPVID+".4", "u", "30")
	m.refused("notWritable", ".1.3.6.1.2.1.17.1.4.1.2.1", "i", "3")
	if out, ok := m.run("snmpset", SNMPReader, oidPVID+".2", "u", "30"); ok || !strings.Contains(out, "noAccess") {
		t.Errorf("a reader set something: %s", out)
	}
	// Two variables, of which one is refused: none is set.
	m.refused("inconsistentValue", oidPVID+".2", "u", "30", oidPVID+".3", "u", "31")
	m.expect(oidPVID+".2", "Gauge32: 1")
	if err := a.Fail(true); err != nil {
		t.Fatal(err)
	}
	m.refused("commitFailed", oidPVID+".2", "u", "30")
	m.expect(oidPVID+".2", "Gauge32: 1")
	if err := a.Fail(false); err != nil {
		t.Fatal(err)
	}
	expect(t, s, p, "nothing has been set", mesh(s), all)
}

func TestSNMPLink(t *testing.T) {
	s, _, m, p := serve(t)
	out, _ := m.run("snmpget", SNMPReader, ".1.3.6.1.2.1.17.1.4.1.2.2")
	_, index, _ := strings.Cut(strings.TrimSpace(out), "INTEGER: ")
	m.expect(".1.3.6.1.2.1.2.2.1.2."+index, fmt.Sprintf("Hex-STRING: % X", "swp2"))
	m.set(".1.3.6.1.2.1.2.2.1.7."+index, "i", "2")
	expect(t, s, p, "port 2 is down", mesh(s), without2(s))
	m.set(".1.3.6.1.2.1.2.2.1.7."+index, "i", "1")
	expect(t, s, p, "port 2 is up", mesh(s), all)
}

// The agent answers in the caller's namespace, and one that it ends with the switch.
func TestSNMPListen(t *testing.T) {
	_, a, _, _ := serve(t)
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	at, err := a.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := net.Dial("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		// GetRequest of v2c for dot1dBaseNumPorts.0 with the reader's community.
		ask := []byte("\x30\x2b\x02\x01\x01\x04\x0a" + SNMPReadString + "\xa0\x1a\x02\x01\x07\x02\x01\x00\x02\x01\x00\x30\x0f\x30\x0d\x06\x09\x2b\x06\x01\x02\x01\x11\x01\x02\x00\x05\x00")
		buf := make([]byte, 1500)
		c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := c.Write(ask); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil || !bytes.HasSuffix(buf[:n], []byte("\x02\x01\x03")) { // INTEGER 3
			t.Errorf("the agent answers %x, %v", buf[:n], err)
		}
		c.Close()
	}
}
