package render

import (
	"cmp"
	"fmt"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
)

// standing is what happens at a hook to what one part sends to another.
type standing int

// The standings.
const (
	filtered standing = iota // a list decides
	inbound                  // nobody filters what the other receives
	ignored                  // it does not come by there, or is none of the points' business
)

// stands tells what happens at a hook. What hangs on the switch is filtered where it sends;
// what comes from elsewhere, where it is received, if at all.
func (x *fabric) stands(hook string, src, dst int) standing {
	from, to := len(x.at[src]) > 0, len(x.at[dst]) > 0 || x.w.Multicast(dst) && len(x.ports) > 0
	switch {
	case hook == compile.HookOutput && from, hook == compile.HookInput && to && x.f.Out:
		return filtered
	case hook == compile.HookInput && to && !from:
		return inbound
	}
	return ignored
}

// box is flows of one kind while they are joined: sources and destinations are sets of parts.
type box struct {
	lapse
	point, hook string
	src, dst    packet.Bits
}

// boxKey is equal for what is told together.
type boxKey struct {
	kind        string
	wider       bool
	tracking    driver.Tracking
	point, hook string
	services    string
	lo          uint16
	dst         int
}

// lapse is what passes though it must not, or the other way round, in one situation.
type lapse struct {
	kind     string
	wider    bool
	tracking driver.Tracking
	run      want.Ports
	services packet.Services
	text     string // of the services
}

// residue enumerates where lists do otherwise than policy says.
func (x *fabric) residue() ([]driver.Residue, error) {
	type memo struct {
		shape    int
		standing standing
		errors   bool
	}
	known := map[memo][]lapse{}
	index := map[boxKey]*box{}
	var list []*box
	for _, hook := range []string{compile.HookInput, compile.HookOutput} {
		for dst := range x.w.Parts {
			for src := range x.w.Parts {
				if x.w.Four(src) != x.w.Four(dst) || src == dst && len(x.w.Parts[src].Prefixes()) == 1 && x.w.Parts[src].Single() {
					continue
				}
				at := x.stands(hook, src, dst)
				if at == ignored {
					continue
				}
				m := memo{x.shapeOf(src, dst), at, at == filtered && hook == compile.HookInput && !x.w.Multicast(dst)}
				all, ok := known[m]
				if !ok {
					var err error
					if all, err = x.lapses(x.shapes[m.shape], at, m.errors); err != nil {
						return nil, fmt.Errorf("%s to %s: %w", x.w.Parts[src], x.w.Parts[dst], err)
					}
					known[m] = all
				}
				point := x.w.Seer(hook, src, dst)
				for _, l := range all {
					key := boxKey{l.kind, l.wider, l.tracking, point, hook, l.text, l.run.Lo, dst}
					b := index[key]
					if b == nil {
						b = &box{l, point, hook, packet.NewBits(len(x.w.Parts)), packet.NewBits(len(x.w.Parts))}
						b.dst.Set(dst)
						index[key] = b
						list = append(list, b)
					}
					b.src.Set(src)
				}
			}
		}
	}
	return x.byKind(joined(list)), nil
}

// lapses works out what is wrong in one standing. errors is set where ICMP errors come in
// from everybody.
func (x *fabric) lapses(s *shape, at standing, errors bool) ([]lapse, error) {
	required := s.errors
	if errors {
		more := *s
		more.always = nil
		more.errors = errorsOf(s.four)
		s = &more
	}
	var out []lapse
	every := packet.AllServices()
	compare := func(t driver.Tracking, run want.Ports, must, does, answers packet.Services, kinds map[bool]string) error {
		domain := every
		if t == driver.TrackMid {
			domain = tcp
		}
		wider, less := does.Subtract(must).Intersect(domain), must.Union(answers).Subtract(does).Intersect(domain)
		for _, p := range []struct {
			wider    bool
			services packet.Services
		}{{true, wider}, {false, less}} {
			if p.services.IsEmpty() {
				continue
			}
			if lost := p.services.Intersect(s.cut); !p.wider && !lost.IsEmpty() && at == filtered {
				icmp := lost.Intersect(line(1).Union(line(58)))
				if !icmp.IsEmpty() {
					out = append(out, lapse{KindMessage, false, t, run, icmp, icmp.String()})
				}
				if ports := lost.Subtract(icmp); !ports.IsEmpty() {
					out = append(out, lapse{KindPorts, false, t, run, ports, ports.String()})
				}
				if p.services = p.services.Subtract(lost); p.services.IsEmpty() {
					continue
				}
			}
			kind, ok := kinds[p.wider]
			if !ok {
				return fmt.Errorf("%v would fare otherwise than policy says (%s), which is not of a list's nature; this is a fault of Bulkhead", p.services, t)
			}
			out = append(out, lapse{kind, p.wider, t, run, p.services, p.services.String()})
		}
		return nil
	}
	var errs []error
	for _, run := range x.runs {
		for _, t := range []driver.Tracking{driver.TrackNew, driver.TrackMid} {
			must := s.from(run)
			if at != filtered {
				errs = append(errs, compare(t, run, must, every, nil, map[bool]string{true: KindInbound}))
				continue
			}
			errs = append(errs, compare(t, run, must, s.passes(run, t == driver.TrackMid), compile.Answers(s.back, run.Lo, run.Hi).Union(required).Intersect(s.cut), map[bool]string{true: KindReturn}))
		}
	}
	whole := want.AllPorts()
	if at != filtered {
		errs = append(errs, compare(driver.TrackLater, whole, s.opens, every, nil, map[bool]string{true: KindInbound}))
	} else {
		errs = append(errs, compare(driver.TrackLater, whole, s.opens, s.later(x.f.Later), s.laterAnswers(), map[bool]string{true: KindFragment, false: KindFragment}))
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// joined joins boxes: first those of neighbouring source ports, then those of all destinations
// that have the same sources.
func joined(list []*box) []*box {
	list = join(list, func(b *box) string {
		return fmt.Sprintf("%s|%v|%s|%s|%s|%s|%s|%s", b.kind, b.wider, b.tracking, b.point, b.hook, b.src.Key(), b.dst.Key(), b.text)
	}, func(a, b *box) bool {
		if int(a.run.Hi)+1 != int(b.run.Lo) {
			return false
		}
		a.run.Hi = b.run.Hi
		return true
	})
	return join(list, func(b *box) string {
		return fmt.Sprintf("%s|%v|%s|%s|%s|%s|%d|%d|%s", b.kind, b.wider, b.tracking, b.point, b.hook, b.src.Key(), b.run.Lo, b.run.Hi, b.text)
	}, func(a, b *box) bool { b.dst.Each(a.dst.Set); return true })
}

// join joins boxes of one key into the last of that key, if they let themselves.
func join(list []*box, key func(*box) string, into func(a, b *box) bool) []*box {
	last := map[string]*box{}
	var out []*box
	for _, b := range list {
		k := key(b)
		if a := last[k]; a != nil && into(a, b) {
			continue
		}
		last[k] = b
		out = append(out, b)
	}
	return out
}

func (x *fabric) byKind(list []*box) []driver.Residue {
	var out []driver.Residue
	sets := map[string]packet.Addrs{}
	addrs := func(in packet.Bits) packet.Addrs {
		k := in.Key()
		a, ok := sets[k]
		if !ok {
			var b packet.Builder
			in.Each(func(p int) { b.AddSet(x.w.Parts[p]) })
			a = b.Addrs()
			sets[k] = a
		}
		return a
	}
	for _, b := range list {
		i := slices.IndexFunc(out, func(r driver.Residue) bool { return r.Point == b.point && r.Kind == b.kind && r.Wider == b.wider })
		if i < 0 {
			text := texts[b.kind][0]
			if b.wider {
				text = texts[b.kind][1]
			}
			i = len(out)
			out = append(out, driver.Residue{Point: b.point, Kind: b.kind, Wider: b.wider, Text: text})
		}
		out[i].Flows = append(out[i].Flows, driver.Flows{Hook: b.hook, Tracking: b.tracking, Src: addrs(b.src), Dst: addrs(b.dst), Services: b.services, SrcPortLo: b.run.Lo, SrcPortHi: b.run.Hi})
	}
	slices.SortStableFunc(out, func(a, b driver.Residue) int {
		return cmp.Or(cmp.Compare(a.Point, b.Point), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}
