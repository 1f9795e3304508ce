package netconf_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"bulkhead/drivers/netconf"
	"bulkhead/drivers/netconf/dialect"
	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/packet"
)

// bed is a simulated switch with the drivers that program it.
type bed struct {
	t       testing.TB
	server  *netconftest.Server
	dialect dialect.Dialect
	known   string
	edit    func(*netconf.Settings)
	gone    atomic.Bool
	// candidate is set for a server that has one.
	candidate bool
	drivers   []*netconf.Driver
}

// newBed starts a switch. edit changes the settings of its drivers.
func newBed(t testing.TB, name string, o netconftest.Options, edit func(*netconf.Settings)) *bed {
	t.Helper()
	b := &bed{t: t, dialect: dialect.Named(name), edit: edit, candidate: !slices.Contains(o.Without, "candidate:1.0")}
	o.Keys, o.Validate = netconftest.Keys(name), validators[name]
	s, err := netconftest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	b.server = s
	b.known = filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(b.known, []byte(s.KnownHost()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range b.drivers {
			_ = d.Close()
		}
		s.Close()
	})
	return b
}

// driver gives a driver value beside the others, which may be in the middle of something.
func (b *bed) driver() *netconf.Driver {
	set := netconf.Settings{Dialect: b.dialect, Egress: true, Session: session.Options{Address: b.server.Address(), User: "admin", Password: config.NewValue(b.server.Password()), KnownHosts: b.known, Keepalive: -1, Rest: time.Microsecond,
		Net: func(ctx context.Context, network, address string) (net.Conn, error) {
			if b.gone.Load() {
				return nil, errors.New("no route to host")
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}}}
	if b.edit != nil {
		b.edit(&set)
	}
	d := netconf.New(drivertest.Site, []string{"host-1", "host-2"}, set)
	b.drivers = append(b.drivers, d)
	return d
}

// cabling says which addresses hang on which port.
var cabling = map[string]packet.Addrs{
	"swp1": drivertest.Addrs("10.0.0.10", "2001:db8::10"),
	"swp2": drivertest.Addrs("10.0.0.11", "2001:db8::11"),
	"swp3": drivertest.Addrs("10.0.0.20", "2001:db8::20"),
	"swp4": drivertest.Addrs("10.0.0.1"),
	"swp5": drivertest.Addrs("10.0.0.2", "2001:db8::1"),
	"swp6": drivertest.Addrs("10.0.0.3"),
	"swp7": drivertest.Addrs("10.0.1.0", "2001:db8::4"),
	"swp8": drivertest.Addrs("2001:db8::5"),
}

// plugged has the points of a placement protect at the ports of the switch.
func plugged(p drivertest.Placement) drivertest.Placement {
	return drivertest.Placement{Name: p.Name, Points: func(protects packet.Addrs) []compile.Point {
		points := p.Points(protects)
		for i := range points {
			points[i].Ports = map[string]packet.Addrs{}
			for port, addrs := range cabling {
				if on := addrs.Intersect(points[i].Protects); !on.IsEmpty() {
					points[i].Ports[port] = on
				}
			}
		}
		return points
	}}
}

func stateOf(s driver.State) *netconf.State { return s.(*netconf.State) }

// config is what the switch holds.
func (b *bed) config() *portacl.Config {
	c, err := b.dialect.Read(b.server.Running().XML())
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// foreign changes what the switch holds as somebody else.
func (b *bed) foreign(next *portacl.Config) {
	b.t.Helper()
	next.Sort()
	xml, err := b.dialect.Edit(b.config(), next)
	if err == nil {
		err = b.server.ForeignCommit(string(xml))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func bind(c *portacl.Config, port string, b portacl.Bound) {
	if c.Port(port) == nil {
		c.Ports = append(c.Ports, portacl.Port{Name: port})
	}
	p := c.Port(port)
	p.Bound = append(p.Bound, b)
}

func everything(name string) portacl.List {
	e := portacl.New(true, portacl.AnyProto, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("0.0.0.0/0"))
	e.Name = "10"
	return portacl.List{Name: name, Family: portacl.IPv4, Entries: []portacl.Entry{e}}
}

// unlocked waits until nobody holds a lock: the server notices in its own time that a session is
// over.
func (b *bed) unlocked() bool {
	for end := time.Now().Add(time.Minute); len(b.server.Locks()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func timed(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// validators refuse what a model would.
var validators = map[string]func(*netconftest.Node) []netconftest.Error{
	"ietf": func(c *netconftest.Node) []netconftest.Error {
		lists := map[string]bool{}
		acls := c.Child("acls")
		for _, l := range acls.All("acl") {
			lists[l.Child("name").Value()] = true
		}
		var out []netconftest.Error
		for _, i := range acls.Child("attachment-points").All("interface") {
			for _, side := range []string{"ingress", "egress"} {
				for _, s := range i.Child(side).Child("acl-sets").All("acl-set") {
					if name := s.Child("name").Value(); !lists[name] {
						out = append(out, netconftest.Error{Tag: "data-missing", AppTag: "instance-required", Message: fmt.Sprintf("list %q is not there", name)})
					}
				}
			}
		}
		return out
	},
}
