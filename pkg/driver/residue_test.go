package driver_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// A plan with residue is kept, and read again.
func TestResidueComesBack(t *testing.T) {
	set := func(list ...string) packet.Addrs {
		var out []netip.Prefix
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return packet.AddrsOf(out...)
	}
	for _, f := range []driver.Flows{
		{Hook: "input", Src: packet.AllAddrs(), Dst: set("224.0.0.0/4", "255.255.255.255/32"), Services: packet.AllServices(), SrcPortHi: 65535},
		{Hook: "output", Src: set("10.0.0.1/32", "10.0.0.2/32", "10.0.0.4/31", "2001:db8::/64"), Dst: packet.AllAddrs().Subtract(set("10.0.0.0/8")),
			Services: packet.Services{{Lo: 6<<16 | 22, Hi: 6<<16 | 80}, {Lo: 58 << 16, Hi: 58<<16 | 0xffff}}, SrcPortLo: 68, SrcPortHi: 68},
		{Hook: "input", SrcPortHi: 65535},
	} {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var back driver.Flows
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !back.Src.Equal(f.Src) || !back.Dst.Equal(f.Dst) || !back.Services.Equal(f.Services) || back.Hook != f.Hook || !reflect.DeepEqual([2]uint16{back.SrcPortLo, back.SrcPortHi}, [2]uint16{f.SrcPortLo, f.SrcPortHi}) {
			t.Errorf("%s came back as %+v", b, back)
		}
	}
	for _, bad := range []string{`{"src":"10.0.0.0/99","dst":"nothing"}`, `{"src":"a-b","dst":"nothing"}`, `{"src":"nothing","dst":"nothing","line":[[2,1]]}`, `{"src":"nothing","dst":"nothing","srcPorts":"x"}`} {
		if json.Unmarshal([]byte(bad), &driver.Flows{}) == nil {
			t.Errorf("%s is read", bad)
		}
	}
}
