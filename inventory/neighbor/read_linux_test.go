package neighbor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/inventory"
)

// fake is a kernel whose dumps can fail.
type fake struct {
	neighs           map[int][]netlink.Neigh
	routes           map[int][]netlink.Route
	addrs            map[int][]netlink.Addr
	failures         []error // of the next dumps of neighbours
	routeErr, adrErr error
	calls            int
}

func (f *fake) LinkList() ([]netlink.Link, error) {
	return []netlink.Link{
		&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1, Name: "lo"}},
		&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 2, Name: "eth1"}},
		&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 3, Name: "eth2"}},
	}, nil
}

func (f *fake) NeighList(_, family int) ([]netlink.Neigh, error) {
	f.calls++
	if len(f.failures) > 0 {
		err := f.failures[0]
		f.failures = f.failures[1:]
		if err != nil {
			return f.neighs[family][:1], err // the library returns what it got so far
		}
	}
	return f.neighs[family], nil
}

func (f *fake) RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	return f.routes[family], f.routeErr
}

func (f *fake) AddrList(_ netlink.Link, family int) ([]netlink.Addr, error) {
	return f.addrs[family], f.adrErr
}

func cidr(s string) *net.IPNet {
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	n.IP = ip
	return n
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func office() *fake {
	neigh := func(ip, hw string, link, state int) netlink.Neigh {
		n := netlink.Neigh{IP: net.ParseIP(ip), LinkIndex: link, State: state}
		if hw != "" {
			n.HardwareAddr = mac(hw)
		}
		return n
	}
	return &fake{
		neighs: map[int][]netlink.Neigh{
			netlink.FAMILY_V4: {
				neigh("10.0.4.9", "00:1b:1b:00:00:01", 2, netlink.NUD_STALE),
				neigh("10.0.4.8", "", 2, netlink.NUD_FAILED),
				neigh("224.0.0.1", "01:00:5e:00:00:01", 2, netlink.NUD_NOARP),
			},
			netlink.FAMILY_V6: {
				neigh("2001:db8::9", "00:1b:1b:00:00:01", 2, netlink.NUD_REACHABLE),
				neigh("fe80::9", "00:1b:1b:00:00:01", 2, netlink.NUD_REACHABLE),
			},
		},
		routes: map[int][]netlink.Route{
			netlink.FAMILY_V4: {
				{Type: unix.RTN_UNICAST, Table: 254, LinkIndex: 3, Gw: net.ParseIP("10.20.0.1")},
				{Type: unix.RTN_UNICAST, Table: 254, LinkIndex: 2, Dst: cidr("10.0.4.0/24")},
				{Type: unix.RTN_UNICAST, Table: 100, LinkIndex: 2, Dst: cidr("10.7.0.0/16")},
				{Type: unix.RTN_UNICAST, Table: 254, Dst: cidr("10.30.0.0/16"), MultiPath: []*netlink.NexthopInfo{
					{LinkIndex: 2, Gw: net.ParseIP("10.0.4.1")}, {LinkIndex: 3, Gw: net.ParseIP("10.20.0.1")},
				}},
				{Type: unix.RTN_LOCAL, Table: 255, LinkIndex: 1, Dst: cidr("127.0.0.0/8")},
				{Type: unix.RTN_BLACKHOLE, Table: 254, Dst: cidr("192.0.2.0/24")},
			},
			netlink.FAMILY_V6: {{Type: unix.RTN_UNICAST, Table: 254, LinkIndex: 2, Dst: cidr("fe80::/64")}},
		},
		addrs: map[int][]netlink.Addr{
			netlink.FAMILY_V4: {{LinkIndex: 2, IPNet: cidr("10.0.4.2/24")}},
			netlink.FAMILY_V6: {{LinkIndex: 2, IPNet: cidr("2001:db8::2/64")}},
		},
	}
}

func TestSnapshot(t *testing.T) {
	s, err := snapshot(office())
	if err != nil {
		t.Fatal(err)
	}
	if p, def := s.RoutesOf("eth1"); def || !reflect.DeepEqual(p, []netip.Prefix{netip.MustParsePrefix("10.0.4.0/24"), netip.MustParsePrefix("10.30.0.0/16")}) {
		t.Errorf("eth1: %v, default %t", p, def)
	}
	if p, def := s.RoutesOf("eth2"); !def || len(p) != 1 {
		t.Errorf("eth2: %v, default %t", p, def)
	}
	if got := s.LocalOf("eth1"); len(got) != 2 || got[0] != netip.MustParseAddr("10.0.4.2") {
		t.Errorf("local %v", got)
	}
	if len(s.Neighbours) != 5 || s.Neighbours[0].State != Failed {
		t.Errorf("neighbours %+v", s.Neighbours)
	}
	seen := time.Unix(5, 0)
	r := s.Report("neighbours", inventory.TrustEvidence, seen)
	want := []inventory.Asset{{
		ID: "mac-00:1b:1b:00:00:01", MACs: []string{"00:1b:1b:00:00:01"},
		Addresses:   []netip.Prefix{netip.MustParsePrefix("10.0.4.9/32"), netip.MustParsePrefix("2001:db8::9/128")},
		Attachments: []inventory.Attachment{{Interface: "eth1"}},
	}}
	if !reflect.DeepEqual(r.Assets, want) || r.Seen != seen || r.Source != "neighbours" {
		t.Errorf("report %+v", r)
	}
}

func TestInterruptedDump(t *testing.T) {
	k := office()
	k.failures = []error{netlink.ErrDumpInterrupted, nil, netlink.ErrDumpInterrupted}
	s, err := retry(context.Background(), func() (*Snapshot, error) { return snapshot(k) })
	if err != nil || len(s.Neighbours) != 5 {
		t.Fatalf("%v, %+v", err, s)
	}
	k = office()
	for range 100 {
		k.failures = append(k.failures, netlink.ErrDumpInterrupted)
	}
	s, err = retry(context.Background(), func() (*Snapshot, error) { return snapshot(k) })
	if s != nil || !errors.Is(err, netlink.ErrDumpInterrupted) || k.calls != attempts {
		t.Errorf("%v after %d calls, %+v", err, k.calls, s)
	}
}

func TestFailedReadIsNotEmpty(t *testing.T) {
	boom := errors.New("boom")
	for name, k := range map[string]*fake{
		"neighbours": {failures: []error{boom}, neighs: map[int][]netlink.Neigh{netlink.FAMILY_V4: make([]netlink.Neigh, 1)}},
		"routes":     {routeErr: boom},
		"addresses":  {adrErr: boom},
	} {
		calls := 0
		s, err := retry(context.Background(), func() (*Snapshot, error) { calls++; return snapshot(k) })
		if s != nil || !errors.Is(err, boom) || !strings.Contains(err.Error(), "list "+name) || calls != 1 {
			t.Errorf("%s: %v, %+v, %d calls", name, err, s, calls)
		}
	}
	k := office()
	k.routes[netlink.FAMILY_V4][1].LinkIndex = 9
	if s, err := retry(context.Background(), func() (*Snapshot, error) { return snapshot(k) }); s != nil || !errors.Is(err, errMoved) {
		t.Errorf("a route over an unknown interface: %v, %+v", err, s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := retry(ctx, func() (*Snapshot, error) { return snapshot(office()) }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestRead(t *testing.T) {
	s, err := Read(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.LocalOf("lo")) == 0 && len(s.Local) == 0 {
		t.Log("this machine has no addresses at all")
	}
	for _, ns := range []string{"no-such-namespace", "/no/such/path", os.DevNull} {
		if _, err := Read(context.Background(), ns); err == nil || !strings.Contains(err.Error(), ns) {
			t.Errorf("namespace %q: %v", ns, err)
		}
	}
}
