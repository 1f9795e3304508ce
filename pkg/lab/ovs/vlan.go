package ovs

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// portName is a port's name on the bridge l2.
func portName(port int) string { return fmt.Sprintf("port%d", port) }

// prefixes reads prefixes that are right.
func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func (s *Switch) checkPort(port int) error {
	if port < 1 || port > len(s.hosts) {
		return fmt.Errorf("there is no port %d: the switch has ports 1 to %d", port, len(s.hosts))
	}
	return nil
}

// SetPVID puts a port in a VLAN, of which it sends and takes untagged frames. The
// addresses that were learned at it are forgotten.
func (s *Switch) SetPVID(ctx context.Context, port, vid int) error {
	if err := s.checkPort(port); err != nil {
		return err
	}
	if vid < 1 || vid > 4094 {
		return fmt.Errorf("there is no VLAN %d: IEEE 802.1Q has 1 to 4094", vid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent != nil {
		return fmt.Errorf("the SNMP agent says which VLAN port %d is in: ask it", port)
	}
	if err := s.vsctl(ctx, "set", "Port", portName(port), fmt.Sprintf("tag=%d", vid)); err != nil {
		return fmt.Errorf("put port %d in VLAN %d: %w", port, vid, err)
	}
	return s.settle(ctx)
}

// PVID tells the VLAN of a port's untagged frames. A port that has none is an error.
func (s *Switch) PVID(ctx context.Context, port int) (int, error) {
	if err := s.checkPort(port); err != nil {
		return 0, err
	}
	out, err := s.command(ctx, "", "ovs-vsctl", "--db="+s.socket("db.sock"), "get", "Port", portName(port), "tag")
	if err != nil {
		return 0, err
	}
	vid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return 0, fmt.Errorf("the VLAN of port %d is %q, which is no number", port, strings.TrimSpace(out))
	}
	return vid, nil
}

// SetLink sets a port up or down, and waits until both ends of its cable have noticed.
func (s *Switch) SetLink(ctx context.Context, port int, up bool) error {
	if err := s.checkPort(port); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.Net.SetLink(ctx, s.hosts[port-1], up); err != nil {
		return err
	}
	state := "down"
	if up {
		state = "up"
	}
	name := fmt.Sprintf("swp%d", port)
	if err := s.vsctl(ctx, "wait-until", "Interface", name, "admin_state="+state, "link_state="+state); err != nil {
		return fmt.Errorf("set port %d %s: %w", port, state, err)
	}
	return s.settle(ctx)
}

// Learned is an address that the switch has seen at a port.
type Learned struct {
	MAC  net.HardwareAddr
	VLAN int
	Port int
}

// FDB lists the addresses that the switch has learned.
func (s *Switch) FDB(ctx context.Context) ([]Learned, error) {
	out, err := s.appctl(ctx, "fdb/show", "l2")
	if err != nil {
		return nil, err
	}
	return readFDB(out)
}

// readFDB reads a heading, and a line of port, VLAN, MAC and age for each address. An
// address of the switch's own has no number for its port and is left out.
func readFDB(text string) ([]Learned, error) {
	var out []Learned
	lines := bufio.NewScanner(strings.NewReader(text))
	if !lines.Scan() || strings.Join(strings.Fields(lines.Text()), " ") != "port VLAN MAC Age" {
		return nil, fmt.Errorf("the table of learned addresses begins with %q", lines.Text())
	}
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) == 4 && f[0] == "LOCAL" {
			continue
		}
		bad := fmt.Errorf("%q is no learned address", lines.Text())
		if len(f) != 4 {
			return nil, bad
		}
		port, err1 := strconv.Atoi(f[0])
		vlan, err2 := strconv.Atoi(f[1])
		mac, err3 := net.ParseMAC(f[2])
		if err1 != nil || err2 != nil || err3 != nil || len(mac) != 6 {
			return nil, bad
		}
		out = append(out, Learned{MAC: mac, VLAN: vlan, Port: port})
	}
	return out, lines.Err()
}
