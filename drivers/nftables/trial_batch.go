package nftables

import (
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
)

// table is what the kernel will hold while the change is on trial, as far as the
// confirmation needs to know: it is worked out before the trial begins, so that a
// change that could not be confirmed is not begun.
func (s *staged) table() *ruleset.Table {
	t := &ruleset.Table{Family: ruleset.FamilyInet}
	switch {
	case s.want != nil:
		t.Name = s.want.Name
	case s.have != nil:
		t.Name = s.have.Name
	}
	t.Sets = append(t.Sets, render.TrialSet(0))
	t.Sets = append(t.Sets, s.sets...)
	t.Chains = append(append(t.Chains, s.chains...), s.bases...)
	return t
}

// confirmation makes the new state permanent. Its first operation takes the
// elements of the switch away one by one, which the kernel refuses where they have
// expired: then nothing of the rest is done. Windows and timed elements go on with the
// time that they had left when the new state was read.
func (x *trial) confirmation() *kernel.Batch {
	b := &kernel.Batch{}
	const fam = ruleset.FamilyInet
	on := render.TrialSet(x.left)
	b.DelElements(fam, x.raw.Name, on.Name, on.Elements)
	d := compare(x.old, x.new)
	if x.new == nil || x.old == nil || d.rebuild {
		// The table goes as a whole, with all that was on trial.
		b.DelTable(fam, x.raw.Name)
		if x.new != nil {
			(&delta{want: x.new}).writeTable(b)
			if anyHeld(x.new) {
				hold{all: true}.put(b, x.new.Name, &ruleset.Table{})
			}
		}
	} else {
		x.remove(b)
		d.hold = hold{} // the flows were gone through when the trial began
		d.write(b)
	}
	return b
}

// removal takes the trial away and leaves the old state.
func (x *trial) removal() *kernel.Batch {
	b := &kernel.Batch{}
	if x.old == nil || !hooked(x.old) {
		b.DelTable(ruleset.FamilyInet, x.raw.Name)
		return b
	}
	x.remove(b)
	return b
}

// remove takes off all that stands beside the old state's own chains and sets.
// Elements go with their sets: asked for by themselves, they may have expired.
func (x *trial) remove(b *kernel.Batch) {
	const fam = ruleset.FamilyInet
	name := x.raw.Name
	for _, r := range x.asked {
		b.DelRule(fam, name, r.chain, r.handle)
	}
	var chains []string
	for i := range x.raw.Chains {
		if c := &x.raw.Chains[i]; ofTrial(c.Name) {
			chains = append(chains, c.Name)
			b.FlushChain(fam, name, c.Name)
		}
	}
	// Elements of sets may lead to chains.
	for i := range x.raw.Sets {
		if s := &x.raw.Sets[i]; ofTrial(s.Name) {
			b.DelSet(fam, name, s.Name)
		}
	}
	for _, c := range chains {
		b.DelChain(fam, name, c)
	}
}
