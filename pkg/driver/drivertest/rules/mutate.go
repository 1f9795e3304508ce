package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// Mutation is a state with one thing of ours wrong.
type Mutation struct {
	Kind  string
	State *State
}

// Mutations breaks what the site has on the device, one thing at a time, in the
// nine ways of a wrong renderer. Two of them cannot be said here: there is no
// action to flip and no deny to move. Not all rules are broken in all ways: every
// stride-th is.
func (d *Driver) Mutations(s driver.State, stride int) []Mutation {
	st, err := stateOf(s)
	if err != nil {
		return nil
	}
	var out []Mutation
	edit := func(kind string, f func(c *Config, g *Group)) {
		next := &State{Config: st.Config.clone(), site: st.site, portName: st.portName}
		f(&next.Config, next.group(d.active(next)))
		out = append(out, Mutation{kind, next})
	}
	active := st.group(d.active(st))
	if active == nil {
		return nil
	}
	for i := 0; i < len(active.Rules); i += stride {
		r := active.Rules[i]
		edit("drop a rule", func(_ *Config, g *Group) { g.Rules = slices.Delete(g.Rules, i, i+1) })
		edit("drop an address", func(_ *Config, g *Group) { g.Rules = slices.Concat(slices.Delete(g.Rules, i, i+1), without(r)) })
		if next := packet.PrefixRange(r.Src).To.Next(); next.IsValid() {
			wide := r
			wide.Src = netip.PrefixFrom(next, next.BitLen())
			edit("widen by one address", func(_ *Config, g *Group) { g.Rules = append(g.Rules, wide) })
		}
		edit("port off by one", func(_ *Config, g *Group) { g.Rules[i].Hi = offByOne(r.Lo, r.Hi) })
		any := netip.PrefixFrom(r.Src.Addr(), 0).Masked()
		edit("empty is any", func(_ *Config, g *Group) { g.Rules[i].Src = any })
	}
	edit("drop the IPv6 half", func(_ *Config, g *Group) {
		g.Rules = slices.DeleteFunc(g.Rules, func(r Rule) bool { return !r.Src.Addr().Is4() })
	})
	edit("default allow", func(_ *Config, g *Group) {
		for _, hook := range []string{In, Out} {
			for _, all := range []string{"0.0.0.0/0", "::/0"} {
				p := netip.MustParsePrefix(all)
				g.Rules = append(g.Rules, Rule{ID: "default " + hook + all, Hook: hook, Src: p, Dst: p, ProtoHi: 255, Hi: 65535})
			}
		}
	})
	for i := range st.Config.port(d.port).Filters {
		edit(fmt.Sprintf("default allow (filter %d)", i), func(c *Config, _ *Group) {
			p := c.port(d.port)
			p.Filters = slices.Delete(p.Filters, i, i+1)
		})
	}
	return out
}

// without gives the rules that match all that r does but its first source.
func without(r Rule) []Rule {
	first := packet.AddrsOf(netip.PrefixFrom(r.Src.Addr(), r.Src.Addr().BitLen()))
	var out []Rule
	for k, p := range packet.AddrsOf(r.Src).Subtract(first).Prefixes() {
		next := r
		next.ID, next.Src = fmt.Sprintf("%s.%d", r.ID, k), p
		out = append(out, next)
	}
	return out
}

func offByOne(lo, hi uint16) uint16 {
	if hi < 65535 {
		return hi + 1
	}
	return max(lo, hi-1)
}
