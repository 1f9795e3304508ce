package ovs

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Masks cover a range exactly: what is tried is each of its ends, the ports beside them
// and any port.
func TestMasks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint16().Draw(t, "a"), rapid.Uint16().Draw(t, "b")
		p := Ports{min(a, b), max(a, b)}
		list := masks([]Ports{p})
		if len(list) > 30 {
			t.Errorf("%v needs %d masks", p, len(list))
		}
		for _, port := range []uint16{p.From, p.To, p.From - 1, p.To + 1, 0, 65535, rapid.Uint16().Draw(t, "port")} {
			in := 0
			for _, m := range list {
				var value, mask uint16
				if _, err := fmt.Sscanf(m, "0x%x/0x%x", &value, &mask); err != nil {
					t.Fatal(err)
				}
				if value&^mask != 0 {
					t.Errorf("%v: mask %s has bits that it does not look at", p, m)
				}
				if port&mask == value {
					in++
				}
			}
			if want := p.From <= port && port <= p.To; in > 1 || in == 1 != want {
				t.Errorf("%v: port %d is in %d masks of %v", p, port, in, list)
			}
		}
	})
}

func TestFlows(t *testing.T) {
	text, err := flows(ACLs{
		{Port: 2, Direction: Out, Drop6: true, Entries: []Entry{{Permit: true, Ethertype: IPv6, Proto: new(uint8(6)), Established: true, Dst: netip.MustParsePrefix("2001:db8::5/64")}}},
		{Port: 1, Direction: In, Drop4: true, Entries: []Entry{
			{Permit: true, Ethertype: IPv4, Proto: new(uint8(17)), DstPorts: []Ports{{80, 83}, {443, 443}}},
			{Ethertype: 0x0806},
		}},
	}, 2)
	if err != nil {
		t.Fatal(err)
	}
	want := `priority=65535,in_port=1,dl_type=0x88b5,actions=output:2
priority=65000,in_port=1,dl_type=0x0800,nw_proto=17,ip_frag=not_later,tp_dst=0x0050/0xfffc,actions=output:1001
priority=65000,in_port=1,dl_type=0x0800,nw_proto=17,ip_frag=not_later,tp_dst=0x01bb/0xffff,actions=output:1001
priority=64999,in_port=1,dl_type=0x0806,actions=drop
priority=10,in_port=1,ip,actions=drop
priority=1,in_port=1,actions=output:1001
priority=1,in_port=1001,actions=output:1
priority=65535,in_port=2,dl_type=0x88b5,actions=output:1
priority=1,in_port=2,actions=output:1002
priority=65000,in_port=1002,dl_type=0x86dd,nw_proto=6,ipv6_dst=2001:db8::/64,ip_frag=not_later,tcp_flags=0x010/0x010,actions=output:2
priority=65000,in_port=1002,dl_type=0x86dd,nw_proto=6,ipv6_dst=2001:db8::/64,ip_frag=not_later,tcp_flags=0x004/0x004,actions=output:2
priority=10,in_port=1002,ipv6,actions=drop
priority=1,in_port=1002,actions=output:2
`
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func TestRefusesWhatItCannotDo(t *testing.T) {
	tcp, icmp := new(uint8(6)), new(uint8(1))
	one := func(e Entry) ACLs { return ACLs{{Port: 1, Entries: []Entry{e}}} }
	for want, a := range map[string]ACLs{
		"ports 1 to 2":               {{Port: 3}},
		"list for port 0":            {{Port: 0}},
		"no direction 2":             {{Port: 1, Direction: 2}},
		"two lists out":              {{Port: 1, Direction: Out}, {Port: 1, Direction: Out}},
		"at most 60000":              {{Port: 1, Entries: make([]Entry, maxEntries+1)}},
		"no Ethernet type":           one(Entry{}),
		"is no IP":                   one(Entry{Ethertype: 0x0806, Proto: tcp}),
		"ports need TCP":             one(Entry{Ethertype: IPv4, DstPorts: []Ports{{1, 2}}}),
		"are none":                   one(Entry{Ethertype: IPv4, Proto: tcp, DstPorts: []Ports{{2, 1}}}),
		"the family's ICMP":          one(Entry{Ethertype: IPv6, Proto: icmp, Type: new(uint8(8))}),
		"needs a type":               one(Entry{Ethertype: IPv4, Proto: icmp, Code: new(uint8(0))}),
		"control bits need TCP":      one(Entry{Ethertype: IPv4, Established: true}),
		"of another family":          one(Entry{Ethertype: IPv4, Src: netip.MustParsePrefix("2001:db8::/32")}),
		"no kind 6":                  one(Entry{Ethertype: IPv4, Fragments: 6}),
		"a later fragment has no":    one(Entry{Ethertype: IPv4, Proto: tcp, Established: true, Fragments: LaterPiece}),
		"an extension header":        one(Entry{Ethertype: IPv6, Proto: new(uint8(44))}),
		"later fragment of IPv6":     one(Entry{Ethertype: IPv6, Proto: tcp, Fragments: LaterPiece}),
		"port 1 in, entry 1: 0x0000": one(Entry{}),
	} {
		if _, err := flows(a, 2); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestReadFDB(t *testing.T) {
	got, err := readFDB(" port  VLAN  MAC                Age\n    3     1  76:9b:8c:7e:41:a8    1\nLOCAL     1  76:9b:8c:7e:41:a9    1\n")
	if err != nil || len(got) != 1 || got[0].Port != 3 || got[0].VLAN != 1 || got[0].MAC.String() != "76:9b:8c:7e:41:a8" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "no bridge\n", " port  VLAN  MAC                Age\n 3 1 x 1\n", " port  VLAN  MAC                Age\n 3 1\n"} {
		if got, err := readFDB(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

// A table of learned addresses is read as it is, or refused.
func FuzzReadFDB(f *testing.F) {
	f.Add(" port  VLAN  MAC                Age\n    3     1  76:9b:8c:7e:41:a8    1\nLOCAL     1  76:9b:8c:7e:41:a9    1\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readFDB(text)
		if err == nil && len(got) > strings.Count(text, "\n") {
			t.Errorf("%d addresses in %q", len(got), text)
		}
		for _, l := range got {
			if len(l.MAC) != 6 {
				t.Errorf("%q: %+v", text, l)
			}
		}
	})
}
