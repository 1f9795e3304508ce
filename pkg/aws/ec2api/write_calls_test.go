package ec2api_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/aws/ec2api"
)

// What a driver writes, and what it reads of it.
func TestWrites(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := must[string](t)(w.c.CreateGroup(ctx, ec2api.Group{Name: "bulkhead-a", Description: "made by a test", VPC: w.vpc, Tags: map[string]string{"site": "t"}}))
	if _, err := w.c.CreateGroup(ctx, ec2api.Group{Name: "bulkhead-a", Description: "again", VPC: w.vpc}); ec2api.KindOf(err) != ec2api.Duplicate {
		t.Errorf("made twice: %v", err)
	}
	born := must[[]ec2api.Rule](t)(w.c.Rules(ctx, id))
	if len(born) != 2 || !born[0].Egress || born[0].Protocol != "-1" || born[0].From != -1 {
		t.Errorf("born with %+v", born)
	}
	if err := w.c.Revoke(ctx, id, true, []string{born[0].ID, born[1].ID}); err != nil {
		t.Error(err)
	}
	other := w.r.AddGroup(awstest.GroupSpec{VPC: w.vpc, Name: "other"})
	list := w.r.AddPrefixList("offices", 5, "198.51.100.0/24")
	want := []ec2api.Rule{
		{Protocol: "tcp", From: 443, To: 443, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Description: "web"},
		{Protocol: "tcp", From: 443, To: 443, Prefix: netip.MustParsePrefix("2001:db8::/32")},
		{Protocol: "tcp", From: 443, To: 443, PeerGroup: other},
		{Protocol: "udp", From: 6000, To: 6999, PrefixList: list},
		{Protocol: "icmp", From: 8, To: -1, PeerGroup: other},
		{Protocol: "-1", From: -1, To: -1, PeerGroup: id},
	}
	for _, egress := range []bool{false, true} {
		made := must[[]ec2api.Rule](t)(w.c.Authorize(ctx, id, egress, want, map[string]string{"site": "t"}))
		for _, r := range made {
			if r.ID == "" || r.Group != id || r.Egress != egress || r.Tags["site"] != "t" {
				t.Errorf("%+v", r)
			}
		}
		read := slices.DeleteFunc(must[[]ec2api.Rule](t)(w.c.Rules(ctx, id)), func(r ec2api.Rule) bool { return r.Egress != egress })
		if !reflect.DeepEqual(read, made) {
			t.Errorf("read\n%+v, made\n%+v", read, made)
		}
		for _, r := range want {
			r.Group, r.Egress = id, egress
			if !slices.ContainsFunc(read, func(x ec2api.Rule) bool {
				x.ID, x.Tags, x.PeerOwner = "", nil, ""
				return reflect.DeepEqual(x, r)
			}) {
				t.Errorf("%+v is not among\n%+v", r, read)
			}
		}
	}
	if _, err := w.c.Authorize(ctx, id, false, want[:1], nil); ec2api.KindOf(err) != ec2api.Duplicate {
		t.Errorf("a rule twice: %v", err)
	}
	if _, err := w.c.Authorize(ctx, id, false, nil, nil); err == nil {
		t.Error("no rules pass for some")
	}
	eni := w.r.AddInterface(awstest.InterfaceSpec{Subnet: w.sub})
	if err := w.c.SetGroups(ctx, eni, []string{id, other}); err != nil {
		t.Error(err)
	}
	n := must[[]ec2api.Interface](t)(w.c.Interfaces(ctx))
	if len(n) != 1 || !slices.Equal(n[0].Groups, slices.Sorted(slices.Values([]string{id, other}))) {
		t.Errorf("%+v", n)
	}
	if err := w.c.SetGroups(ctx, eni, nil); err == nil {
		t.Error("an interface without groups")
	}
	if err := w.c.SetGroups(ctx, "eni-00000000000000000", []string{id}); ec2api.KindOf(err) != ec2api.NotFound {
		t.Errorf("%v", err)
	}
	rds := w.r.AddInterface(awstest.InterfaceSpec{Subnet: w.sub, Requester: "amazon-rds", Description: "RDSNetworkInterface"})
	if err := w.c.SetGroups(ctx, rds, []string{id}); ec2api.KindOf(err) != ec2api.Refused {
		t.Errorf("a service's interface: %v", err)
	}
	if err := w.c.DeleteGroup(ctx, id); ec2api.KindOf(err) != ec2api.InUse {
		t.Errorf("deleted in use: %v", err)
	}
	if err := w.c.Tag(ctx, []string{id}, map[string]string{"state": "retiring"}); err != nil {
		t.Error(err)
	}
	if err := w.c.Untag(ctx, []string{id}, []string{"site"}); err != nil {
		t.Error(err)
	}
	if g, _ := w.r.Group(id); !reflect.DeepEqual(g.Tags, map[string]string{"state": "retiring"}) {
		t.Errorf("%v", g.Tags)
	}
	if err := w.c.SetGroups(ctx, eni, []string{other}); err != nil {
		t.Error(err)
	}
	if err := w.c.DeleteGroup(ctx, id); err != nil {
		t.Error(err)
	}
	if err := w.c.DeleteGroup(ctx, id); ec2api.KindOf(err) != ec2api.NotFound {
		t.Errorf("deleted twice: %v", err)
	}
}

// A write needs the permission of the table and no other.
func TestWriteActionsSuffice(t *testing.T) {
	w := newWorld(t, ec2api.ActionsFor(ec2api.Enforce)...)
	ctx := t.Context()
	group := w.r.AddGroup(awstest.GroupSpec{VPC: w.vpc, Name: "g"})
	eni := w.r.AddInterface(awstest.InterfaceSpec{Subnet: w.sub})
	for name, do := range map[string]func() error{
		"create": func() error {
			_, err := w.c.CreateGroup(ctx, ec2api.Group{Name: "n", Description: "d", VPC: w.vpc, Tags: map[string]string{"a": "b"}})
			return err
		},
		"set": func() error { return w.c.SetGroups(ctx, eni, []string{group}) },
		"tag": func() error { return w.c.Tag(ctx, []string{group}, map[string]string{"a": "b"}) },
		"rule": func() error {
			_, err := w.c.Authorize(ctx, group, false, []ec2api.Rule{{Protocol: "tcp", From: 1, To: 1, PeerGroup: group}}, map[string]string{"a": "b"})
			return err
		},
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
