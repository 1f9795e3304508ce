package policy

import (
	"net/netip"
	"slices"
	"time"

	"bulkhead/inventory"
)

// World is everything that a verdict depends on.
type World struct {
	Assets []inventory.Asset
	Book   *Rulebook
	// Where lists, for each group that has a `where`, the assets that it selects.
	Where map[string][]string
	// Now is the time at which policies are judged expired.
	Now time.Time
}

// Flow is one attempt to open a conversation. Num is the destination port,
// type<<8|code for ICMP and ICMPv6, and of no meaning for other protocols.
type Flow struct {
	Src, Dst netip.Addr
	Proto    uint8
	Num      uint16
}

// Side is one side's judgement of a flow.
type Side struct {
	Permit bool
	// Policy decided; nil if none did and the default holds.
	Policy *Policy
	// Isolating names the groups that hold the address and isolate this side. It is
	// filled where the default decided.
	Isolating []string
}

// Decision is the verdict on one flow, with what led to it.
type Decision struct {
	Permit          bool
	Self            bool // an address to itself, or loopback: always passes
	Egress, Ingress Side
	// Shadow is the verdict with observed policies enforced too. ShadowEgress and
	// ShadowIngress say what decides there.
	Shadow                      bool
	ShadowEgress, ShadowIngress Side
}

// Decide judges one flow. It is the meaning of a site: what the compiler
// produces must agree with it for every flow.
//
// An address that two machines claim is judged once as each of them, and the
// most restrictive verdict holds.
func (w *World) Decide(f Flow) Decision {
	if f.Src == f.Dst || f.Src.IsLoopback() || f.Dst.IsLoopback() {
		return Decision{Permit: true, Shadow: true, Self: true, Egress: Side{Permit: true}, Ingress: Side{Permit: true},
			ShadowEgress: Side{Permit: true}, ShadowIngress: Side{Permit: true}}
	}
	var result Decision
	first := true
	for _, src := range w.identities(f.Src) {
		for _, dst := range w.identities(f.Dst) {
			d := w.decideAs(f, src, dst)
			if first {
				result, first = d, false
				continue
			}
			if result.Permit && !d.Permit {
				result.Permit, result.Egress, result.Ingress = false, d.Egress, d.Ingress
			}
			if result.Shadow && !d.Shadow {
				result.Shadow, result.ShadowEgress, result.ShadowIngress = false, d.ShadowEgress, d.ShadowIngress
			}
		}
	}
	return result
}

func (w *World) decideAs(f Flow, src, dst identity) Decision {
	var d Decision
	d.Egress = w.walk(f, src, dst, Egress, false)
	d.Ingress = w.walk(f, src, dst, Ingress, false)
	d.Permit = d.Egress.Permit && d.Ingress.Permit
	d.ShadowEgress = w.walk(f, src, dst, Egress, true)
	d.ShadowIngress = w.walk(f, src, dst, Ingress, true)
	d.Shadow = d.ShadowEgress.Permit && d.ShadowIngress.Permit
	return d
}

// walk judges one side: tier by tier, policy by policy.
func (w *World) walk(f Flow, src, dst identity, side Direction, observed bool) Side {
	for tier := Emergency; tier <= Baseline; tier++ {
		for i := range w.Book.Policies {
			p := &w.Book.Policies[i]
			if p.Tier != tier || !w.applies(p, f, src, dst, side, observed) {
				continue
			}
			if p.Action == Pass {
				break
			}
			return Side{Permit: p.Action == Allow, Policy: p}
		}
	}
	isolating := w.isolating(src, Isolation.Egress)
	if side == Ingress {
		isolating = w.isolating(dst, Isolation.Ingress)
	}
	return Side{Permit: len(isolating) == 0, Isolating: isolating}
}

func (w *World) applies(p *Policy, f Flow, src, dst identity, side Direction, observed bool) bool {
	if p.Mode == Observe && !observed {
		return false
	}
	if !p.Expires.IsZero() && !w.Now.Before(p.Expires) {
		return false
	}
	if p.Direction != Both && p.Direction != side {
		return false
	}
	if !w.inAny(p.From, src) || !w.inAny(p.To, dst) {
		return false
	}
	for _, label := range p.Same {
		if !shares(w.values(src, label), w.values(dst, label)) {
			return false
		}
	}
	for _, label := range p.Differ {
		a, b := w.values(src, label), w.values(dst, label)
		if len(a) == 0 || len(b) == 0 || shares(a, b) {
			return false
		}
	}
	for _, r := range p.Ranges {
		if r.Proto == f.Proto && (r.Lo <= f.Num && f.Num <= r.Hi || !numbered(f.Proto)) {
			return true
		}
	}
	return false
}

// numbered reports whether services of the protocol are told apart by a number.
func numbered(proto uint8) bool {
	switch proto {
	case 6, 17, 132, 33, 136, 1, 58:
		return true
	}
	return false
}

func shares(a, b []string) bool {
	for _, v := range a {
		if slices.Contains(b, v) {
			return true
		}
	}
	return false
}

// identity is an address seen as held by all assets but those in not.
type identity struct {
	addr netip.Addr
	not  []string
}

// identities gives one identity for each machine that claims the host address;
// one in all where no two do.
func (w *World) identities(addr netip.Addr) []identity {
	var claim []string
	for i := range w.Assets {
		a := &w.Assets[i]
		if a.Kind.ClaimsMachine() && holdsHost(a, addr) {
			claim = append(claim, a.ID)
		}
	}
	if len(claim) < 2 {
		return []identity{{addr: addr}}
	}
	var out []identity
	for i := range claim {
		others := slices.Concat(claim[:i:i], claim[i+1:])
		out = append(out, identity{addr, others})
	}
	return out
}

func holdsHost(a *inventory.Asset, addr netip.Addr) bool {
	for _, p := range a.Addresses {
		if p.IsSingleIP() && p.Addr() == addr {
			return true
		}
	}
	return false
}

func (w *World) holds(a *inventory.Asset, id identity) bool {
	if slices.Contains(id.not, a.ID) {
		return false
	}
	for _, p := range a.Addresses {
		if p.Contains(id.addr) {
			return true
		}
	}
	return false
}

func (w *World) assetHolds(name string, id identity) bool {
	for i := range w.Assets {
		if w.Assets[i].ID == name {
			return w.holds(&w.Assets[i], id)
		}
	}
	return false
}

// values lists the values of a label that the assets which hold the address carry.
func (w *World) values(id identity, label string) []string {
	var out []string
	for i := range w.Assets {
		if v, ok := w.Assets[i].Labels[label]; ok && w.holds(&w.Assets[i], id) {
			out = append(out, v)
		}
	}
	return out
}

func (w *World) inAny(groups []string, id identity) bool {
	for _, g := range groups {
		if w.inGroup(g, id) {
			return true
		}
	}
	return false
}

func (w *World) inGroup(name string, id identity) bool {
	switch name {
	case GroupAny:
		return true
	case GroupUnknown, GroupUnidentified:
		for i := range w.Assets {
			a := &w.Assets[i]
			if (name == GroupUnknown || a.Kind.Identifies()) && w.holds(a, id) {
				return false
			}
		}
		return true
	}
	for i := range w.Book.Groups {
		if g := &w.Book.Groups[i]; g.Name == name {
			return w.gives(g, id) && !w.excepts(g, id)
		}
	}
	return false
}

func (w *World) gives(g *Group, id identity) bool {
	for _, asset := range w.Where[g.Name] {
		if w.assetHolds(asset, id) {
			return true
		}
	}
	for _, asset := range g.Members {
		if w.assetHolds(asset, id) {
			return true
		}
	}
	for _, p := range g.Prefixes {
		if p.Contains(id.addr) {
			return true
		}
	}
	return w.inAny(g.Groups, id)
}

func (w *World) excepts(g *Group, id identity) bool {
	for _, asset := range g.ExceptAssets {
		if w.assetHolds(asset, id) {
			return true
		}
	}
	for _, p := range g.ExceptPrefixes {
		if p.Contains(id.addr) {
			return true
		}
	}
	return w.inAny(g.ExceptGroups, id)
}

func (w *World) isolating(id identity, side func(Isolation) bool) []string {
	var out []string
	for i := range w.Book.Groups {
		g := &w.Book.Groups[i]
		if side(g.Isolate) && w.inGroup(g.Name, id) {
			out = append(out, g.Name)
		}
	}
	return out
}

// GroupsOf lists the groups that hold an address, built-in ones included.
func (w *World) GroupsOf(addr netip.Addr) []string {
	seen := map[string]bool{}
	for _, id := range w.identities(addr) {
		for i := range w.Book.Groups {
			if name := w.Book.Groups[i].Name; w.inGroup(name, id) {
				seen[name] = true
			}
		}
	}
	var out []string
	for i := range w.Book.Groups {
		if seen[w.Book.Groups[i].Name] {
			out = append(out, w.Book.Groups[i].Name)
		}
	}
	return out
}

// ValuesOf lists the values of a label that an address carries, as each of the
// machines that claim it.
func (w *World) ValuesOf(addr netip.Addr, label string) []string {
	var out []string
	for _, id := range w.identities(addr) {
		for _, v := range w.values(id, label) {
			if !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}
