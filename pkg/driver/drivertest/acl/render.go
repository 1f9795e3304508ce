package acl

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
)

// seqStep leaves an operator room to see what was put between our lines.
const seqStep = 10

// Render gives the state in which our lists are bound to the port.
func (d *Driver) Render(w driver.Desired, have driver.State) (*driver.Rendered, error) {
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	next := &State{Config: h.Config.clone(), d: *d}
	next.Lists = slices.DeleteFunc(next.Lists, func(l List) bool { return d.ours(l.Name) })
	out := &driver.Rendered{State: next}
	for _, dir := range []string{In, Out} {
		bound := next.Config.port(d.port).bound(dir)
		if d.ours(*bound) {
			*bound = ""
		}
		if len(w.Points) == 0 {
			continue
		}
		hook := want.NewHook(w.View, w.Points, map[string]string{In: compile.HookInput, Out: compile.HookOutput}[dir])
		if !hook.Asked() {
			continue
		}
		if *bound != "" {
			return nil, fmt.Errorf("%w: list %q of somebody else is bound to port %q %s: unbind it, or leave the port out of the points", driver.ErrRefused, *bound, d.port, dir)
		}
		l := List{Name: d.name(dir), Entries: lines(hook)}
		for i := range w.Points {
			if p := &w.Points[i]; p.Endpoint && p.Mode != "observe" {
				l.Remark = append(l.Remark, p.Name)
			}
		}
		slices.Sort(l.Remark)
		limit := h.Limit
		if b := w.Budget["entries"]; b > 0 {
			limit = min(limit, b)
		}
		if len(l.Entries) > limit {
			return nil, fmt.Errorf("%w: list %q needs %d entries and may have %d", driver.ErrRefused, l.Name, len(l.Entries), limit)
		}
		out.Usage = append(out.Usage, driver.Usage{Resource: "entries", Used: len(l.Entries), Limit: limit})
		next.Lists = append(next.Lists, l)
		*bound = l.Name
	}
	if len(out.Usage) > 0 {
		out.Essential = essential(w.Points)
	}
	return out, nil
}

func essential(points []compile.Point) []string {
	var out []string
	for _, name := range []string{compile.EssentialND, compile.EssentialMLD, compile.EssentialIGMP, compile.EssentialDHCP} {
		if slices.ContainsFunc(points, func(p compile.Point) bool { return !p.Off[name] }) {
			out = append(out, name)
		}
	}
	return out
}

// lines writes a hook as a list: for every part whose packets are judged wherever
// they come from one section, then for every part that is judged as a source, and
// last a permit for what is nobody's business.
func lines(h *want.Hook) []Entry {
	b := &builder{h: h}
	for j := range h.Parts {
		if h.Receives(j) {
			b.section(j, false)
		}
	}
	for i := range h.Parts {
		if h.Sends(i) {
			b.section(i, true)
		}
	}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		p := netip.MustParsePrefix(all)
		b.add(Entry{Permit: true, Src: p, Dst: p, Proto: AnyProto, Hi: 65535, SrcHi: 65535})
	}
	return b.out
}

type builder struct {
	h   *want.Hook
	out []Entry
}

func (b *builder) add(e Entry) {
	e.Seq = (len(b.out) + 1) * seqStep
	b.out = append(b.out, e)
}

// peers are those that a part treats alike.
type peers struct {
	addrs    packet.Addrs
	template []Entry // without addresses; it decides every packet
}

// section decides everything between a part and all its peers. The largest group
// of peers is written as "any" in the end: the others were decided before it.
func (b *builder) section(part int, sends bool) {
	groups := b.groups(part, sends)
	slices.SortStableFunc(groups, func(x, y peers) int { return len(x.addrs.Prefixes()) - len(y.addrs.Prefixes()) })
	for n, g := range groups {
		list := g.addrs.Prefixes()
		if n == len(groups)-1 {
			list = []netip.Prefix{netip.PrefixFrom(g.addrs.First(), 0).Masked()}
		}
		for _, own := range b.h.Parts[part].Prefixes() {
			for _, peer := range list {
				for _, e := range g.template {
					e.Src, e.Dst = peer, own
					if sends {
						e.Src, e.Dst = own, peer
					}
					b.add(e)
				}
			}
		}
	}
}

func (b *builder) groups(part int, sends bool) []peers {
	index := map[string]int{}
	var out []peers
	for k := range b.h.Parts {
		if !b.h.Family(part, k) || sends && b.h.Receives(k) {
			continue // of another family, or decided in the section of the receiver
		}
		src, dst := k, part
		if sends {
			src, dst = part, k
		}
		t := b.template(src, dst)
		key := fmt.Sprint(t)
		n, ok := index[key]
		if !ok {
			n = len(out)
			index[key] = n
			out = append(out, peers{template: t})
		}
		out[n].addrs = out[n].addrs.Union(b.h.Parts[k])
	}
	return out
}

// template writes what passes between two parts: what passes from some source
// ports only, then the rest as permits or as denies, whichever is shorter.
func (b *builder) template(src, dst int) []Entry {
	floor := b.h.Floor(src, dst)
	var out []Entry
	for _, run := range b.h.Runs {
		for _, e := range entries(b.h.Permit(src, dst, run).Subtract(floor), true) {
			e.SrcLo, e.SrcHi = run.Lo, run.Hi
			out = append(out, e)
		}
	}
	permits, denies := entries(floor, true), entries(packet.AllServices().Subtract(floor), false)
	last := Entry{Proto: AnyProto, Hi: 65535, SrcHi: 65535}
	if len(denies) < len(permits) {
		permits, last.Permit = denies, true
	}
	return append(append(out, permits...), last)
}

// entries writes services one protocol at a time, or as all protocols.
func entries(s packet.Services, permit bool) []Entry {
	var out []Entry
	for _, p := range want.Pieces(s) {
		if p.ProtoLo == 0 && p.ProtoHi == 255 {
			out = append(out, Entry{Permit: permit, Proto: AnyProto, Hi: 65535, SrcHi: 65535})
			continue
		}
		for proto := int(p.ProtoLo); proto <= int(p.ProtoHi); proto++ {
			out = append(out, Entry{Permit: permit, Proto: proto, Lo: p.Lo, Hi: p.Hi, SrcHi: 65535})
		}
	}
	return out
}
