package compile

import (
	"fmt"
	"slices"

	"bulkhead/pkg/policy"
)

// touchedUnit is a unit of a policy that is new or gone. Its policy's number is that
// among the policies to be, or -1 of one that is gone.
type touchedUnit struct {
	space int
	Unit
}

// placeUnits takes the units of policies that are gone out of their tables, and finds
// a table for each unit of those that are new. It lists both.
func (a *Amendment) placeUnits(number, added, removed []int) ([]touchedUnit, error) {
	var out []touchedUnit
	for k := range a.layout.Spaces {
		sp := &a.layout.Spaces[k]
		units := make([]Unit, 0, len(sp.Units))
		for _, u := range sp.Units {
			if n := number[u.Policy]; n >= 0 {
				units = append(units, Unit{n, u.From, u.To})
			} else {
				out = append(out, touchedUnit{k, Unit{-1, u.From, u.To}})
			}
		}
		sp.Units, sp.Entries = units, nil // entries are of places, which come and go
	}
	order := a.orders()
	for _, p := range added {
		units, err := a.unitsOf(p)
		if err != nil {
			return nil, err
		}
		for _, u := range units {
			k, err := a.spaceFor(u, order)
			if err != nil {
				return nil, err
			}
			sp := &a.layout.Spaces[k]
			at, _ := slices.BinarySearchFunc(sp.Units, p+1, func(x Unit, p int) int { return x.Policy - p })
			sp.Units = slices.Insert(sp.Units, at, u)
			order.add(u, k)
			out = append(out, touchedUnit{k, u})
		}
	}
	return out, nil
}

// unitsOf lists the units of a policy that is new.
func (a *Amendment) unitsOf(n int) ([]Unit, error) {
	m, f := a.Matrix, a.layout.facts
	p := &m.Policies[n]
	if special(p) {
		return nil, &Recompile{fmt.Sprintf("policy %q passes, observes or expires", p.Name)}
	}
	if p.Direction != policy.Both && !a.layout.Sided {
		return nil, &Recompile{fmt.Sprintf("policy %q is the first that judges one side only", p.Name)}
	}
	for _, label := range slices.Concat(p.Same, p.Differ) {
		if _, ok := m.b.labels.place[label]; !ok {
			return nil, &Recompile{fmt.Sprintf("policy %q is the first that compares label %q", p.Name, label)}
		}
	}
	var out []Unit
	for _, from := range p.From {
		for _, to := range p.To {
			x, okX := m.b.groups[from]
			y, okY := m.b.groups[to]
			if !okX || !okY {
				continue
			}
			for _, g := range []int{x, y} {
				if !f.used[g] {
					return nil, &Recompile{fmt.Sprintf("policy %q is the first that names group %q", p.Name, m.Groups[g].Name)}
				}
			}
			if a.t.births.meet[x] == nil || a.t.births.meet[y] == nil {
				continue // a group without addresses; see births.meeting
			}
			if u := (Unit{n, x, y}); !slices.Contains(out, u) {
				out = append(out, u)
			}
		}
	}
	return out, nil
}

// spaceFor chooses a table for a unit: one that looks up what tells its groups apart,
// whose place among the tables suits the unit's place among the policies, and that
// needs the fewest entries for it.
func (a *Amendment) spaceFor(u Unit, order *orders) (int, error) {
	p := &a.Matrix.Policies[u.Policy]
	rows, cols := a.dimsOf(u.From, p), a.dimsOf(u.To, p)
	lo, hi := order.bounds(u)
	best, least := -1, 0
	for k := range a.layout.Spaces {
		sp := &a.layout.Spaces[k]
		if sp.Whole || k < lo || k > hi || !holdsAll(sp.RowDims, rows) || !holdsAll(sp.ColDims, cols) {
			continue
		}
		n := len(a.rowKeys(k, u.From)) * len(a.colKeys(k, u.To))
		if best < 0 || n < least {
			best, least = k, n
		}
	}
	if best < 0 {
		return 0, &Recompile{fmt.Sprintf("no table takes policy %q from %q to %q in the order of policies", p.Name, a.Matrix.Groups[u.From].Name, a.Matrix.Groups[u.To].Name)}
	}
	return best, nil
}

func holdsAll(list, all []int) bool {
	return !slices.ContainsFunc(all, func(d int) bool { return !slices.Contains(list, d) })
}

// dimsOf gives the dimensions that tell the addresses of a group apart, and what the
// policy compares of them.
func (a *Amendment) dimsOf(group int, p *policy.Policy) []int {
	f, labels := a.layout.facts, a.Matrix.b.labels
	var out []int
	if d := f.dimOf[group]; d >= 0 {
		out = append(out, d)
	}
	for _, name := range slices.Concat(p.Same, p.Differ) {
		for v, of := range labels.of {
			if d := f.dimOf[len(a.Matrix.Groups)+v]; of == labels.place[name] && d >= 0 {
				out = append(out, d)
			}
		}
	}
	return out
}

// orders tells which tables come before and after one in which a unit may be.
type orders struct {
	a     *Amendment
	units []unitAt
}

func (a *Amendment) orders() *orders {
	o := &orders{a: a}
	for k := range a.layout.Spaces {
		for _, u := range a.layout.Spaces[k].Units {
			o.add(u, k)
		}
	}
	return o
}

func (o *orders) add(u Unit, space int) {
	p := &o.a.Matrix.Policies[u.Policy]
	o.units = append(o.units, unitAt{u, space, effect{p.Action, p.Log}})
}

// bounds gives the first and the last table that may hold a unit: it must be asked
// after units whose policies stand before its own, and before those that stand after
// it, where both could match one flow and do not do the same on a side that both judge.
func (o *orders) bounds(u Unit) (lo, hi int) {
	m, meet := o.a.Matrix, o.a.t.births.meet
	p := &m.Policies[u.Policy]
	what := effect{p.Action, p.Log}
	hi = len(o.a.layout.Spaces) - 1
	for i := range o.units {
		v := &o.units[i]
		if v.effect == what || v.Policy == u.Policy || !meet[u.From].Has(v.From) || !meet[u.To].Has(v.To) ||
			!shareSide(p.Direction, m.Policies[v.Policy].Direction) || !meets(m.b.walker.ranges[u.Policy], m.b.walker.ranges[v.Policy]) {
			continue
		}
		if v.Policy < u.Policy {
			lo = max(lo, v.space)
		} else {
			hi = min(hi, v.space)
		}
	}
	return lo, hi
}
