package inventory

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/diag"
)

func addrs(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		p, err := ParsePrefix(s)
		if err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return out
}

const mac1, mac2 = "00:1b:1b:00:00:01", "00:1b:1b:00:00:02"

func declared(assets ...Asset) Report {
	for i := range assets {
		assets[i].Pos = diag.Pos{File: "inventory/a.yaml", Line: i + 1, Col: 1}
	}
	return Report{Source: FileSource, Trust: TrustFull, Assets: assets}
}

func plc() Asset {
	return Asset{ID: "plc-7", Kind: OT, Addresses: addrs("10.20.3.7"), MACs: []string{mac1}, Labels: map[string]string{"cell": "3"}}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1/32", "10.0.0.0/8": "10.0.0.0/8", "2001:DB8::1": "2001:db8::1/128", "::/0": "::/0", "0.0.0.0/0": "0.0.0.0/0",
	} {
		p, err := ParsePrefix(in)
		if err != nil || p.String() != want {
			t.Errorf("ParsePrefix(%q) = %v, %v; want %s", in, p, err, want)
		}
	}
	for in, want := range map[string]string{
		"": "not an IPv4", "10.0.0": "not an IPv4", "10.0.0.1/8": "network is 10.0.0.0/8", "::ffff:10.0.0.1": "write 10.0.0.1",
		"::ffff:10.0.0.0/104": "IPv4-mapped", "fe80::1%eth0": "zone", "fe80::%eth0/64": "zone", "10.0.0.0/33": "length",
		"10.0.0.0/": "length", "10.0.0.0/08": "length", "010.0.0.1": "not an IPv4",
	} {
		if p, err := ParsePrefix(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePrefix(%q) = %v, %v; want an error with %q", in, p, err, want)
		}
	}
}

func TestParseMAC(t *testing.T) {
	for _, in := range []string{"00:1B:1B:00:00:01", "00-1b-1b-00-00-01", "001b.1b00.0001"} {
		if m, err := ParseMAC(in); err != nil || m != mac1 {
			t.Errorf("ParseMAC(%q) = %q, %v", in, m, err)
		}
	}
	for _, in := range []string{"", "00:1b", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00", "00:00:00:00:00:00:00:01"} {
		if m, err := ParseMAC(in); err == nil {
			t.Errorf("ParseMAC(%q) = %q", in, m)
		}
	}
}

// A cloned MAC must not take a PLC's groups: at each trust level the learned
// entry gives exactly what the level says.
func TestTrust(t *testing.T) {
	for _, tc := range []struct {
		trust         Trust
		addresses     int
		label, vendor string
	}{
		{"", 1, "3", ""},
		{TrustEvidence, 1, "3", ""},
		{TrustLabels, 1, "3", "Evil"},
		{TrustAddresses, 2, "3", ""},
		{TrustFull, 2, "3", "Evil"},
	} {
		learned := Asset{
			ID: "mac-" + mac1, Kind: VM, MACs: []string{mac1}, Addresses: addrs("10.20.9.66"),
			Labels: map[string]string{"cell": "4"}, Attributes: map[string]string{"vendor": "Evil"},
		}
		inv := Merge([]Report{declared(plc()), {Source: "n", Trust: tc.trust, Seen: time.Unix(1, 0), Assets: []Asset{learned}}}, MergeOptions{})
		if len(inv.Assets) != 1 || len(inv.Evidence) != 0 {
			t.Fatalf("%s: %d assets, %d evidence", tc.trust, len(inv.Assets), len(inv.Evidence))
		}
		a := inv.Assets[0]
		if a.ID != "plc-7" || a.Kind != OT || len(a.Addresses) != tc.addresses || a.Labels["cell"] != tc.label || a.Attributes["vendor"] != tc.vendor {
			t.Errorf("%s: %+v", tc.trust, a)
		}
		seen := slices.ContainsFunc(a.Facts, func(f Fact) bool { return f.Source == "n" && f.Value == "10.20.9.66" })
		if !seen {
			t.Errorf("%s: the sighting is not among the facts", tc.trust)
		}
		speaks := slices.Contains(a.Sources(), "n")
		if want := tc.trust != "" && tc.trust != TrustEvidence; speaks != want {
			t.Errorf("%s: Sources() = %v", tc.trust, a.Sources())
		}
	}
}

func TestUnmatched(t *testing.T) {
	stranger := Asset{ID: "mac-" + mac2, MACs: []string{mac2}, Addresses: addrs("10.0.0.9")}
	for _, trust := range Trusts() {
		inv := Merge([]Report{declared(plc()), {Source: "n", Trust: trust, Assets: []Asset{stranger}}}, MergeOptions{})
		if trust == TrustFull {
			if len(inv.Assets) != 2 || inv.Lookup(stranger.ID) == nil {
				t.Errorf("full: %+v", inv.Assets)
			}
			continue
		}
		if len(inv.Assets) != 1 || len(inv.Evidence) != 1 || inv.Evidence[0].Reason != Unmatched {
			t.Errorf("%s: %+v, evidence %+v", trust, inv.Assets, inv.Evidence)
		}
	}
}

func TestRouterOwnsNothing(t *testing.T) {
	gw := Asset{ID: "mac-" + mac1, MACs: []string{mac1}}
	for i := range DefaultRouterIPv4 + 1 {
		gw.Addresses = append(gw.Addresses, addrs(fmt.Sprintf("10.9.0.%d", i+1))...)
	}
	for _, trust := range Trusts() {
		inv := Merge([]Report{declared(plc()), {Source: "n", Trust: trust, Assets: []Asset{gw}}}, MergeOptions{})
		if len(inv.Assets) != 1 || len(inv.Assets[0].Addresses) != 1 || len(inv.Evidence) != 1 || inv.Evidence[0].Reason != Router {
			t.Errorf("%s: %+v", trust, inv)
		}
	}
	// One address less is a host; and a cloud's word about its own interface holds.
	gw.Addresses = gw.Addresses[1:]
	if inv := Merge([]Report{{Source: "n", Trust: TrustFull, Assets: []Asset{gw}}}, MergeOptions{}); len(inv.Assets) != 1 {
		t.Error("a host counts as a router")
	}
	gw.Addresses = append(gw.Addresses, addrs("10.9.1.1", "10.9.1.2")...)
	gw.Attributes = map[string]string{AttrInstanceID: "i-1"}
	if inv := Merge([]Report{{Source: "n", Trust: TrustFull, Assets: []Asset{gw}}}, MergeOptions{}); len(inv.Assets) != 1 {
		t.Error("an instance counts as a router")
	}
}

func TestPrecedence(t *testing.T) {
	cloud := Report{Source: "ec2", Trust: TrustFull, Assets: []Asset{{
		ID: "i-1", Kind: Instance, Attributes: map[string]string{AttrInstanceID: "i-1"}, Labels: map[string]string{"env": "prod"}, Addresses: addrs("10.1.0.1"),
	}}}
	site := declared(Asset{ID: "web", Kind: Server, Attributes: map[string]string{AttrInstanceID: "i-1"}, Labels: map[string]string{"env": "test"}})
	inv := Merge([]Report{cloud, site}, MergeOptions{})
	if len(inv.Assets) != 1 || inv.Assets[0].ID != "web" || inv.Assets[0].Labels["env"] != "test" || inv.Assets[0].Kind != Server {
		t.Fatalf("files first: %+v", inv.Assets)
	}
	if len(inv.Conflicts) != 2 || inv.Conflicts[0].Kind != ValuesDiffer || inv.Conflicts[0].Claims[0].Value != "server" {
		t.Errorf("conflicts %+v", inv.Conflicts)
	}
	inv = Merge([]Report{cloud, site}, MergeOptions{Precedence: []string{"ec2", FileSource}})
	if inv.Assets[0].ID != "i-1" || inv.Assets[0].Labels["env"] != "prod" || inv.Assets[0].Pos.File == "" {
		t.Errorf("ec2 first: %+v", inv.Assets)
	}
}

func TestConflicts(t *testing.T) {
	for name, tc := range map[string]struct {
		reports []Report
		opt     MergeOptions
		want    []string
	}{
		"address held twice": {
			reports: []Report{declared(
				Asset{ID: "a", Kind: Server, Addresses: addrs("10.0.0.1")},
				Asset{ID: "b", Kind: OT, Addresses: addrs("10.0.0.1")},
				Asset{ID: "c", Kind: Container, Addresses: addrs("10.0.0.1")},
				Asset{ID: "n", Kind: Network, Addresses: addrs("10.0.0.0/24")},
			)},
			want: []string{"one address in several machines: a 10.0.0.1 (inventory/a.yaml:1); b 10.0.0.1 (inventory/a.yaml:2)"},
		},
		"an address inside a machine's prefix": {
			reports: []Report{declared(
				Asset{ID: "a", Kind: Server, Addresses: addrs("10.0.0.0/30", "10.0.1.1")},
				Asset{ID: "b", Kind: VM, Addresses: addrs("10.0.0.2", "10.0.0.4")},
			)},
			want: []string{"one address in several machines: a 10.0.0.0/30 (inventory/a.yaml:1); b 10.0.0.2 (inventory/a.yaml:2)"},
		},
		"MAC held twice": {
			reports: []Report{declared(Asset{ID: "a", Kind: Server, MACs: []string{mac1}}, Asset{ID: "b", Kind: Server, MACs: []string{mac1}})},
			want:    []string{"one MAC in several machines: a 00:1b:1b:00:00:01 (inventory/a.yaml:1); b 00:1b:1b:00:00:01 (inventory/a.yaml:2)"},
		},
		"a learned address that another machine holds": {
			reports: []Report{
				declared(plc(), Asset{ID: "hmi", Kind: Server, Addresses: addrs("10.20.3.9")}),
				{Source: "n", Trust: TrustAddresses, Assets: []Asset{{MACs: []string{mac1}, Addresses: addrs("10.20.3.9")}}},
			},
			want: []string{"address not added, another asset holds it: hmi 10.20.3.9 (inventory/a.yaml:2); plc-7 10.20.3.9 (inventory/a.yaml:1)"},
		},
		"an entry with two assets' MACs": {
			reports: []Report{
				declared(plc(), Asset{ID: "hmi", Kind: Server, MACs: []string{mac2}}),
				{Source: "n", Trust: TrustAddresses, Assets: []Asset{{MACs: []string{mac1, mac2}, Addresses: addrs("10.20.3.10")}}},
			},
			want: []string{"one MAC, several assets: hmi 00:1b:1b:00:00:01 00:1b:1b:00:00:02 (inventory/a.yaml:2); plc-7 00:1b:1b:00:00:01 00:1b:1b:00:00:02 (inventory/a.yaml:1)"},
		},
		"ID and MAC disagree": {
			reports: []Report{
				declared(plc(), Asset{ID: "hmi", Kind: Server}),
				{Source: "n", Trust: TrustLabels, Assets: []Asset{{ID: "hmi", MACs: []string{mac1}}}},
			},
			want: []string{"one MAC, several assets: hmi hmi (inventory/a.yaml:2); plc-7 hmi (inventory/a.yaml:1)"},
		},
		"configured key": {
			opt: MergeOptions{Keys: []string{"attributes.serial"}},
			reports: []Report{
				declared(Asset{ID: "a", Kind: OT, Attributes: map[string]string{"serial": "s1", "os": "1"}}),
				{Source: "n", Trust: TrustLabels, Assets: []Asset{{Attributes: map[string]string{"serial": "s1", "os": "2"}}}},
			},
			want: []string{"sources differ about attributes.os, the first holds: a 1 (inventory/a.yaml:1); a 2 (n)"},
		},
	} {
		var got []string
		for _, c := range Merge(tc.reports, tc.opt).Conflicts {
			got = append(got, c.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, tc.want)
		}
	}
}

func TestConflictIsSafeToPrint(t *testing.T) {
	c := Conflict{Kind: ValuesDiffer, Field: "labels.\x1b", Claims: []Claim{{Asset: "a\n", Value: "\x07"}}}
	if s := c.String(); strings.ContainsAny(s, "\x1b\x07\n") {
		t.Errorf("%q", s)
	}
}

func genReports(t *rapid.T) []Report {
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	var out []Report
	for i, source := range []string{FileSource, "ec2", "n", "m"} {
		r := Report{Source: source, Trust: TrustFull, Seen: time.Unix(int64(i), 0)}
		if i > 0 {
			r.Trust = rapid.SampledFrom(Trusts()).Draw(t, "trust")
		}
		used := map[string]bool{}
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			a := Asset{ID: pick("id", "a", "b", "c", "d", ""), Kind: Kind(pick("kind", "vm", "ot", "network", "container"))}
			if used[a.ID] {
				continue
			}
			used[a.ID] = true
			if i == 0 {
				if a.ID == "" {
					continue
				}
				a.Pos = diag.Pos{File: "f", Line: len(used), Col: 1}
			}
			for range rapid.IntRange(0, 3).Draw(t, "addresses") {
				a.Addresses = append(a.Addresses, addrs(pick("addr", "10.0.0.1", "10.0.0.2", "10.0.0.0/30", "10.0.0.0/8", "2001:db8::1", "10.0.0.7"))...)
			}
			a.MACs = rapid.SliceOfN(rapid.SampledFrom([]string{mac1, mac2, "00:1b:1b:00:00:03"}), 0, 2).Draw(t, "macs")
			a.Labels = map[string]string{"x": pick("x", "1", "2")}
			if rapid.Bool().Draw(t, "instance") {
				a.Attributes = map[string]string{AttrInstanceID: pick("instance", "i-1", "i-2")}
			}
			r.Assets = append(r.Assets, a)
		}
		out = append(out, r)
	}
	return out
}

func TestMergeIgnoresOrder(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		reports := genReports(t)
		opt := MergeOptions{Precedence: rapid.SampledFrom([][]string{nil, {"ec2", "files"}}).Draw(t, "precedence")}
		want, _ := json.Marshal(Merge(reports, opt))
		shuffled := rapid.Permutation(reports).Draw(t, "reports")
		for i := range shuffled {
			if len(shuffled[i].Assets) > 1 {
				shuffled[i].Assets = rapid.Permutation(shuffled[i].Assets).Draw(t, "assets")
			}
		}
		got, _ := json.Marshal(Merge(shuffled, opt))
		if string(got) != string(want) {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// Whatever sources say that may not create assets or add addresses, the
// addresses of every asset are as if they had said nothing, and so are labels
// under evidence alone.
func TestLearnedSourcesTakeNothing(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		reports := genReports(t)
		var full []Report
		for i := range reports {
			if reports[i].Trust != TrustFull {
				reports[i].Trust = TrustEvidence
			} else {
				full = append(full, reports[i])
			}
		}
		strip := func(inv *Inventory) []Asset {
			out := slices.Clone(inv.Assets)
			for i := range out {
				out[i].Facts = nil
			}
			return out
		}
		if got, want := strip(Merge(reports, MergeOptions{})), strip(Merge(full, MergeOptions{})); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

// Nothing that a source says is lost: it is an asset's fact or in the evidence.
func TestNothingIsSilent(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		reports := genReports(t)
		inv := Merge(reports, MergeOptions{})
		said := map[string]bool{}
		note := func(facts []Fact) {
			for _, f := range facts {
				said[f.Source+f.Field+f.Value] = true
			}
		}
		for _, a := range inv.Assets {
			note(a.Facts)
		}
		for _, e := range inv.Evidence {
			note(e.Entry.Facts)
		}
		for _, r := range reports {
			for _, a := range r.Assets {
				for _, f := range a.statements(r.Source, r.Seen) {
					if !said[f.Source+f.Field+f.Value] {
						t.Fatalf("%s said %s = %s, and nobody has it", f.Source, f.Field, f.Value)
					}
				}
			}
		}
		for i, a := range inv.Assets {
			if i > 0 && inv.Assets[i-1].ID >= a.ID {
				t.Fatalf("assets out of order or twice: %q, %q", inv.Assets[i-1].ID, a.ID)
			}
		}
	})
}

func TestHashIgnoresTime(t *testing.T) {
	at := func(s int64) *Inventory {
		return Merge([]Report{declared(plc()), {Source: "n", Seen: time.Unix(s, 0), Assets: []Asset{{MACs: []string{mac1}}, {MACs: []string{mac2}}}}}, MergeOptions{})
	}
	if at(1).Hash() != at(2).Hash() {
		t.Error("the hash depends on when facts were seen")
	}
	if at(1).Hash() == Merge([]Report{declared(plc())}, MergeOptions{}).Hash() {
		t.Error("the hash does not depend on evidence")
	}
}
