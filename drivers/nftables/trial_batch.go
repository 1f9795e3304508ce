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

// A trial ends in two transactions. A packet that is being judged when the first is
// made goes on by the rules that it began with, but by the sets as they are from then
// on: were what those rules look up taken away with them, it would find nothing there
// and be dropped, although both states permit it. So the first leaves all that stood on
// trial in place and sees to it that no other packet comes to it, and the second takes
// it away when no packet is under way (kernel.AwaitPackets).

// confirmation makes the new state permanent. Its first operation takes the elements
// of the switch away one by one, which the kernel refuses where they have expired:
// then nothing of the rest is done. They are put back for good, for the packets that
// are about to ask. Windows and timed elements go on with the time that they had left
// when the new state was read. rest is for later; nil where nothing is left.
//
// A table that has to be made anew is an exception: it is exchanged at once.
func (x *trial) confirmation() (fold, rest *kernel.Batch) {
	const fam = ruleset.FamilyInet
	fold = &kernel.Batch{}
	on, stays := render.TrialSet(x.left), render.TrialSet(0)
	fold.DelElements(fam, x.raw.Name, on.Name, on.Elements)
	d := compare(x.old, x.new)
	if x.old != nil && x.new != nil && d.rebuild {
		fold.DelTable(fam, x.raw.Name)
		x.writeNew(fold)
		return fold, nil
	}
	fold.AddElements(fam, x.raw.Name, stays.Name, stays.Elements)
	x.stop(fold)
	switch {
	case x.new == nil:
		for i := range x.old.Chains {
			if c := &x.old.Chains[i]; c.Hook != nil {
				fold.FlushChain(fam, x.raw.Name, c.Name)
				fold.DelChain(fam, x.raw.Name, c.Name)
			}
		}
	case x.old == nil:
		x.writeNew(fold)
	default:
		d.hold = hold{} // the flows were gone through when the trial began
		d.write(fold)
	}
	return fold, x.leftovers(x.new)
}

func (x *trial) writeNew(b *kernel.Batch) {
	(&delta{want: x.new}).writeTable(b)
	if anyHeld(x.new) {
		hold{all: true}.put(b, x.new.Name, &ruleset.Table{})
	}
}

// removal takes the trial away and leaves the old state. stop is empty if nothing asks
// for the trial.
func (x *trial) removal() (stop, rest *kernel.Batch) {
	stop = &kernel.Batch{}
	x.stop(stop)
	return stop, x.leftovers(x.old)
}

// stop lets no base chain ask for the trial.
func (x *trial) stop(b *kernel.Batch) {
	const fam = ruleset.FamilyInet
	for _, r := range x.asked {
		b.DelRule(fam, x.raw.Name, r.chain, r.handle)
	}
	for i := range x.raw.Chains {
		if c := &x.raw.Chains[i]; ofTrial(c.Name) && c.Hook != nil {
			b.FlushChain(fam, x.raw.Name, c.Name)
			b.DelChain(fam, x.raw.Name, c.Name)
		}
	}
}

// leftovers takes off all that still stands beside a state's own chains and sets; the
// table, where that is none. Elements go with their sets: asked for by themselves, they
// may have expired.
func (x *trial) leftovers(of *ruleset.Table) *kernel.Batch {
	const fam = ruleset.FamilyInet
	b := &kernel.Batch{}
	name := x.raw.Name
	if of == nil || !hooked(of) {
		b.DelTable(fam, name)
		return b
	}
	var chains []string
	for i := range x.raw.Chains {
		if c := &x.raw.Chains[i]; ofTrial(c.Name) && c.Hook == nil {
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
	return b
}
