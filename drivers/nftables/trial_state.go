package nftables

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
)

// trial is what a table holds while a change of it is on trial, or when nobody has
// tidied up after one: the table as the kernel has it, and what it means by either
// position of the switch.
type trial struct {
	raw      *ruleset.Table
	old, new *ruleset.Table // nil: no table of ours
	left     time.Duration  // until the switch expires; 0: it has
	asked    []askedRule
	// idle: no base chain asks for the trial any more, which was confirmed or undone, and
	// what stood on trial has only not been taken away yet. The old state is in force.
	idle bool
}

// askedRule is a rule that asks the switch in a base chain of the old state.
type askedRule struct {
	chain  string
	handle uint64
}

// errHalf says that the switch holds one family of two: they expire together, but
// not in one instant.
var errHalf = errors.New("the switch of a trial is about to expire")

// onTrial reports whether a table holds anything of a trial.
func onTrial(t *ruleset.Table) bool {
	return slices.ContainsFunc(t.Sets, func(s ruleset.Set) bool { return ofTrial(s.Name) }) ||
		slices.ContainsFunc(t.Chains, func(c ruleset.Chain) bool { return ofTrial(c.Name) })
}

func ofTrial(name string) bool {
	return name == render.TrialSwitch || strings.HasPrefix(name, render.TrialPrefix)
}

// readTrial takes a table with a trial apart. It believes nothing that it has not
// found as stage makes it: what it returns is decoded in place of the table, and is
// proved.
func readTrial(t *ruleset.Table) (*trial, error) {
	x := &trial{raw: t}
	old := &ruleset.Table{Family: t.Family, Name: t.Name, Flags: t.Flags, Handle: t.Handle, Owner: t.Owner, UserData: t.UserData, Objects: t.Objects, Flows: t.Flows}
	bases := map[string]*ruleset.Chain{} // of the new state: name -> where it is hooked
	silent := ""                         // a base chain of the old state that does not ask
	for i := range t.Chains {
		c := &t.Chains[i]
		switch {
		case c.Hook == nil && ofTrial(c.Name): // bodies: below
		case c.Hook == nil:
			old.Chains = append(old.Chains, *c)
		default:
			asks, err := x.readBase(c, old, bases)
			if err != nil {
				return nil, err
			}
			if !asks && !render.OfQuarantine(c.Name) { // that was put there in a hurry, and holds for both
				silent = c.Name
			}
		}
	}
	for i := range t.Sets {
		if !ofTrial(t.Sets[i].Name) {
			old.Sets = append(old.Sets, t.Sets[i])
		}
	}
	if len(old.Chains)+len(old.Sets) > 0 {
		x.old = old
	}
	if x.idle = len(x.asked)+len(bases) == 0; x.idle {
		return x, nil // whatever the switch holds
	}
	err := x.readSwitch()
	if err != nil {
		return nil, err
	}
	if x.left > 0 && silent != "" {
		return nil, fmt.Errorf("base chain %q does not ask for the trial", silent)
	}
	if x.new, err = x.readNew(bases); err != nil {
		return nil, err
	}
	return x, nil
}

func (x *trial) readSwitch() error {
	s := x.raw.Set(render.TrialSwitch)
	if s == nil || len(s.Elements) == 0 {
		return nil
	}
	want := render.TrialSet(time.Second)
	if !sameShape(s, &want) {
		return fmt.Errorf("set %q is not what it has to be", s.Name)
	}
	left := time.Duration(0)
	for i := range s.Elements {
		e := &s.Elements[i]
		if e.Timeout <= 0 || e.Expiration <= 0 || e.Opaque {
			return fmt.Errorf("an element of set %q does not expire", s.Name)
		}
		if left == 0 || e.Expiration < left {
			left = e.Expiration
		}
	}
	if len(s.Elements) != len(want.Elements) {
		return errHalf
	}
	for _, w := range want.Elements {
		if !slices.ContainsFunc(s.Elements, func(e ruleset.Element) bool { return string(e.Key) == string(w.Key) }) {
			return fmt.Errorf("set %q holds other keys than packet families", s.Name)
		}
	}
	x.left = left
	return nil
}

// readBase sorts a base chain to the old state, the new one, or both, and reports
// whether it asks for the trial.
func (x *trial) readBase(c *ruleset.Chain, old *ruleset.Table, bases map[string]*ruleset.Chain) (asks bool, err error) {
	if name, ok := strings.CutPrefix(c.Name, render.TrialBase); ok {
		if len(c.Rules) != 1 || c.Policy != accepts || !asksFor(&c.Rules[0], name) || bases[name] != nil {
			return false, fmt.Errorf("base chain %q is not what a trial makes", c.Name)
		}
		bases[name] = c
		return true, nil
	}
	if ofTrial(c.Name) {
		return false, fmt.Errorf("chain %q of a trial is hooked", c.Name)
	}
	out := *c
	if asks = len(c.Rules) > 0 && (asksFor(&c.Rules[0], c.Name) || asksFor(&c.Rules[0], "")); asks {
		x.asked = append(x.asked, askedRule{c.Name, c.Rules[0].Handle})
		out.Rules = c.Rules[1:]
		if asksFor(&c.Rules[0], c.Name) {
			if bases[c.Name] != nil {
				return false, fmt.Errorf("base chain %q is on trial in two places", c.Name)
			}
			bases[c.Name] = c
		}
	}
	old.Chains = append(old.Chains, out)
	return asks, nil
}

// asksFor reports whether a rule hands packets to the body of a base chain while
// the trial lasts; to none for "".
func asksFor(r *ruleset.Rule, base string) bool {
	if base != "" {
		base = render.TrialPrefix + base
	}
	want := render.TrialRule(base)
	return sameRule(r, &want)
}

// readNew puts the new state together: what is on trial under its own names, and
// what that refers to besides.
func (x *trial) readNew(bases map[string]*ruleset.Chain) (*ruleset.Table, error) {
	t := x.raw
	out := &ruleset.Table{Family: t.Family, Name: t.Name, Flags: t.Flags &^ kernelOnlyFlags}
	plain := func(n string) string { return strings.TrimPrefix(n, render.TrialPrefix) }
	own := map[string]bool{} // names of chains and sets of the new state's own: "c:..", "s:.."
	var sets, chains []string
	refer := func(rules []ruleset.Rule) {
		s, c := namesIn(rules)
		sets, chains = append(sets, s...), append(chains, c...)
	}
	for i := range t.Chains {
		c := &t.Chains[i]
		if c.Hook != nil || !ofTrial(c.Name) {
			continue
		}
		name := plain(c.Name)
		own["c:"+name] = true
		body := ruleset.Chain{Name: name, Rules: c.Rules}
		if at := bases[name]; at != nil {
			n := len(c.Rules)
			drop, pass := render.PolicyRule(0), render.PolicyRule(accepts)
			switch {
			case n > 0 && sameRule(&c.Rules[n-1], &drop):
			case n > 0 && sameRule(&c.Rules[n-1], &pass):
				body.Policy = accepts
			default:
				return nil, fmt.Errorf("chain %q does not end with the policy of a base chain", c.Name)
			}
			body.Type, body.Hook, body.Rules = at.Type, at.Hook, c.Rules[:n-1]
			delete(bases, name)
		}
		refer(body.Rules)
		body.Rules = renamed(body.Rules, plain, plain)
		out.Chains = append(out.Chains, body)
	}
	for name := range bases {
		return nil, fmt.Errorf("base chain %q is on trial and has no rules", name)
	}
	for i := range t.Sets {
		s := t.Sets[i]
		if !ofTrial(s.Name) || s.Name == render.TrialSwitch {
			continue
		}
		s.Name = plain(s.Name)
		own["s:"+s.Name] = true
		s.Elements = renamedVerdicts(s.Elements, plain)
		out.Sets = append(out.Sets, s)
	}
	for i := range t.Chains {
		if c := &t.Chains[i]; c.Hook != nil && render.OfQuarantine(c.Name) && !slices.ContainsFunc(x.asked, func(a askedRule) bool { return a.chain == c.Name }) {
			out.Chains = append(out.Chains, *c)
			refer(c.Rules)
		}
	}
	// What is shared is the old state's, and so is all that it refers to.
	for done := map[string]bool{}; len(sets)+len(chains) > 0; {
		todoSets, todoChains := sets, chains
		sets, chains = nil, nil
		for _, n := range todoSets {
			if ofTrial(n) || done["s:"+n] {
				continue
			}
			done["s:"+n] = true
			s := t.Set(n)
			if s == nil || own["s:"+n] {
				return nil, fmt.Errorf("what is on trial looks up set %q of the old state", n)
			}
			out.Sets = append(out.Sets, *s)
			for i := range s.Elements {
				if v := s.Elements[i].Verdict; v != nil && v.Chain != "" {
					chains = append(chains, v.Chain)
				}
			}
		}
		for _, n := range todoChains {
			if ofTrial(n) || n == "" || done["c:"+n] {
				continue
			}
			done["c:"+n] = true
			c := t.Chain(n)
			if c == nil || own["c:"+n] || c.Hook != nil {
				return nil, fmt.Errorf("what is on trial leads to chain %q of the old state", n)
			}
			out.Chains = append(out.Chains, *c)
			refer(c.Rules)
		}
	}
	if len(out.Chains)+len(out.Sets) == 0 {
		return nil, nil
	}
	// The order is the one that it will have when it is confirmed: what was worked out of
	// it before (decode.Cache) is found again then, and is now.
	chains, sets = nil, nil
	for i := range t.Chains {
		chains = append(chains, t.Chains[i].Name)
	}
	for i := range t.Sets {
		sets = append(sets, t.Sets[i].Name)
	}
	chainAt, setAt := places(chains), places(sets)
	slices.SortStableFunc(out.Chains, func(a, b ruleset.Chain) int { return chainAt[a.Name] - chainAt[b.Name] })
	slices.SortStableFunc(out.Sets, func(a, b ruleset.Set) int { return setAt[a.Name] - setAt[b.Name] })
	return out, nil
}

// places tells where what has a name comes: where the old state has that, else behind
// all of it, in order.
func places(names []string) map[string]int {
	at := map[string]int{}
	for i, n := range names {
		if !ofTrial(n) {
			at[n] = i
		}
	}
	for i, n := range names {
		if n, own := strings.CutPrefix(n, render.TrialPrefix); own {
			if _, old := at[n]; !old {
				at[n] = len(names) + i
			}
		}
	}
	return at
}
