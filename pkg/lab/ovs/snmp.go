package ovs

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
)

// qbridge is the agent's part that knows VLANs and learned addresses. net-snmp's snmpd
// speaks the protocol, and knows the interfaces.
//
//go:embed qbridge.pl
var qbridge []byte

// Who may ask the agent, and how: SNMPv3 with SHA-256 and AES, or a community of v2c.
const (
	SNMPWriter      = "lab-writer"
	SNMPReader      = "lab-reader"
	SNMPAuth        = "lab-auth-pass"
	SNMPPrivacy     = "lab-priv-pass"
	SNMPReadString  = "lab-public"
	SNMPWriteString = "lab-private"
)

// snmpPort is the agent's UDP port in the switch's namespace.
const snmpPort = 161

// Agent is the SNMP agent of a switch: BRIDGE-MIB and Q-BRIDGE-MIB with VLANs that
// frames meet, and IF-MIB with ports that can be set down. One who sets what packets
// meet calls Settle before packets are sent.
type Agent struct {
	s      *Switch
	fail   string // the file that makes it fail
	relays []*relay
}

// ServeSNMP starts the agent. From then on it says which VLAN a port is in, and SetPVID
// refuses. It ends with the switch.
func (s *Switch) ServeSNMP(ctx context.Context) (*Agent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent != nil {
		return nil, fmt.Errorf("the switch has an SNMP agent already")
	}
	var indexes, vlans []string
	for i := range s.hosts {
		index, err := s.Net.PortIndex(i)
		if err != nil {
			return nil, err
		}
		vid, err := s.PVID(ctx, i+1)
		if err != nil {
			return nil, err
		}
		indexes, vlans = append(indexes, fmt.Sprint(index)), append(vlans, fmt.Sprint(vid))
	}
	a := &Agent{s: s, fail: s.path("snmp-fails")}
	if err := a.files(); err != nil {
		return nil, err
	}
	if err := s.serve("snmpd.log", a.env("none"), "snmpd", "-f", "-Lo", "-C", "-c", s.path("snmpd.conf"), "-I", "-smux", fmt.Sprintf("udp:127.0.0.1:%d", snmpPort)); err != nil {
		return nil, err
	}
	s.agent = a // it has ended, or ends with the switch, whatever comes
	err := s.until(ctx, "snmpd to take sub-agents", func() bool {
		_, err := os.Stat(s.path("agentx.sock"))
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	env := append(a.env("subagent"), s.env()...)
	env = append(env, "QB_IFINDEX="+strings.Join(indexes, " "), "QB_PVID="+strings.Join(vlans, " "),
		"QB_DB="+s.socket("db.sock"), "QB_CTL="+s.path("vswitchd.ctl"), "QB_FAIL="+a.fail)
	if err := s.serve("qbridge.log", env, "perl", s.path("qbridge.pl")); err != nil {
		return nil, err
	}
	return a, s.until(ctx, "the SNMP agent to answer", func() bool { return a.answers(ctx) })
}

// files writes what the agent's programs read.
func (a *Agent) files() error {
	for _, dir := range []string{"none", "subagent", "persistent"} {
		if err := os.Mkdir(a.s.path(dir), 0o700); err != nil {
			return fmt.Errorf("make a place for the SNMP agent's files: %w", err)
		}
	}
	socket := "agentXSocket unix:" + a.s.path("agentx.sock") + "\n"
	user := fmt.Sprintf(" SHA-256 %q AES %q\n", SNMPAuth, SNMPPrivacy)
	files := map[string]string{
		"qbridge.pl":            string(qbridge),
		"subagent/qbridge.conf": socket,
		"snmpd.conf": "createUser " + SNMPWriter + user + "createUser " + SNMPReader + user +
			"rwuser " + SNMPWriter + " priv\nrouser " + SNMPReader + " priv\n" +
			"rocommunity " + SNMPReadString + " 127.0.0.1\nrwcommunity " + SNMPWriteString + " 127.0.0.1\n" +
			"master agentx\n" + socket + "agentXTimeout 60\n" +
			"sysServices 2\nsysName lab-switch\n",
	}
	for name, text := range files {
		if err := os.WriteFile(a.s.path(name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the SNMP agent's files: %w", err)
		}
	}
	return nil
}

// env keeps net-snmp to the switch's own directory, and from reading MIBs, which it needs
// only to print names.
func (a *Agent) env(conf string) []string {
	return []string{"SNMPCONFPATH=" + a.s.path(conf), "SNMP_PERSISTENT_DIR=" + a.s.path("persistent"), "MIBS="}
}

// answers reports whether the agent tells the number of ports, which both its parts
// have to be up for.
func (a *Agent) answers(ctx context.Context) bool {
	path, err := find("snmpget")
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out strings.Builder
	err = a.s.Net.Gateway.Do(func() error {
		cmd := exec.CommandContext(ctx, path, "-v2c", "-c", SNMPReadString, "-r0", "-t1", "-Oqv", fmt.Sprintf("127.0.0.1:%d", snmpPort), ".1.3.6.1.2.1.17.1.2.0")
		cmd.Env, cmd.Stdout = append(os.Environ(), a.env("none")...), &out
		return cmd.Run()
	})
	return err == nil && strings.TrimSpace(out.String()) == fmt.Sprint(len(a.s.hosts))
}

// Dial connects to the agent from the switch's own namespace.
func (a *Agent) Dial(ctx context.Context) (net.Conn, error) {
	var c net.Conn
	err := a.s.Net.Gateway.Do(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, "udp", fmt.Sprintf("127.0.0.1:%d", snmpPort))
		return err
	})
	return c, err
}

// Listen makes the agent answer at a UDP address of the caller's namespace too, for
// example 127.0.0.1:0, and returns the address. It ends with the switch.
func (a *Agent) Listen(ctx context.Context, address string) (string, error) {
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
	if err != nil {
		return "", fmt.Errorf("answer for the SNMP agent: %w", err)
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.relays = append(a.relays, newRelay(c, func() (net.Conn, error) { return a.Dial(context.Background()) }))
	return c.LocalAddr().String(), nil
}

// Fail makes what a SET says about VLANs impossible to do, or possible again.
func (a *Agent) Fail(on bool) error {
	if on {
		return os.WriteFile(a.fail, nil, 0o600)
	}
	if err := os.Remove(a.fail); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (a *Agent) close() {
	if a == nil {
		return
	}
	for _, r := range a.relays {
		r.close()
	}
}
