package plan

import (
	"sort"

	"bulkhead/pkg/packet"
)

// rect is every source to every destination.
type rect struct{ src, dst packet.Addrs }

// disjoint cuts rectangles so that no flow is in two of them. Two hooks of one
// device see the same flow, and it is said once.
func disjoint(in []rect) []rect {
	var out []rect
	for _, r := range in {
		rest := []rect{r}
		for _, o := range out {
			if !o.src.Overlaps(r.src) || !o.dst.Overlaps(r.dst) {
				continue
			}
			var left []rect
			for _, x := range rest {
				left = append(left, x.subtract(o)...)
			}
			rest = left
		}
		out = append(out, rest...)
	}
	return out
}

// subtract gives what r has and o has not: all destinations of the sources that o
// lacks, and for the others the destinations that it lacks.
func (r rect) subtract(o rect) []rect {
	shared := r.src.Intersect(o.src)
	if shared.IsEmpty() || !r.dst.Overlaps(o.dst) {
		return []rect{r}
	}
	var out []rect
	if only := r.src.Subtract(o.src); !only.IsEmpty() {
		out = append(out, rect{only, r.dst})
	}
	if only := r.dst.Subtract(o.dst); !only.IsEmpty() {
		out = append(out, rect{shared, only})
	}
	return out
}

// witnessOf picks one flow out of rectangles, one that people know how to read:
// a port of TCP before a bare protocol number, an address that a machine can
// have before 0.0.0.0.
func witnessOf(rects []rect, svc packet.Services) Witness {
	point := svc.Example()
	var second Witness
	for _, r := range rects {
		for _, s := range r.src.Examples() {
			for _, d := range r.dst.Examples() {
				if s == d {
					continue
				}
				w := Witness{s.String(), d.String(), packet.Services{{Lo: point, Hi: point}}.String()}
				if !s.IsUnspecified() && !d.IsUnspecified() {
					return w
				}
				if second.Src == "" {
					second = w
				}
			}
		}
	}
	return second
}

// mergeRects joins rectangles with an equal side. The result covers the same
// flows.
func mergeRects(in []rect) []rect {
	join := func(in []rect, key, value func(rect) packet.Addrs, make2 func(k, v packet.Addrs) rect) []rect {
		index := map[string]int{}
		var out []rect
		runs := [][]packet.Range{}
		for _, r := range in {
			k := key(r).Key()
			n, ok := index[k]
			if !ok {
				n = len(out)
				index[k] = n
				out = append(out, r)
				runs = append(runs, nil)
			}
			runs[n] = append(runs[n], value(r).Runs()...)
		}
		for i := range out {
			out[i] = make2(key(out[i]), packet.AddrRanges(runs[i]))
		}
		return out
	}
	src := func(r rect) packet.Addrs { return r.src }
	dst := func(r rect) packet.Addrs { return r.dst }
	out := join(in, src, dst, func(k, v packet.Addrs) rect { return rect{k, v} })
	out = join(out, dst, src, func(k, v packet.Addrs) rect { return rect{v, k} })
	sort.Slice(out, func(i, j int) bool {
		if c := out[i].src.First().Compare(out[j].src.First()); c != 0 {
			return c < 0
		}
		if c := out[i].dst.First().Compare(out[j].dst.First()); c != 0 {
			return c < 0
		}
		return out[i].src.Key()+out[i].dst.Key() < out[j].src.Key()+out[j].dst.Key()
	})
	return out
}
