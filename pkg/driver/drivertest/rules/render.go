package rules

import (
	"fmt"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Render gives the state in which our group, alone of ours, is on the port. What
// others have is in it unchanged.
func (d *Driver) Render(w driver.Desired, have driver.State) (*driver.Rendered, error) {
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	next := &State{Config: h.Config.clone(), site: h.site, portName: h.portName}
	r := &renderer{want: w}
	if len(w.Points) > 0 {
		r.hook(In, want.NewHook(w.View, w.Points, compile.HookInput))
		r.hook(Out, want.NewHook(w.View, w.Points, compile.HookOutput))
	}
	slices.SortFunc(r.rules, func(a, b Rule) int { return a.compare(b) })
	r.rules = slices.Compact(r.rules)
	out := &driver.Rendered{State: next, Residue: r.residue}
	name := d.choose(h, r.rules)
	d.clear(&next.Config)
	if len(r.points()) == 0 {
		return out, nil
	}
	limit := h.Limit
	if b := w.Budget["rules"]; b > 0 {
		limit = min(limit, b)
	}
	out.Usage = []driver.Usage{{Resource: "rules", Used: len(r.rules), Limit: limit}}
	if len(r.rules) > limit {
		return nil, fmt.Errorf("%w: port %q needs %d rules and may have %d", driver.ErrRefused, d.port, len(r.rules), limit)
	}
	next.Groups = append(next.Groups, Group{Name: name, Owner: d.owner(), Points: r.points(), Rules: r.rules})
	p := next.Config.port(d.port)
	p.Groups = append(p.Groups, name)
	p.Filters = append(p.Filters, r.filters(d.owner())...)
	out.Essential = r.essential()
	return out, nil
}

// choose picks the group to fill: the one on the port, or, where old and new rules
// do not fit beside each other for the time of the change, one that is off it. An
// interrupted change may leave two on the port; of three one is always free.
func (d *Driver) choose(h *State, rules []Rule) string {
	names := []string{d.owner() + ":a", d.owner() + ":b", d.owner() + ":c"}
	on := h.Config.port(d.port).Groups
	if active := d.active(h); active != "" {
		there := map[Rule]bool{}
		for _, r := range slices.Concat(h.group(active).Rules, rules) {
			there[r.what()] = true
		}
		if len(there) <= h.Limit {
			return active
		}
	}
	i := slices.IndexFunc(names, func(name string) bool { return !slices.Contains(on, name) })
	return names[max(i, 0)]
}

// clear takes everything of ours out of a configuration.
func (d *Driver) clear(c *Config) {
	ours := map[string]bool{}
	c.Groups = slices.DeleteFunc(c.Groups, func(g Group) bool {
		ours[g.Name] = ours[g.Name] || g.Owner == d.owner()
		return g.Owner == d.owner()
	})
	p := c.port(d.port)
	p.Groups = slices.DeleteFunc(p.Groups, func(name string) bool { return ours[name] })
	p.Filters = slices.DeleteFunc(p.Filters, func(f Filter) bool { return f.Owner == d.owner() })
}

// renderer collects the rules of both hooks.
type renderer struct {
	want    driver.Desired
	rules   []Rule
	residue []driver.Residue
}

// enforced lists the points that enforce; a device that cannot observe has
// nothing of the others.
func (r *renderer) enforced() []*compile.Point {
	var out []*compile.Point
	for i := range r.want.Points {
		if p := &r.want.Points[i]; p.Mode != policy.Observe && p.Endpoint {
			out = append(out, p)
		}
	}
	return out
}

func (r *renderer) points() []string {
	var out []string
	for _, p := range r.enforced() {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func (r *renderer) filters(owner string) []Filter {
	var hosts packet.Addrs
	for _, p := range r.enforced() {
		hosts = hosts.Union(p.Protects)
	}
	var out []Filter
	for _, p := range hosts.Prefixes() {
		out = append(out, Filter{Prefix: p, Owner: owner})
	}
	for _, p := range compile.Multicast().Prefixes() {
		out = append(out, Filter{Prefix: p, Listen: true, Owner: owner})
	}
	return out
}

// hook renders one hook: what protected addresses and listeners receive, then
// what protected addresses send to everybody else.
func (r *renderer) hook(native string, h *want.Hook) {
	if !h.Asked() {
		return
	}
	chosen := r.choose(h)
	for j := range h.Parts {
		if h.Receives(j) {
			r.emit(native, h, chosen, j, false)
		}
	}
	for i := range h.Parts {
		if h.Sends(i) {
			r.emit(native, h, chosen, i, true)
		}
	}
}

// choose gives the services that rules can permit between two parts: what must
// pass from every source port, or, where the operator widens, from any.
func (r *renderer) choose(h *want.Hook) func(src, dst int) packet.Services {
	memo := map[[2]int]packet.Services{}
	widen := r.widens()
	return func(src, dst int) packet.Services {
		key := [2]int{src, dst}
		if s, ok := memo[key]; ok {
			return s
		}
		s := h.Floor(src, dst)
		if widen {
			for _, run := range h.Runs {
				s = s.Union(h.Permit(src, dst, run))
			}
		}
		memo[key] = s
		r.note(h, src, dst, s, widen)
		return s
	}
}

func (r *renderer) widens() bool {
	for _, p := range r.enforced() {
		if r.want.Inexact[p.Name] != driver.Widen {
			return false
		}
	}
	return true
}

// note enumerates what the choice gets wrong, source port run by run.
func (r *renderer) note(h *want.Hook, src, dst int, chosen packet.Services, widen bool) {
	if src == dst && h.Parts[src].Single() {
		return // an address to itself is no packet that a device sees
	}
	for _, run := range h.Runs {
		exact := h.Permit(src, dst, run)
		wrong := exact.Subtract(chosen)
		if widen {
			wrong = chosen.Subtract(exact)
		}
		if wrong.IsEmpty() {
			continue
		}
		f := driver.Flows{Hook: h.Name, Src: h.Parts[src], Dst: h.Parts[dst], Services: wrong, SrcPortLo: run.Lo, SrcPortHi: run.Hi}
		for _, name := range r.points() {
			r.list(name, widen).Flows = append(r.list(name, widen).Flows, f)
		}
	}
}

func (r *renderer) list(point string, wider bool) *driver.Residue {
	for i := range r.residue {
		if r.residue[i].Point == point && r.residue[i].Wider == wider {
			return &r.residue[i]
		}
	}
	text := "what passes only from certain source ports (DHCP, answers of failsafe flows that are not tracked) is dropped: rules know no source ports"
	if wider {
		text = "what passes only from certain source ports (DHCP, answers of failsafe flows) passes from all: rules know no source ports"
	}
	r.residue = append(r.residue, driver.Residue{Point: point, Kind: "source-port", Wider: wider, Text: text})
	return &r.residue[len(r.residue)-1]
}

// emit writes the rules of one part with all its peers: for each run of services
// the set of peers that have it, so that peers share rules.
func (r *renderer) emit(native string, h *want.Hook, chosen func(src, dst int) packet.Services, part int, sends bool) {
	var peers []int
	var services []packet.Services
	for k := range h.Parts {
		if !h.Family(part, k) || sends && h.Receives(k) {
			continue
		}
		peers = append(peers, k)
		if sends {
			services = append(services, chosen(part, k))
		} else {
			services = append(services, chosen(k, part))
		}
	}
	for _, g := range want.Gather(h, peers, services) {
		for _, peer := range g.Peers.Runs() {
			for _, own := range h.Parts[part].Runs() {
				for _, p := range want.Pieces(g.Services) {
					rule := Rule{Hook: native, Src: peer, Dst: own, ProtoLo: p.ProtoLo, ProtoHi: p.ProtoHi, Lo: p.Lo, Hi: p.Hi}
					if sends {
						rule.Src, rule.Dst = own, peer
					}
					r.rules = append(r.rules, rule)
				}
			}
		}
	}
}

func (r *renderer) essential() []string {
	out := []string{"neighbour discovery", "multicast listener discovery", "IGMP"}
	for _, p := range r.enforced() {
		for k, name := range []string{compile.EssentialND, compile.EssentialMLD, compile.EssentialIGMP} {
			if p.Off[name] {
				out[k] = ""
			}
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}
