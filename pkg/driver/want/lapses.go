package want

import (
	"cmp"
	"fmt"
	"slices"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// Lapse is what passes between two parts though it must not, or the other way round.
type Lapse struct {
	Kind     string
	Wider    bool
	Tracking driver.Tracking // "" is any
	Run      Ports
	Services packet.Services
	text     string // of the services
}

// NewLapse makes a lapse that may be added many times.
func NewLapse(kind string, wider bool, t driver.Tracking, run Ports, s packet.Services) Lapse {
	return Lapse{kind, wider, t, run, s, s.String()}
}

// Lapses collects lapses of pairs of parts, and tells them as residue: what is told alike once.
// Ends are sets of parts: as addresses, those of a large site would be compared and joined by
// the hundred thousand.
type Lapses struct {
	parts []packet.Addrs
	index map[lapseKey]*lapses
	list  []*lapses
}

type lapses struct {
	Lapse
	point, hook string
	src, dst    packet.Bits
}

type lapseKey struct {
	kind                  string
	wider                 bool
	tracking              driver.Tracking
	point, hook, services string
	lo                    uint16
	dst                   int
}

// NewLapses collects lapses between parts.
func NewLapses(parts []packet.Addrs) *Lapses {
	return &Lapses{parts: parts, index: map[lapseKey]*lapses{}}
}

// Add notes a lapse from one part to another.
func (l *Lapses) Add(point, hook string, src, dst int, x Lapse) {
	key := lapseKey{x.Kind, x.Wider, x.Tracking, point, hook, x.text, x.Run.Lo, dst}
	b := l.index[key]
	if b == nil {
		b = &lapses{x, point, hook, packet.NewBits(len(l.parts)), packet.NewBits(len(l.parts))}
		b.dst.Set(dst)
		l.index[key] = b
		l.list = append(l.list, b)
	}
	b.src.Set(src)
}

// Residue tells what was added, by point and kind. texts say what each kind is where less
// passes, and where more does.
func (l *Lapses) Residue(texts map[string][2]string) []driver.Residue {
	same := func(b *lapses) string {
		return fmt.Sprintf("%s|%v|%s|%q|%s|%s|%s", b.Kind, b.Wider, b.Tracking, b.point, b.hook, b.src.Key(), b.text)
	}
	list := joined(l.list, func(b *lapses) string { return fmt.Sprintf("%s|%d", same(b), b.Run.Lo) },
		func(a, b *lapses) bool { b.dst.Each(a.dst.Set); return true })
	list = joined(list, func(b *lapses) string { return same(b) + "|" + b.dst.Key() },
		func(a, b *lapses) bool {
			if int(a.Run.Hi)+1 != int(b.Run.Lo) {
				return false
			}
			a.Run.Hi = b.Run.Hi
			return true
		})
	var out []driver.Residue
	sets := map[string]packet.Addrs{}
	addrs := func(in packet.Bits) packet.Addrs {
		k := in.Key()
		a, ok := sets[k]
		if !ok {
			var b packet.Builder
			in.Each(func(p int) { b.AddSet(l.parts[p]) })
			a = b.Addrs()
			sets[k] = a
		}
		return a
	}
	for _, b := range list {
		i := slices.IndexFunc(out, func(r driver.Residue) bool { return r.Point == b.point && r.Kind == b.Kind && r.Wider == b.Wider })
		if i < 0 {
			text := texts[b.Kind][0]
			if b.Wider {
				text = texts[b.Kind][1]
			}
			i = len(out)
			out = append(out, driver.Residue{Point: b.point, Kind: b.Kind, Wider: b.Wider, Text: text})
		}
		out[i].Flows = append(out[i].Flows, driver.Flows{Hook: b.hook, Tracking: b.Tracking, Src: addrs(b.src), Dst: addrs(b.dst), Services: b.Services, SrcPortLo: b.Run.Lo, SrcPortHi: b.Run.Hi})
	}
	slices.SortStableFunc(out, func(a, b driver.Residue) int {
		return cmp.Or(cmp.Compare(a.Point, b.Point), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// joined joins boxes of one key into the last of that key, if they let themselves.
func joined(list []*lapses, key func(*lapses) string, into func(a, b *lapses) bool) []*lapses {
	last := map[string]*lapses{}
	var out []*lapses
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
