package ovs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"bulkhead/pkg/lab"
)

// Options say what switch to make.
type Options struct {
	// Hosts are what is behind the ports, the first one behind port 1 (swp1).
	Hosts []lab.Host
	// Resolve lets hosts find each other by ARP and neighbour discovery, which lists of
	// IPv6 may forbid. Otherwise each knows all the others.
	Resolve bool
	// Prefix begins the names of all namespaces; "" is one that nobody else uses.
	Prefix string
}

// Hosts makes n hosts for Options, h1 behind port 1 and so on. Host i has 10.0.0.i/24
// and 2001:db8::i/64, the last i in hexadecimal.
func Hosts(n int) []lab.Host {
	var out []lab.Host
	for i := 1; i <= n; i++ {
		out = append(out, lab.Host{Name: fmt.Sprintf("h%d", i), Addresses: prefixes(fmt.Sprintf("10.0.0.%d/24", i), fmt.Sprintf("2001:db8::%x/64", i))})
	}
	return out
}

// Switch is a switch that runs.
type Switch struct {
	Net *lab.Net // the hosts; the switch's own namespace is its Gateway

	dir     string
	hosts   []string // by port
	daemons []*daemon

	mu    sync.Mutex // one change at a time
	agent *Agent     // nil: none
}

// New starts a switch with all ports up, in VLAN 1 and without lists. On an error nothing
// is left. Close it.
func New(ctx context.Context, o Options) (*Switch, error) {
	if len(o.Hosts) == 0 || len(o.Hosts) > maxPorts {
		return nil, fmt.Errorf("a switch has 1 to %d hosts, not %d", maxPorts, len(o.Hosts))
	}
	// What is missing is said before anything stands.
	for _, name := range []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"} {
		if _, err := find(name); err != nil {
			return nil, err
		}
	}
	tap, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("a switch needs tap devices, and so root: %w", err)
	}
	tap.Close()
	n, err := lab.BuildStar(lab.Star{Prefix: o.Prefix, Hosts: o.Hosts, Resolve: o.Resolve})
	if err != nil {
		return nil, err
	}
	s := &Switch{Net: n}
	for _, h := range o.Hosts {
		s.hosts = append(s.hosts, h.Name)
	}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the switch: %w", err), s.Close())
	}
	return s, nil
}

// Close ends the switch's programs and removes everything.
func (s *Switch) Close() error {
	s.agent.close()
	for i := len(s.daemons) - 1; i >= 0; i-- {
		s.daemons[i].stop()
	}
	s.daemons = nil
	return s.Net.Close()
}

// Ports is how many ports the switch has.
func (s *Switch) Ports() int { return len(s.hosts) }

func (s *Switch) begin(ctx context.Context) (err error) {
	if s.dir, err = s.Net.Dir(); err != nil {
		return err
	}
	if err := s.beginDatabase(ctx); err != nil {
		return err
	}
	err = s.serve("vswitchd.log", s.env(), "ovs-vswitchd", s.socket("db.sock"), "--unixctl="+s.path("vswitchd.ctl"), "--disable-system", "-vconsole:warn", "-vsyslog:off")
	if err != nil {
		return err
	}
	// A change to the tables is over when nothing cached is older; that is looked at this
	// often, in ms, where nothing else prompts it.
	set := []string{"set", "Open_vSwitch", ".", "other_config:max-revalidator=100"}
	for _, bridge := range []string{"acl", "l2"} {
		set = append(set, "--", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev", "fail_mode=secure", "mcast_snooping_enable=false")
	}
	set = append(set, "--", "set", "Bridge", "acl", "protocols=OpenFlow13", "--", "set", "Bridge", "l2", "fail_mode=standalone")
	for i := range s.hosts {
		swp, up, port, number := lab.Port(i), fmt.Sprintf("up%d", i+1), portName(i+1), fmt.Sprintf("ofport_request=%d", i+1)
		set = append(set,
			"--", "add-port", "acl", swp, "--", "set", "Interface", swp, number,
			"--", "add-port", "acl", up, "--", "set", "Interface", up, "type=patch", "options:peer="+port, fmt.Sprintf("ofport_request=%d", upOffset+i+1),
			"--", "add-port", "l2", port, "tag=1", "--", "set", "Interface", port, "type=patch", "options:peer="+up, number)
	}
	if err := s.vsctl(ctx, set...); err != nil { // returns when the daemon has done it
		return err
	}
	// Every flow of packets is decided by itself. Open vSwitch caches one decision for many
	// flows, and 3.1 may change another overlapping one of them instead when tables change,
	// so that some packets meet the lists of before for good.
	if _, err := s.appctl(ctx, "upcall/disable-megaflows"); err != nil {
		return err
	}
	// Otherwise the ports of a fragment are 0, and it looks like any packet.
	if _, err := s.command(ctx, "", "ovs-ofctl", "-O", "OpenFlow13", "set-frags", s.socket("acl.mgmt"), "nx-match"); err != nil {
		return err
	}
	return s.SetACLs(ctx, nil)
}

func (s *Switch) beginDatabase(ctx context.Context) (err error) {
	schema := "/usr/share/openvswitch/vswitch.ovsschema"
	if _, err := s.command(ctx, "", "ovsdb-tool", "create", s.path("conf.db"), schema); err != nil {
		return err
	}
	err = s.serve("ovsdb.log", s.env(), "ovsdb-server", "--remote=p"+s.socket("db.sock"), "--unixctl="+s.path("ovsdb.ctl"), "-vconsole:warn", "-vsyslog:off", s.path("conf.db"))
	if err != nil {
		return err
	}
	err = s.until(ctx, "the switch's database to listen", func() bool {
		_, err := os.Stat(s.path("db.sock"))
		return err == nil
	})
	if err != nil {
		return err
	}
	return s.vsctl(ctx, "--no-wait", "init")
}

// serve starts a program that runs as long as the switch does.
func (s *Switch) serve(log string, env []string, name string, args ...string) error {
	d, err := start(s.Net.Gateway, s.path(log), env, name, args...)
	if err == nil {
		s.daemons = append(s.daemons, d)
	}
	return err
}

// SetACLs replaces all lists of all ports, in one transaction of OpenFlow. Packets meet
// the lists before it or those after it; when it returns, all meet those after it. On an
// error that is not ctx's the lists before it hold.
func (s *Switch) SetACLs(ctx context.Context, a ACLs) error {
	text, err := flows(a, len(s.hosts))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.command(ctx, text, "ovs-ofctl", "-O", "OpenFlow13", "--bundle", "replace-flows", s.socket("acl.mgmt"), "-"); err != nil {
		return fmt.Errorf("replace the lists: %w", err)
	}
	return s.settle(ctx)
}

// Settle waits until packets meet what somebody else has set, for example the SNMP agent.
func (s *Switch) Settle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settle(ctx)
}

// settle waits until packets meet what was configured. Decisions are cached, and the
// cache is looked through again after a change. The look that is under way may have begun
// before the change was made, and the next one before it was told of: it takes three.
func (s *Switch) settle(ctx context.Context) error {
	for range 3 {
		if _, err := s.appctl(ctx, "revalidator/wait"); err != nil {
			return fmt.Errorf("wait until the change takes effect: %w", err)
		}
	}
	return nil
}

// Flows is the table of the bridge acl as it is, with its counters, for a human reader.
func (s *Switch) Flows(ctx context.Context) (string, error) {
	return s.command(ctx, "", "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", s.socket("acl.mgmt"))
}

func (s *Switch) vsctl(ctx context.Context, args ...string) error {
	_, err := s.command(ctx, "", "ovs-vsctl", append([]string{"--db=" + s.socket("db.sock")}, args...)...)
	return err
}

func (s *Switch) appctl(ctx context.Context, args ...string) (string, error) {
	return s.command(ctx, "", "ovs-appctl", append([]string{"-t", s.path("vswitchd.ctl")}, args...)...)
}

func (s *Switch) path(file string) string   { return filepath.Join(s.dir, file) }
func (s *Switch) socket(file string) string { return "unix:" + s.path(file) }

// env keeps the programs to the switch's own directory.
func (s *Switch) env() []string {
	return []string{"OVS_RUNDIR=" + s.dir, "OVS_LOGDIR=" + s.dir, "OVS_DBDIR=" + s.dir, "OVS_SYSCONFDIR=" + s.dir}
}
