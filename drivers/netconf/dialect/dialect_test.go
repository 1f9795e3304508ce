package dialect_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/netconf/dialect"
	"bulkhead/internal/tries"
	"bulkhead/pkg/driver/portacl"
)

var update = flag.Bool("update", false, "write the golden files")

// each runs a test for every dialect.
func each(t *testing.T, f func(*testing.T, dialect.Dialect)) {
	for _, d := range dialect.All() {
		t.Run(d.Name(), func(t *testing.T) { f(t, d) })
	}
}

// What is written into an empty device is read from it; an edit leads from any configuration to
// any other, back to nothing too; and the same edit is the same bytes.
func TestEditAndRead(t *testing.T) {
	each(t, func(t *testing.T, d dialect.Dialect) {
		dev := newDevice(t, d)
		tries.Check(t, func(rt *rapid.T) {
			dev.commit(rt, wipe[d.Name()])
			have := &portacl.Config{}
			for _, want := range []*portacl.Config{drawConfig(rt, d), drawConfig(rt, d), {}} {
				one, _ := d.Edit(have, want)
				two, _ := d.Edit(have, want)
				if !bytes.Equal(one, two) {
					rt.Fatalf("two edits of the same:\n%s\n%s", one, two)
				}
				before := dev.server.Running().XML()
				got := dev.become(rt, have, want)
				if text(got) != text(want) {
					rt.Fatalf("%s\nis to become\n%s\nbecame\n%s\nby %s\nof %s", text(have), text(want), text(got), one, before)
				}
				have = got
			}
		})
	})
}

// Of what is equal in both nothing is written.
func TestEditWritesOnlyWhatDiffers(t *testing.T) {
	each(t, func(t *testing.T, d dialect.Dialect) {
		nothing, err := d.Edit(&portacl.Config{}, &portacl.Config{})
		if err != nil {
			t.Fatal(err)
		}
		tries.Check(t, func(rt *rapid.T) {
			c := drawConfig(rt, d)
			if edit, err := d.Edit(c, c); err != nil || !bytes.Equal(edit, nothing) {
				rt.Fatalf("%s %v", edit, err)
			}
		})
	})
}

// sample is a policy with most of what lists can say.
func sample(d dialect.Dialect) *portacl.Config {
	p := netip.MustParsePrefix
	entry := func(name string, permit bool, proto int, src, dst string, edit func(*portacl.Entry)) portacl.Entry {
		e := portacl.New(permit, proto, p(src), p(dst))
		e.Name = name
		if edit != nil {
			edit(&e)
		}
		return e
	}
	four := []portacl.Entry{
		entry("10", true, 6, "10.0.1.0/24", "10.0.2.0/24", func(e *portacl.Entry) { e.DstPorts = portacl.Ports{Lo: 443, Hi: 443} }),
		entry("20", true, 17, "10.0.1.0/24", "0.0.0.0/0", func(e *portacl.Entry) {
			e.SrcPorts, e.DstPorts = portacl.Ports{Lo: 1024, Hi: 65535}, portacl.Ports{Lo: 53, Hi: 53}
		}),
		entry("30", true, 6, "10.0.1.0/24", "10.0.3.1/32", func(e *portacl.Entry) { e.Established = true }),
		entry("40", true, 1, "10.0.1.0/24", "0.0.0.0/0", func(e *portacl.Entry) { e.Type, e.Code = 3, 4 }),
		entry("50", true, 47, "10.0.1.0/24", "10.0.4.0/24", nil),
		entry("60", false, portacl.AnyProto, "0.0.0.0/0", "0.0.0.0/0", nil),
	}
	six := []portacl.Entry{
		entry("70", true, 6, "2001:db8:1::/64", "2001:db8:2::/64", func(e *portacl.Entry) {
			e.DstPorts, e.Established = portacl.Ports{Lo: 8000, Hi: 8080}, true
		}),
		entry("80", true, 58, "::/0", "::/0", func(e *portacl.Entry) { e.Type = 135 }),
		entry("90", true, 89, "2001:db8:1::/64", "::/0", nil),
		entry("100", false, portacl.AnyProto, "::/0", "::/0", nil),
	}
	if d.Limits().Later {
		four[4].Later, six[2].Later = true, true
	}
	if d.Limits().OneList {
		return &portacl.Config{Lists: []portacl.List{{Name: "bh-plant-web-i", Entries: append(four, six...)}},
			Ports: []portacl.Port{{Name: "xe-0/0/1", Bound: []portacl.Bound{{Dir: portacl.In, List: "bh-plant-web-i"}, {Dir: portacl.Out, List: "bh-plant-web-i"}}}}}
	}
	return &portacl.Config{Lists: []portacl.List{{Name: "bh-plant-web-i4", Family: portacl.IPv4, Entries: four}, {Name: "bh-plant-web-i6", Family: portacl.IPv6, Entries: six}},
		Ports: []portacl.Port{{Name: "xe-0/0/1", Bound: []portacl.Bound{{Dir: portacl.In, Family: portacl.IPv4, List: "bh-plant-web-i4"},
			{Dir: portacl.In, Family: portacl.IPv6, List: "bh-plant-web-i6"}, {Dir: portacl.Out, Family: portacl.IPv4, List: "bh-plant-web-i4"}}}}}
}

// What is written is what was held against the vendors' YANG. The golden files are what
// a datastore has after the edit, and yanglint 2.1.30 took them ("-t config"):
//
//	junos.xml       junos-qfx-conf-{root,firewall,interfaces}@2024-01-01 (Juniper/yang 24.4R1)
//	openconfig.xml  openconfig-{acl,packet-match-types,icmpv4-types,icmpv6-types,interfaces} and
//	                iana-if-type (acl 1.3.3), behind an openconfig-interfaces document that has
//	                the interface, without which a binding's reference leads nowhere
//	ietf.xml        ietf-access-control-list@2019-03-04 with the features of its matches,
//	                iana-if-type and ietf-interfaces, behind a document with the interface
//
// They are written by -update. After that they are to be held against the YANG again.
func TestGolden(t *testing.T) {
	each(t, func(t *testing.T, d dialect.Dialect) {
		dev := newDevice(t, d)
		want := sample(d)
		if got := dev.become(t, &portacl.Config{}, want); text(got) != text(want) {
			t.Errorf("read\n%s\nwant\n%s", text(got), text(want))
		}
		have := append(dev.server.Running().Children[0].XML(), '\n')
		file := filepath.Join("testdata", d.Name()+".xml")
		if *update {
			if err := os.WriteFile(file, have, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(golden, have) {
			t.Errorf("the device has\n%s\nand %s is\n%s", have, file, golden)
		}
		c, err := d.Read(golden)
		if err != nil || text(c) != text(want) {
			t.Errorf("%v, read\n%s", err, text(c))
		}
	})
}

// without takes the operations off an edit, which no configuration has. In a text the quotes
// would be written otherwise.
func without(edit []byte) []byte {
	return bytes.ReplaceAll(edit, []byte(` nc:operation="replace"`), nil)
}

// What is read and understood is the same when it is written and read again.
func FuzzRead(f *testing.F) {
	for i, d := range dialect.All() {
		edit, err := d.Edit(&portacl.Config{}, sample(d))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, without(edit))
		f.Add(i, fill(d.Name(), "", ""))
	}
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		all := dialect.All()
		if which < 0 || which >= len(all) {
			return
		}
		d := all[which]
		c, err := d.Read(data)
		if err != nil {
			return
		}
		for i := range c.Lists {
			if len(c.Lists[i].Unknown) > 0 {
				return
			}
		}
		for i := range c.Ports {
			if len(c.Ports[i].Unknown) > 0 {
				return
			}
		}
		edit, err := d.Edit(&portacl.Config{}, c)
		if err != nil {
			t.Fatalf("%v\n%s", err, text(c))
		}
		again, err := d.Read(without(edit))
		if err != nil || text(again) != text(c) {
			t.Fatalf("%v: read\n%s\nand again\n%s\nof %s", err, text(c), text(again), edit)
		}
	})
}

// others is what somebody else has, and is there after the last of our bindings has gone.
var others = map[string]struct{ before, after string }{
	"openconfig": {
		`<interfaces xmlns="http://openconfig.net/yang/interfaces"><interface><name>xe-0/0/1</name></interface></interfaces>` +
			`<acl xmlns="http://openconfig.net/yang/acl"><interfaces><interface><id>xe-0/0/1</id><config><id>xe-0/0/1</id></config><interface-ref><config><interface>xe-0/0/1</interface></config></interface-ref><other>x</other></interface></interfaces></acl>`,
		`<other>x</other>`,
	},
	"junos": {
		`<configuration xmlns="http://yang.juniper.net/junos-qfx/conf/root"><interfaces xmlns="http://yang.juniper.net/junos-qfx/conf/interfaces"><interface><name>xe-0/0/1</name><mtu>9000</mtu>` +
			`<unit><name>0</name><family><ethernet-switching><interface-mode>access</interface-mode><filter><group>7</group></filter></ethernet-switching></family></unit></interface></interfaces></configuration>`,
		`<mtu>9000</mtu><unit><name>0</name><family><ethernet-switching><interface-mode>access</interface-mode><filter><group>7</group></filter></ethernet-switching></family></unit>`,
	},
}

func TestOthersStay(t *testing.T) {
	for name, o := range others {
		d := dialect.Named(name)
		dev := newDevice(t, d)
		dev.commit(t, o.before)
		have := dev.read(t)
		if unknown(have) != 1 {
			t.Fatalf("%s: what is somebody else's is not seen:\n%s", name, text(have))
		}
		want := sample(d)
		want.Ports[0].Unknown = have.Ports[0].Unknown
		bound := dev.become(t, have, want)
		if text(bound) != text(want) {
			t.Errorf("%s: read\n%s\nwant\n%s", name, text(bound), text(want))
		}
		if after := dev.become(t, bound, have); text(after) != text(have) {
			t.Errorf("%s: read\n%s\nwant\n%s", name, text(after), text(have))
		}
		if now := dev.server.Running().XML(); !bytes.Contains(now, []byte(o.after)) {
			t.Errorf("%s: %s", name, now)
		}
	}
}

// Another list takes the place of the first in one edit, with nothing between them.
func TestSwap(t *testing.T) {
	each(t, func(t *testing.T, d dialect.Dialect) {
		dev := newDevice(t, d)
		first := sample(d)
		dev.become(t, &portacl.Config{}, first)
		second := first.Clone()
		for i := range second.Lists {
			old := second.Lists[i].Name
			second.Lists[i].Name += "-2"
			for k := range second.Ports[0].Bound {
				if b := &second.Ports[0].Bound[k]; b.List == old {
					b.List += "-2"
				}
			}
		}
		if got := dev.become(t, first, &second); text(got) != text(&second) {
			t.Errorf("read\n%s\nwant\n%s", text(got), text(&second))
		}
	})
}

// What a model cannot say is refused, and not left out.
func TestEditRefuses(t *testing.T) {
	four, six := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")
	change := func(name string, edit func(*portacl.Entry)) portacl.Entry {
		e := portacl.New(true, 6, four, four)
		e.Name = name
		edit(&e)
		return e
	}
	for _, d := range []dialect.Dialect{dialect.Named("openconfig"), dialect.Named("junos")} {
		bad := []portacl.Entry{
			change("", func(*portacl.Entry) {}),
			change("10", func(e *portacl.Entry) { e.Dst = six }),
			change("10", func(e *portacl.Entry) { e.Dst = netip.Prefix{} }),
			change("10", func(e *portacl.Entry) { e.Src = netip.MustParsePrefix("10.0.0.1/8") }),
			change("10", func(e *portacl.Entry) { e.Proto = 256 }),
			change("10", func(e *portacl.Entry) { e.Proto, e.DstPorts = 132, portacl.Ports{Lo: 1, Hi: 1} }),
			change("10", func(e *portacl.Entry) { e.DstPorts = portacl.Ports{Lo: 2, Hi: 1} }),
			change("10", func(e *portacl.Entry) { e.Proto, e.Established = 17, true }),
			change("10", func(e *portacl.Entry) { e.Type = 8 }),
			change("10", func(e *portacl.Entry) { e.Proto, e.Code = 1, 0 }),
			change("10", func(e *portacl.Entry) { e.Proto, e.Type = 1, 256 }),
			change("10", func(e *portacl.Entry) { e.Later, e.Established = true, true }),
		}
		family := portacl.Both
		if d.Name() == "openconfig" {
			family = portacl.IPv4
			bad = append(bad, change("r10", func(*portacl.Entry) {}), change("010", func(*portacl.Entry) {}), change("4294967296", func(*portacl.Entry) {}),
				change("10", func(e *portacl.Entry) { e.Src, e.Dst = six, six }),
				change("10", func(e *portacl.Entry) { e.Proto, e.Type = 58, 128 }),
				change("10", func(e *portacl.Entry) { e.Proto = 255 }),
				change("10", func(e *portacl.Entry) { e.Proto, e.Type = 1, 200 }),
				change("10", func(e *portacl.Entry) { e.Proto, e.Type, e.Code = 1, 3, 200 }))
		} else {
			bad = append(bad, change("bh-end-other", func(*portacl.Entry) {}), change("10", func(e *portacl.Entry) { e.Later = true }))
		}
		for _, e := range bad {
			c := &portacl.Config{Lists: []portacl.List{{Name: "l", Family: family, Entries: []portacl.Entry{e}}}}
			if edit, err := d.Edit(&portacl.Config{}, c); err == nil {
				t.Errorf("%s writes %s (%s): %s", d.Name(), e.Name, e, edit)
			}
		}
		good := change("10", func(*portacl.Entry) {})
		other := portacl.IPv4
		if d.Name() == "openconfig" {
			other = portacl.Both
		}
		bound := func(family portacl.Family, port string, lists ...string) *portacl.Config {
			p := portacl.Port{Name: port}
			for _, l := range lists {
				p.Bound = append(p.Bound, portacl.Bound{Dir: portacl.In, Family: family, List: l})
			}
			return &portacl.Config{Ports: []portacl.Port{p}}
		}
		configs := []*portacl.Config{
			{Lists: []portacl.List{{Name: "l", Family: family, Entries: []portacl.Entry{good, good}}}},
			{Lists: []portacl.List{{Name: "l", Family: family}, {Name: "l", Family: portacl.IPv6}}},
			{Lists: []portacl.List{{Name: "l", Family: other}}},
			bound(other, "p", "l"),
			bound(family, "p", "l", "m"),
		}
		if d.Name() == "junos" {
			configs = append(configs, bound(family, "p.0", "l"), bound(family, "p.x", "l"), bound(family, "p.1.2", "l"))
		}
		for _, c := range configs {
			if edit, err := d.Edit(&portacl.Config{}, c); err == nil {
				t.Errorf("%s writes\n%s: %s", d.Name(), text(c), edit)
			}
		}
	}
}
