package plan_test

import (
	"net/netip"
	"testing"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/driver/portacl/decode"
	"bulkhead/pkg/driver/portacl/render"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

// What a switch's first lists deny is in the list of changes, also where the device cannot
// express everything, and the lists themselves are held against: and not what happens at ports
// that have none.
func TestFlowsAcrossPorts(t *testing.T) {
	host := func(s string) packet.Addrs { return packet.AddrsOf(netip.MustParsePrefix(s)) }
	w := &policy.World{Book: &policy.Rulebook{}, Where: map[string][]string{}, Now: policytest.Epoch}
	for id, a := range map[string]string{"hmi": "10.0.0.1/32", "plc": "10.0.0.2/32"} {
		w.Assets = append(w.Assets, inventory.Asset{ID: id, Kind: inventory.OT, Addresses: []netip.Prefix{netip.MustParsePrefix(a)}})
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: id, Members: []string{id}, Isolate: policy.IsolateBoth})
	}
	for _, name := range []string{policy.GroupAny, policy.GroupUnidentified, policy.GroupUnknown} {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Isolate: policy.IsolateNone})
	}
	w.Book.Policies = []policy.Policy{{Name: "s7", Action: policy.Allow, From: []string{"hmi"}, To: []string{"plc"}, Ranges: []policy.Range{{Proto: 6, Lo: 102, Hi: 102}},
		Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce}}
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	points := []compile.Point{{Name: "sw1", Mode: policy.Enforce, Endpoint: true, Protects: host("10.0.0.1/32").Union(host("10.0.0.2/32")),
		Ports: map[string]packet.Addrs{"swp1": host("10.0.0.1/32"), "swp2": host("10.0.0.2/32")}}}
	r, err := render.Render("t", compile.NewView(m, points), points, render.Features{Out: true})
	if err != nil {
		t.Fatal(err)
	}
	then := decode.Decode(&r.Config)
	changes, _, _ := plan.DiffFlowsShare(m, points, nil, then, nil)
	if len(changes) == 0 {
		t.Fatal("the first lists deny nothing")
	}
	for _, c := range changes {
		if c.Permit {
			t.Errorf("the first lists permit something: %+v", c)
		}
	}
	// The brake sees it, too.
	open := decode.Decode(&portacl.Config{})
	named := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	if share := plan.DeniedShare(m, points, open, then, named); share == nil || share.Percent == 0 {
		t.Errorf("the share of what is newly denied is %+v", *share)
	}
	again, _, _ := plan.DiffFlowsShare(m, points, then, then, nil)
	if len(again) != 0 {
		t.Errorf("the same lists change %+v", again)
	}
}
