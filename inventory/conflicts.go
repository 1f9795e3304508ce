package inventory

import (
	"cmp"
	"net/netip"
	"slices"
)

// heldTwice finds the addresses that several assets hold which all claim to be
// the machine behind them.
func heldTwice(assets []Asset) []Conflict {
	return shared(assets, func(a *Asset) bool { return a.Kind.ClaimsMachine() }, func([]hold) bool { return true })
}

// heldInTwoVPCs finds the addresses that assets of several VPCs hold, whatever they are:
// a site is one address space, and two VPCs with the same addresses are two. Where all
// of them claim to be the machine it is heldTwice that says so.
func heldInTwoVPCs(assets []Asset) []Conflict {
	vpc := func(a *Asset) string { return a.Attributes[AttrVPC] }
	first := slices.IndexFunc(assets, func(a Asset) bool { return vpc(&a) != "" })
	if first < 0 || !slices.ContainsFunc(assets[first:], func(a Asset) bool { return vpc(&a) != "" && vpc(&a) != vpc(&assets[first]) }) {
		return nil // as in nearly every site
	}
	return shared(assets, func(a *Asset) bool { return vpc(a) != "" }, func(list []hold) bool {
		several, machines := false, true
		for _, h := range list {
			several = several || vpc(h.asset) != vpc(list[0].asset)
			machines = machines && h.asset.Kind.ClaimsMachine()
		}
		return several && !machines
	})
}

// hold is an asset that holds a prefix.
type hold struct {
	prefix netip.Prefix
	asset  *Asset
}

// shared finds the addresses that several of some assets hold, where that is a conflict.
// A prefix inside another asset's prefix counts: its addresses are in both. One conflict
// is reported for each narrowest prefix.
func shared(assets []Asset, among func(*Asset) bool, conflict func([]hold) bool) []Conflict {
	total := 0
	for i := range assets {
		total += len(assets[i].Addresses)
	}
	holds := make([]hold, 0, total)
	for i := range assets {
		a := &assets[i]
		if !among(a) {
			continue
		}
		for _, p := range a.Addresses {
			holds = append(holds, hold{p, a})
		}
	}
	slices.SortFunc(holds, func(x, y hold) int {
		if c := ComparePrefix(x.prefix, y.prefix); c != 0 {
			return c
		}
		return cmp.Compare(x.asset.ID, y.asset.ID)
	})
	var out []Conflict
	var open []hold // the prefixes that contain the one at hand, the widest first
	for i := 0; i < len(holds); {
		p := holds[i].prefix
		for len(open) > 0 && !open[len(open)-1].prefix.Overlaps(p) {
			open = open[:len(open)-1]
		}
		for ; i < len(holds) && holds[i].prefix == p; i++ {
			open = append(open, holds[i])
		}
		if len(open) == 1 || !conflict(open) {
			continue // as for nearly every address
		}
		con := Conflict{Kind: AddressHeldTwice, Field: FieldAddresses}
		seen := map[string]bool{}
		for _, h := range open {
			if !seen[h.asset.ID] {
				seen[h.asset.ID] = true
				value := FormatPrefix(h.prefix)
				con.Claims = append(con.Claims, Claim{
					Asset: h.asset.ID, Value: value, Pos: h.asset.FieldPos(FieldAddresses, value),
				})
			}
		}
		if len(con.Claims) > 1 {
			slices.SortFunc(con.Claims, compareClaim)
			out = append(out, con)
		}
	}
	return out
}

// sharedMACs finds the MACs that several machines have.
func sharedMACs(assets []Asset) []Conflict {
	first := map[string]*Asset{}
	held := map[string][]*Asset{} // by more than one
	var macs []string
	for i := range assets {
		if !assets[i].Kind.ClaimsMachine() {
			continue
		}
		for _, mac := range assets[i].MACs {
			one, ok := first[mac]
			if !ok {
				first[mac] = &assets[i]
				continue
			}
			if held[mac] == nil {
				held[mac] = []*Asset{one}
				macs = append(macs, mac)
			}
			held[mac] = append(held[mac], &assets[i])
		}
	}
	slices.Sort(macs)
	var out []Conflict
	for _, mac := range macs {
		con := Conflict{Kind: MACHeldTwice, Field: FieldMACs}
		for _, a := range held[mac] {
			con.Claims = append(con.Claims, Claim{Asset: a.ID, Value: mac, Pos: a.FieldPos(FieldMACs, mac)})
		}
		out = append(out, con)
	}
	return out
}
