package acl

import (
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

// Mutations breaks our lists, one line at a time, in the nine ways of a wrong
// renderer. Every stride-th line is broken in all of them.
func (d *Driver) Mutations(s driver.State, stride int) []Mutation {
	st, err := stateOf(s)
	if err != nil {
		return nil
	}
	var out []Mutation
	for _, dir := range []string{In, Out} {
		l := st.list(d.name(dir))
		if l == nil {
			continue
		}
		edit := func(kind string, entries []Entry) {
			next := &State{Config: st.Config.clone(), d: st.d}
			next.list(l.Name).Entries = renumber(entries)
			out = append(out, Mutation{kind, next})
		}
		for i := 0; i < len(l.Entries); i += stride {
			for kind, with := range broken(l.Entries[i]) {
				edit(kind, slices.Concat(l.Entries[:i], with, l.Entries[i+1:]))
			}
			if !l.Entries[i].Permit {
				edit("deny moved last", slices.Concat(l.Entries[:i], l.Entries[i+1:], l.Entries[i:i+1]))
			}
		}
		edit("drop the IPv6 half", slices.DeleteFunc(slices.Clone(l.Entries), func(e Entry) bool { return !e.Src.Addr().Is4() }))
		if blind := slices.DeleteFunc(slices.Clone(l.Entries), func(e Entry) bool { return e.SrcLo != 0 || e.SrcHi != 65535 }); len(blind) < len(l.Entries) {
			edit("drop what looks at source ports", blind)
		}
		var allow []Entry
		for _, all := range []string{"0.0.0.0/0", "::/0"} {
			p := netip.MustParsePrefix(all)
			allow = append(allow, Entry{Permit: true, Src: p, Dst: p, Proto: AnyProto, SrcHi: 65535})
		}
		edit("default allow", slices.Concat(slices.DeleteFunc(slices.Clone(l.Entries), func(e Entry) bool { return e.Proto == AnyProto && !e.Permit }), allow))
	}
	slices.SortStableFunc(out, func(a, b Mutation) int { return slices.Compare([]byte(a.Kind), []byte(b.Kind)) })
	return out
}

// broken gives what may stand in one line's place, by kind.
func broken(e Entry) map[string][]Entry {
	flipped, off, any, wide := e, e, e, e
	flipped.Permit = !e.Permit
	if e.Proto != AnyProto {
		if off.Hi < 65535 {
			off.Hi++
		} else if off.Lo > 0 {
			off.Lo--
		} else {
			off.Hi--
		}
	} else if e.SrcHi < 65535 {
		off.SrcHi++
	}
	any.Src = netip.PrefixFrom(e.Src.Addr(), 0).Masked()
	out := map[string][]Entry{"drop a rule": nil, "flip an action": {flipped}, "port off by one": {off}, "empty is any": {any}}
	first := packet.AddrsOf(netip.PrefixFrom(e.Src.Addr(), e.Src.Addr().BitLen()))
	var less []Entry
	for _, p := range packet.AddrsOf(e.Src).Subtract(first).Prefixes() {
		part := e
		part.Src = p
		less = append(less, part)
	}
	out["drop an address"] = less
	if next := packet.PrefixRange(e.Src).To.Next(); next.IsValid() {
		wide.Src = netip.PrefixFrom(next, next.BitLen())
		out["widen by one address"] = []Entry{e, wide}
	}
	return out
}

func renumber(es []Entry) []Entry {
	for i := range es {
		es[i].Seq = (i + 1) * seqStep
	}
	return es
}
