package compile

import (
	"maps"
	"slices"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// labelSpace numbers the values of the labels that policies compare, and holds
// the addresses that carry each.
type labelSpace struct {
	names []string          // the compared labels, sorted
	of    []int             // value number -> index into names
	sets  []packet.Addrs    // value number -> addresses
	mask  []packet.Bits     // label -> the numbers of its values
	place map[string]int    // label -> index into names
	value map[[2]string]int // label, value -> number
}

func newLabelSpace(in *Input, policies []policy.Policy, without map[string]bool) *labelSpace {
	l := &labelSpace{place: map[string]int{}, value: map[[2]string]int{}}
	for _, p := range policies {
		for _, name := range append(append([]string(nil), p.Same...), p.Differ...) {
			if _, ok := l.place[name]; !ok {
				l.place[name] = 0
				l.names = append(l.names, name)
			}
		}
	}
	slices.Sort(l.names)
	for i, name := range l.names {
		l.place[name] = i
		sets := map[string]*packet.Builder{} // value -> who carries it
		for j := range in.Assets {
			a := &in.Assets[j]
			v, ok := a.Labels[name]
			if !ok || without[a.ID] {
				continue
			}
			b := sets[v]
			if b == nil {
				b = &packet.Builder{}
				sets[v] = b
			}
			for _, p := range a.Addresses {
				b.AddPrefix(p)
			}
		}
		for _, v := range slices.Sorted(maps.Keys(sets)) {
			l.value[[2]string{name, v}] = len(l.sets)
			l.of = append(l.of, i)
			l.sets = append(l.sets, sets[v].Addrs())
		}
	}
	l.mask = make([]packet.Bits, len(l.names))
	for i := range l.names {
		l.mask[i] = packet.NewBits(len(l.sets))
		for n, of := range l.of {
			if of == i {
				l.mask[i].Set(n)
			}
		}
	}
	return l
}

// shared reports whether two sets of values share one of the label.
func (l *labelSpace) shared(label int, a, b packet.Bits) bool {
	for w := range l.mask[label] {
		if l.mask[label][w]&a[w]&b[w] != 0 {
			return true
		}
	}
	return false
}

// carries reports whether a set of values has one of the label.
func (l *labelSpace) carries(label int, a packet.Bits) bool {
	for w := range l.mask[label] {
		if l.mask[label][w]&a[w] != 0 {
			return true
		}
	}
	return false
}

// relates reports whether the policy's same and differ hold between two sets of
// values.
func (l *labelSpace) relates(p *policy.Policy, src, dst packet.Bits) bool {
	for _, name := range p.Same {
		if !l.shared(l.place[name], src, dst) {
			return false
		}
	}
	for _, name := range p.Differ {
		i := l.place[name]
		if !l.carries(i, src) || !l.carries(i, dst) || l.shared(i, src, dst) {
			return false
		}
	}
	return true
}
