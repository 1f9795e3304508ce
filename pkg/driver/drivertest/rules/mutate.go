package rules

import (
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
		if r.Src.From != r.Src.To {
			edit("drop an address", func(_ *Config, g *Group) { g.Rules[i].Src.From = r.Src.From.Next() })
		}
		if next := r.Src.To.Next(); next.IsValid() {
			edit("widen by one address", func(_ *Config, g *Group) { g.Rules[i].Src.To = next })
		}
		edit("port off by one", func(_ *Config, g *Group) { g.Rules[i].Hi = offByOne(r.Lo, r.Hi) })
		family := packet.AllAddrs().Runs()[0]
		if !r.Src.From.Is4() {
			family = packet.AllAddrs().Runs()[1]
		}
		edit("empty is any", func(_ *Config, g *Group) { g.Rules[i].Src = family })
	}
	edit("drop the IPv6 half", func(_ *Config, g *Group) {
		g.Rules = slices.DeleteFunc(g.Rules, func(r Rule) bool { return !r.Src.From.Is4() })
	})
	edit("default allow", func(_ *Config, g *Group) {
		for _, hook := range []string{In, Out} {
			for _, all := range packet.AllAddrs().Runs() {
				g.Rules = append(g.Rules, Rule{ID: "default " + hook + all.String(), Hook: hook, Src: all, Dst: all, ProtoHi: 255, Hi: 65535})
			}
		}
	})
	for i := range st.Config.port(d.port).Filters {
		edit("default allow (a filter gone)", func(c *Config, _ *Group) {
			p := c.port(d.port)
			p.Filters = slices.Delete(p.Filters, i, i+1)
		})
	}
	return out
}

func offByOne(lo, hi uint16) uint16 {
	if hi < 65535 {
		return hi + 1
	}
	return max(lo, hi-1)
}
