package decode

import (
	"fmt"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// passing tells which marks let something through that is dropped without. What
// is dropped without a reversed mark is what is dropped with one that names no
// verdict.
func (d *decoder) passing(m *machine, reps []uint32) []bool {
	found := make([]bool, len(reps))
	var plain, turned []int
	far := -1 // the reversed mark that nothing names: the first, if there is any
	for i, rep := range reps {
		if d.opt.reversed(rep) {
			turned = append(turned, i)
			if far < 0 {
				far = i
			}
		} else {
			plain = append(plain, i)
		}
	}
	for _, hook := range hookNames() {
		if _, ok := m.prog.starts[hook]; !ok {
			continue
		}
		for _, reply := range []bool{false, true} {
			d.passingOf(m, hook, reply, 0, reps, plain, found)
			if far < 0 {
				continue
			}
			if !d.knowsReversed(m, hook, reply, reps[far]) {
				d.passingOf(m, hook, reply, 0, reps, turned, found)
				continue
			}
			d.passingOf(m, hook, reply, reps[far], reps, turned, found)
			d.checkTurned(m, hook, reply, reps[far])
		}
	}
	return found
}

// knowsReversed reports whether the ruleset treats a reversed mark that names no
// verdict otherwise than none.
func (d *decoder) knowsReversed(m *machine, hook string, reply bool, mark uint32) bool {
	v := newView(m)
	v.addRoot(m.established(hook, reply, 0))
	v.addRoot(m.established(hook, reply, mark))
	if v.alike(0, 1) {
		return false
	}
	differ := false
	v.walk(nil, func(fam, i, j int, vals []int32) bool {
		n := len(v.ifs) * v.nPorts
		d.inspect(v, fam, i, j, vals[1], hook, trackingOf(reply))
		differ = differ || m.wider(vals[0], vals[1], n) || m.wider(vals[1], vals[0], n)
		return true
	})
	return differ
}

func trackingOf(reply bool) driver.Tracking {
	if reply {
		return driver.TrackReply
	}
	return driver.TrackForward
}

// passingOf compares the marks at some indexes with one mark.
func (d *decoder) passingOf(m *machine, hook string, reply bool, base uint32, reps []uint32, which []int, found []bool) {
	v := newView(m)
	v.addRoot(m.established(hook, reply, base))
	var at []int
	for _, i := range which {
		v.addRoot(m.established(hook, reply, reps[i]))
		n := len(v.roots[0]) - 1
		if v.alike(0, n) {
			v.roots[0], v.roots[1] = v.roots[0][:n], v.roots[1][:n]
			continue
		}
		at = append(at, i)
	}
	if len(at) > 0 {
		d.compareRoots(v, hook, reply, at, found)
	}
}

// checkTurned holds flows that were picked up from their far end, and that no
// verdict was found for yet, against flows that were not: both must be judged
// alike.
func (d *decoder) checkTurned(m *machine, hook string, reply bool, mark uint32) {
	t, ct := driver.TrackForward, ctForward
	if reply {
		t, ct = driver.TrackReply, ctReply
	}
	var plain [2][]state
	for fam := range plain {
		plain[fam] = []state{m.start(hook, domOf(fam), reply, protoServices(6), ct, 0)}
	}
	v := newView(m)
	v.addRoot(plain)
	v.addRoot(m.turned(hook, reply, mark))
	v.walk(nil, func(fam, i, j int, vals []int32) bool {
		d.inspect(v, fam, i, j, vals[1], hook, t)
		n := len(v.ifs) * v.nPorts
		if !m.wider(vals[0], vals[1], n) && !m.wider(vals[1], vals[0], n) {
			return true
		}
		d.blame(driver.Finding{Object: m.table}, "flows that were picked up from their far end are not judged as the flows that they are",
			fmt.Sprintf("%s, %s, %s to %s", hook, t, v.classes[fam][axisSrc].addrs[i].First(), v.classes[fam][axisDst].addrs[j].First()))
		return false
	})
}

// compareRoots holds each further root of a view against the first.
func (d *decoder) compareRoots(v *view, hook string, reply bool, at []int, found []bool) {
	t := trackingOf(reply)
	wider := map[[2]int32]bool{}
	v.walk(nil, func(fam, i, j int, vals []int32) bool {
		for n, x := range vals[1:] {
			d.inspect(v, fam, i, j, x, hook, t)
			key := [2]int32{vals[0], x}
			w, ok := wider[key]
			if !ok {
				w = v.m.wider(key[0], key[1], len(v.ifs)*v.nPorts)
				wider[key] = w
			}
			found[at[n]] = found[at[n]] || w
		}
		return true
	})
}

// wider reports whether b accepts something that a does not.
func (m *machine) wider(a, b int32, n int) bool {
	for i := range n {
		x, y := m.results.list[m.results.pick(a, i)], m.results.list[m.results.pick(b, i)]
		if x.open != 0 || y.open != 0 {
			if m.widerOpen(x, y) {
				return true
			}
			continue
		}
		if len(packet.Services(m.svc.sets[y.accept]).Subtract(m.svc.sets[x.accept])) > 0 {
			return true
		}
	}
	return false
}
