package ec2api

import (
	"encoding/json"
	"net/netip"
	"testing"
)

// Rules of one protocol and ports are one permission; ports only where they mean
// something.
func TestPermissions(t *testing.T) {
	got := permissions([]Rule{
		{Protocol: "tcp", From: 443, To: 443, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Description: "a"},
		{Protocol: "tcp", From: 443, To: 443, Prefix: netip.MustParsePrefix("2001:db8::/32")},
		{Protocol: "-1", From: -1, To: -1, PeerGroup: "sg-1", PeerOwner: "111122223333"},
		{Protocol: "tcp", From: 443, To: 443, PrefixList: "pl-1"},
		{Protocol: "47", From: 0, To: 65535, PeerGroup: "sg-2"},
		{Protocol: "icmp", From: 8, To: -1, PeerGroup: "sg-2"},
		{Protocol: "58", From: -1, To: -1, PeerGroup: "sg-2"},
	})
	type brief struct {
		Protocol                     string
		From, To                     *int32
		V4, V6, Lists, Groups        int
		FirstOwner, FirstOfDescribed string
	}
	var out []brief
	for _, p := range got {
		b := brief{Protocol: *p.IpProtocol, From: p.FromPort, To: p.ToPort, V4: len(p.IpRanges), V6: len(p.Ipv6Ranges), Lists: len(p.PrefixListIds), Groups: len(p.UserIdGroupPairs)}
		if len(p.UserIdGroupPairs) > 0 && p.UserIdGroupPairs[0].UserId != nil {
			b.FirstOwner = *p.UserIdGroupPairs[0].UserId
		}
		if len(p.IpRanges) > 0 && p.IpRanges[0].Description != nil {
			b.FirstOfDescribed = *p.IpRanges[0].Description
		}
		out = append(out, b)
	}
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"Protocol":"tcp","From":443,"To":443,"V4":1,"V6":1,"Lists":1,"Groups":0,"FirstOwner":"","FirstOfDescribed":"a"},` +
		`{"Protocol":"-1","From":null,"To":null,"V4":0,"V6":0,"Lists":0,"Groups":1,"FirstOwner":"111122223333","FirstOfDescribed":""},` +
		`{"Protocol":"47","From":null,"To":null,"V4":0,"V6":0,"Lists":0,"Groups":1,"FirstOwner":"","FirstOfDescribed":""},` +
		`{"Protocol":"icmp","From":8,"To":-1,"V4":0,"V6":0,"Lists":0,"Groups":1,"FirstOwner":"","FirstOfDescribed":""},` +
		`{"Protocol":"58","From":-1,"To":-1,"V4":0,"V6":0,"Lists":0,"Groups":1,"FirstOwner":"","FirstOfDescribed":""}]`
	if string(text) != want {
		t.Errorf("permissions are\n%s, want\n%s", text, want)
	}
}
