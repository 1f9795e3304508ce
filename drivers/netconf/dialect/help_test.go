package dialect_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/netconf/dialect"
	"bulkhead/drivers/netconf/netconftest"
	"bulkhead/pkg/driver/portacl"
)

// wipe removes everything that a model has.
var wipe = map[string]string{
	"ietf":       `<acls xmlns="urn:ietf:params:xml:ns:yang:ietf-access-control-list" nc:operation="remove"/>`,
	"openconfig": `<acl xmlns="http://openconfig.net/yang/acl" nc:operation="remove"/>`,
	"junos":      `<configuration xmlns="http://yang.juniper.net/junos-qfx/conf/root" nc:operation="remove"/>`,
}

// device is a datastore that takes edits of one model.
type device struct {
	dialect dialect.Dialect
	server  *netconftest.Server
}

func newDevice(t *testing.T, d dialect.Dialect) *device {
	t.Helper()
	s, err := netconftest.Start(netconftest.Options{Keys: netconftest.Keys(d.Name())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &device{dialect: d, server: s}
}

// fataler is a test or a case of one.
type fataler interface {
	Fatalf(string, ...any)
	Helper()
}

func (d *device) commit(t fataler, edit string) {
	t.Helper()
	if err := d.server.ForeignCommit(edit); err != nil {
		t.Fatalf("%v\n%s", err, edit)
	}
}

func (d *device) read(t fataler) *portacl.Config {
	t.Helper()
	c, err := d.dialect.Read(d.server.Running().XML())
	if err != nil {
		t.Fatalf("%v\n%s", err, d.server.Running().XML())
	}
	return c
}

// become edits the device from one configuration to another and reads it.
func (d *device) become(t fataler, have, want *portacl.Config) *portacl.Config {
	t.Helper()
	edit, err := d.dialect.Edit(have, want)
	if err != nil {
		t.Fatalf("%v\n%+v", err, want)
	}
	d.commit(t, string(edit))
	return d.read(t)
}

// text writes a configuration, so that two that say the same are equal.
func text(c *portacl.Config) string {
	n := c.Clone()
	n.Sort()
	out := ""
	for _, l := range n.Lists {
		out += fmt.Sprintf("list %q %d unknown %q\n", l.Name, l.Family, l.Unknown)
		for _, e := range l.Entries {
			out += fmt.Sprintf("  %s: %s\n", e.Name, e)
		}
	}
	for _, p := range n.Ports {
		out += fmt.Sprintf("port %q unknown %q %q\n", p.Name, p.Unknown, fmt.Sprint(p.Bound))
	}
	return out
}

// drawConfig draws what the limits of a dialect allow, of few names, so that two have some in
// common.
func drawConfig(t *rapid.T, d dialect.Dialect) *portacl.Config {
	limits := d.Limits()
	c := &portacl.Config{}
	families := []portacl.Family{portacl.IPv4, portacl.IPv6}
	if limits.OneList {
		families = []portacl.Family{portacl.Both}
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"bh-a", "bh-b", "bh-c", `x<&"'>y`}), 0, 4, rapid.ID[string]).Draw(t, "lists") {
		l := portacl.List{Name: name, Family: rapid.SampledFrom(families).Draw(t, "family")}
		for i := range rapid.IntRange(0, 4).Draw(t, "entries") {
			family := l.Family
			if family == portacl.Both {
				family = rapid.SampledFrom([]portacl.Family{portacl.IPv4, portacl.IPv6}).Draw(t, "of")
			}
			e := drawEntry(t, family, limits)
			e.Name = strconv.Itoa((i + 1) * 10)
			l.Entries = append(l.Entries, e)
		}
		c.Lists = append(c.Lists, l)
	}
	if len(c.Lists) > 0 {
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"xe-0/0/1", "xe-0/0/2", "xe-0/0/3"}), 0, 3, rapid.ID[string]).Draw(t, "ports") {
			p := portacl.Port{Name: name}
			taken := map[portacl.Bound]bool{}
			for range rapid.IntRange(1, 4).Draw(t, "bound") {
				l := rapid.SampledFrom(c.Lists).Draw(t, "list")
				b := portacl.Bound{Dir: rapid.SampledFrom([]portacl.Direction{portacl.In, portacl.Out}).Draw(t, "direction"), Family: l.Family}
				if !taken[b] {
					taken[b] = true
					b.List = l.Name
					p.Bound = append(p.Bound, b)
				}
			}
			c.Ports = append(c.Ports, p)
		}
	}
	c.Sort()
	return c
}

func drawEntry(t *rapid.T, family portacl.Family, limits dialect.Limits) portacl.Entry {
	places := []string{"0.0.0.0/0", "10.0.0.1/32", "10.1.0.0/16"}
	icmp, types := 1, []int{0, 3, 8, 11}
	if family == portacl.IPv6 {
		places = []string{"::/0", "2001:db8::1/128", "2001:db8::/32"}
		icmp, types = 58, []int{1, 3, 128, 135}
	}
	place := func(name string) netip.Prefix { return netip.MustParsePrefix(rapid.SampledFrom(places).Draw(t, name)) }
	proto := rapid.SampledFrom([]int{portacl.AnyProto, 0, 2, 6, 17, 47, 50, 132, 254, icmp}).Draw(t, "protocol")
	e := portacl.New(rapid.Bool().Draw(t, "permit"), proto, place("from"), place("to"))
	ports := func(name string) portacl.Ports {
		lo := rapid.SampledFrom([]uint16{0, 22, 443, 1024, 65535}).Draw(t, name)
		hi := lo
		if limits.Ranges {
			hi = max(lo, rapid.SampledFrom([]uint16{lo, 444, 65535}).Draw(t, name+" to"))
		}
		return portacl.Ports{Lo: lo, Hi: hi}
	}
	switch proto {
	case 6, 17:
		if rapid.Bool().Draw(t, "source port") {
			e.SrcPorts = ports("source")
		}
		if rapid.Bool().Draw(t, "destination port") {
			e.DstPorts = ports("destination")
		}
		e.Established = proto == 6 && rapid.Bool().Draw(t, "established")
	case icmp:
		if rapid.Bool().Draw(t, "message") {
			e.Type = rapid.SampledFrom(types).Draw(t, "type")
			if e.Type < 4 && e.Type > 0 && rapid.Bool().Draw(t, "with code") {
				e.Code = rapid.IntRange(0, 1).Draw(t, "code")
			}
		}
	}
	if limits.Later && !e.Layer4() {
		e.Later = rapid.Bool().Draw(t, "later")
	}
	return e
}
