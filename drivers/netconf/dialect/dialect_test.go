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
//	ietf.xml        ietf-access-control-list@2019-03-04 with the features of its matches, and
//	                ietf-interfaces, behind a document with the interface
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

// What is read and understood is the same when it is written and read again.
func FuzzRead(f *testing.F) {
	for i, d := range dialect.All() {
		edit, err := d.Edit(&portacl.Config{}, sample(d))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, edit)
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
		again, err := d.Read(edit)
		if err != nil || text(again) != text(c) {
			t.Fatalf("%v: read\n%s\nand again\n%s\nof %s", err, text(c), text(again), edit)
		}
	})
}
