package nftables

import (
	"slices"
	"strings"
	"time"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
)

// A change on trial stands beside the table's own chains and sets, under names of
// its own, and changes none of them: what they look up is what they looked up
// before, so that the kernel is back at the old state the moment that the switch
// expires. What the new state has in common with the old one is shared.
//
// At the head of every base chain of the old state a rule asks the switch, and hands
// packets to the new state's chain in its place. Base chains that only the new state
// has, or has elsewhere, are hooked under names of their own and hold that question
// alone.
//
// Flows that the new state permits bear marks that the old one may know, too. So the
// old chains are told, where only they look, to hold all flows: after a fall back
// they judge every packet by its tuple and not by its mark until a controller has
// gone through the flows.

// staged is a change as it is put beside a table.
type staged struct {
	have, want *ruleset.Table // either may be nil
	sets       []ruleset.Set
	chains     []ruleset.Chain // no base chains
	bases      []ruleset.Chain // each with one rule
	asked      []askedChain
}

// askedChain is a base chain of the old state and what asks the switch there.
type askedChain struct {
	chain string
	rule  ruleset.Rule
}

// stage works out what a change on trial puts beside the table.
func stage(have, want *ruleset.Table) *staged {
	s := &staged{have: have, want: want}
	var old, now ruleset.Table
	if have != nil {
		old = *have
	}
	if want != nil {
		now = *want
	}
	own := ownNames(&old, &now)
	name := func(kind map[string]bool) func(string) string {
		return func(n string) string {
			if kind[n] {
				return render.TrialPrefix + n
			}
			return n
		}
	}
	setName, chainName := name(own.sets), name(own.chains)
	for i := range now.Sets {
		if x := now.Sets[i]; own.sets[x.Name] {
			x.Name = setName(x.Name)
			x.Elements = renamedVerdicts(x.Elements, chainName)
			s.sets = append(s.sets, x)
		}
	}
	for i := range now.Chains {
		c := now.Chains[i]
		if !own.chains[c.Name] {
			continue
		}
		body := ruleset.Chain{Name: chainName(c.Name), Rules: renamed(c.Rules, setName, chainName)}
		if c.Hook != nil {
			body.Rules = append(body.Rules, render.PolicyRule(c.Policy))
			if h := old.Chain(c.Name); h == nil || !sameAnchor(h, &c) {
				base := ruleset.Chain{Name: render.TrialBase + c.Name, Type: c.Type, Hook: c.Hook, Policy: accepts,
					Rules: []ruleset.Rule{render.TrialRule(body.Name)}}
				s.bases = append(s.bases, base)
			}
		}
		s.chains = append(s.chains, body)
	}
	for i := range old.Chains {
		h := &old.Chains[i]
		if h.Hook == nil {
			continue
		}
		to := ""
		if c := now.Chain(h.Name); c != nil && sameAnchor(h, c) {
			to = chainName(c.Name)
		}
		s.asked = append(s.asked, askedChain{h.Name, render.TrialRule(to)})
	}
	return s
}

const accepts = 1 // NF_ACCEPT

// sameAnchor reports whether packets come by two base chains at the same place.
func sameAnchor(a, b *ruleset.Chain) bool {
	return a.Hook != nil && b.Hook != nil && a.Type == b.Type && a.Hook.Num == b.Hook.Num && a.Hook.Priority == b.Hook.Priority &&
		slices.Equal(a.Hook.Devices, b.Hook.Devices)
}

// owned says which chains and sets of the new state cannot be shared with the old.
type owned struct{ sets, chains map[string]bool }

func ownNames(old, now *ruleset.Table) owned {
	own := owned{map[string]bool{}, map[string]bool{}}
	used := map[string]bool{}
	for i := range now.Chains {
		sets, _ := namesIn(now.Chains[i].Rules)
		for _, s := range sets {
			used[s] = true
		}
	}
	for i := range now.Sets {
		w := &now.Sets[i]
		h := old.Set(w.Name)
		switch {
		case isHold(w.Name), !used[w.Name], h == nil, !sameShape(h, w):
			own.sets[w.Name] = true
		case w.Dynamic(), isWindow(w.Name): // what they hold is no part of the configuration
		default:
			d := diffElements(h, w)
			own.sets[w.Name] = len(d.del)+len(d.add) > 0
		}
	}
	for i := range now.Chains {
		w := &now.Chains[i]
		h := old.Chain(w.Name)
		own.chains[w.Name] = w.Hook != nil || h == nil || h.Hook != nil || !sameRules(h, w)
	}
	// Whatever refers to something of its own is its own.
	for again := true; again; {
		again = false
		for i := range now.Chains {
			c := &now.Chains[i]
			if own.chains[c.Name] {
				continue
			}
			sets, chains := namesIn(c.Rules)
			if slices.ContainsFunc(sets, func(n string) bool { return own.sets[n] }) || slices.ContainsFunc(chains, func(n string) bool { return own.chains[n] }) {
				own.chains[c.Name], again = true, true
			}
		}
		for i := range now.Sets {
			s := &now.Sets[i]
			if !own.sets[s.Name] && slices.ContainsFunc(s.Elements, func(e ruleset.Element) bool { return e.Verdict != nil && own.chains[e.Verdict.Chain] }) {
				own.sets[s.Name], again = true, true
			}
		}
	}
	return own
}

func renamedVerdicts(elems []ruleset.Element, chain func(string) string) []ruleset.Element {
	if !slices.ContainsFunc(elems, func(e ruleset.Element) bool { return e.Verdict != nil && e.Verdict.Chain != "" }) {
		return elems
	}
	out := slices.Clone(elems)
	for i := range out {
		if v := out[i].Verdict; v != nil && v.Chain != "" {
			out[i].Verdict = &ruleset.Verdict{Code: v.Code, Chain: chain(v.Chain)}
		}
	}
	return out
}

// batch writes the trial as one transaction.
func (s *staged) batch(timeout time.Duration) *kernel.Batch {
	b := &kernel.Batch{}
	const fam = ruleset.FamilyInet
	t := s.want
	if s.have == nil || !hooked(s.have) {
		b.AddTable(fam, t.Name, t.Flags, nil)
		if s.have != nil { // the rest of an interrupted load
			b.DelTable(fam, t.Name)
			b.AddTable(fam, t.Name, t.Flags, nil)
		}
	} else {
		t = s.have
	}
	b.Reserve(s.sets)
	on := render.TrialSet(timeout)
	b.AddSet(fam, t.Name, &on)
	for i := range s.sets {
		b.AddSet(fam, t.Name, &s.sets[i])
	}
	for i := range s.chains {
		b.AddChain(fam, t.Name, &s.chains[i])
	}
	addRules(b, t.Name, s.chains)
	for i := range s.sets {
		if name := strings.TrimPrefix(s.sets[i].Name, render.TrialPrefix); !isHold(name) {
			b.AddElements(fam, t.Name, s.sets[i].Name, s.sets[i].Elements)
		}
	}
	if s.have != nil && hooked(s.have) {
		hold{all: true}.put(b, t.Name, s.have) // for the old chains, if they come back
		if s.want != nil {
			b.AddElements(fam, t.Name, render.TrialPrefix+setHoldAll, families()) // until the live flows are gone through
			b.AddElements(fam, t.Name, render.TrialPrefix+setHold, families())
		}
	}
	b.AddElements(fam, t.Name, on.Name, on.Elements)
	for i := range s.bases {
		b.AddChain(fam, t.Name, &s.bases[i])
		addRules(b, t.Name, s.bases[i:i+1])
	}
	for i := range s.asked {
		b.InsertRule(fam, t.Name, s.asked[i].chain, &s.asked[i].rule)
	}
	return b
}
