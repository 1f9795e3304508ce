package nftables

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
)

// delta is the change of our table, as objects.
type delta struct {
	have, want *ruleset.Table
	rebuild    bool // the table is made anew, in the same transaction
	left       bool // an interrupted change left flows on hold
	why        string

	addSets, delSets     []*ruleset.Set
	addChains, delChains []*ruleset.Chain
	rules                []*ruleset.Chain // chains whose rules are written anew
	elements             []elementDelta
	hold                 hold // whose live flows are judged again
}

type elementDelta struct {
	set      *ruleset.Set
	del, add []ruleset.Element
	before   map[string]ruleset.Element
}

// aboutToExpire is how near its end a timed element is left to end by itself:
// deleting one that has just expired would fail the whole batch.
const aboutToExpire = 3 * time.Second

// compare works out the change from one table to another. Either may be nil.
func compare(have, want *ruleset.Table) *delta {
	d := &delta{have: have, want: want, left: have != nil && anyHeld(have)}
	if have == nil || want == nil {
		return d
	}
	if !hooked(have) {
		d.rebuild, d.why = true, "its loading was interrupted"
		return d
	}
	for i := range want.Sets {
		w := &want.Sets[i]
		h := have.Set(w.Name)
		switch {
		case h == nil:
			d.addSets = append(d.addSets, w)
		case !sameShape(h, w):
			d.rebuild, d.why = true, fmt.Sprintf("set %q needs another shape", w.Name)
			return d
		}
	}
	for i := range have.Sets {
		h := &have.Sets[i]
		if h.Flags&ruleset.SetAnonymous == 0 && want.Set(h.Name) == nil {
			d.delSets = append(d.delSets, h)
		}
	}
	for i := range want.Chains {
		w := &want.Chains[i]
		h := have.Chain(w.Name)
		switch {
		case h == nil:
			d.addChains = append(d.addChains, w)
			d.rules = append(d.rules, w)
		case !sameHook(h, w):
			d.rebuild, d.why = true, fmt.Sprintf("chain %q is hooked otherwise", w.Name)
			return d
		case !sameRules(h, w):
			d.rules = append(d.rules, w)
		}
	}
	for i := range have.Chains {
		if want.Chain(have.Chains[i].Name) == nil {
			d.delChains = append(d.delChains, &have.Chains[i])
		}
	}
	if have.Flags&^uint32(kernelOnlyFlags) != want.Flags || len(have.Objects) > 0 || len(have.Flows) > 0 {
		d.rebuild, d.why = true, "the table holds what is not ours"
		return d
	}
	for i := range want.Sets {
		w := &want.Sets[i]
		h := have.Set(w.Name)
		if w.Dynamic() || isHold(w.Name) || h != nil && isWindow(w.Name) {
			continue
		}
		if e := diffElements(h, w); len(e.del)+len(e.add) > 0 {
			d.elements = append(d.elements, e)
		}
	}
	d.hold = d.holds()
	return d
}

// kernelOnlyFlags are table flags that concern how a table is kept, not what it
// does: NFT_TABLE_F_OWNER and NFT_TABLE_F_PERSIST.
const kernelOnlyFlags = 0x2 | 0x4

// sameShape reports whether elements can be changed in place.
func sameShape(h, w *ruleset.Set) bool {
	const meaning = ruleset.SetInterval | ruleset.SetMap | ruleset.SetTimeout | ruleset.SetEval | ruleset.SetConcat | ruleset.SetObject | ruleset.SetConstant
	if h.Flags&meaning != w.Flags&meaning || h.KeyLen != w.KeyLen || h.DataLen != w.DataLen || h.Timeout != w.Timeout || len(h.Exprs) != len(w.Exprs) {
		return false
	}
	if w.Dynamic() {
		return h.Size == w.Size
	}
	return w.Size == 0 || h.Size >= uint32(len(w.Elements))*9/8 || h.Size >= w.Size
}

func elementKey(e *ruleset.Element) string {
	return string(e.Key) + "\x00" + string(e.KeyEnd) + "\x00" + fmt.Sprint(e.Flags)
}

func diffElements(h, w *ruleset.Set) elementDelta {
	if w.Flags&ruleset.SetInterval != 0 && w.Flags&ruleset.SetConcat == 0 {
		return diffRuns(h, w)
	}
	if h != nil && ascending(h.Elements) && ascending(w.Elements) {
		return diffAscending(h, w)
	}
	d := elementDelta{set: w, before: map[string]ruleset.Element{}}
	want := make(map[string]*ruleset.Element, len(w.Elements))
	for i := range w.Elements {
		want[elementKey(&w.Elements[i])] = &w.Elements[i]
	}
	if h != nil {
		for i := range h.Elements {
			e := &h.Elements[i]
			key := elementKey(e)
			n := want[key]
			if n != nil && sameElement(e, n) {
				delete(want, key)
				continue
			}
			d.before[key] = *e
			if n == nil && e.Timeout > 0 && e.Expiration < aboutToExpire {
				continue
			}
			d.del = append(d.del, *e)
		}
	}
	for i := range w.Elements {
		if want[elementKey(&w.Elements[i])] != nil {
			d.add = append(d.add, w.Elements[i])
		}
	}
	return d
}

// sameElement compares what an element means; what it has counted and how much
// time it has left do not matter.
func sameElement(a, b *ruleset.Element) bool {
	return bytes.Equal(a.Data, b.Data) && (a.Timeout > 0) == (b.Timeout > 0) && !a.Opaque && !b.Opaque &&
		a.Comment() == b.Comment()
}

// empty reports whether nothing is to be done.
func (d *delta) empty() bool {
	if (d.have == nil) != (d.want == nil) {
		return false
	}
	return !d.rebuild && !d.left && len(d.addSets)+len(d.delSets)+len(d.addChains)+len(d.delChains)+len(d.rules)+len(d.elements) == 0
}

// same reports whether two tables are the same but for what is left of an
// interrupted change.
func (d *delta) same() bool {
	x := *d
	x.left = false
	return x.empty()
}

// batch writes the change as one transaction. References arrive before what
// refers to them and leave after.
func (d *delta) batch() *kernel.Batch {
	b := &kernel.Batch{}
	if d.have != nil && (d.want == nil || d.rebuild) {
		b.DelTable(ruleset.FamilyInet, d.have.Name)
	}
	switch {
	case d.want == nil:
	case d.have == nil || d.rebuild:
		d.writeTable(b)
		if d.rebuild {
			hold{all: true}.put(b, d.want.Name, d.want)
		}
	default:
		d.write(b)
	}
	return b
}

// writeTable makes the table that is wanted from nothing.
func (d *delta) writeTable(b *kernel.Batch) {
	const fam = ruleset.FamilyInet
	name := d.want.Name
	b.AddTable(fam, name, d.want.Flags, nil)
	b.Reserve(d.want.Sets)
	for i := range d.want.Sets {
		b.AddSet(fam, name, &d.want.Sets[i])
	}
	for i := range d.want.Chains {
		b.AddChain(fam, name, &d.want.Chains[i])
	}
	// Rules come before elements: for each rule that looks a map up the kernel walks
	// along all elements that the map has by then, which took as long as adding them.
	addRules(b, name, d.want.Chains)
	for i := range d.want.Sets {
		if !isHold(d.want.Sets[i].Name) {
			b.AddElements(fam, name, d.want.Sets[i].Name, d.want.Sets[i].Elements)
		}
	}
}

// write changes the table in place.
func (d *delta) write(b *kernel.Batch) {
	const fam = ruleset.FamilyInet
	name := d.want.Name
	for _, s := range d.addSets {
		b.AddSet(fam, name, s)
	}
	for _, c := range d.addChains {
		b.AddChain(fam, name, c)
	}
	d.hold.put(b, name, d.have)
	for _, e := range d.elements {
		b.DelElements(fam, name, e.set.Name, e.del)
		b.AddElements(fam, name, e.set.Name, e.add)
	}
	for _, c := range d.rules {
		b.FlushChain(fam, name, c.Name)
		addRules(b, name, []ruleset.Chain{*c})
	}
	for _, c := range d.delChains {
		b.FlushChain(fam, name, c.Name)
	}
	for _, c := range d.delChains {
		b.DelChain(fam, name, c.Name)
	}
	for _, s := range d.delSets {
		b.DelSet(fam, name, s.Name)
	}
}

func addRules(b *kernel.Batch, table string, chains []ruleset.Chain) {
	for i := range chains {
		for j := range chains[i].Rules {
			b.AddRule(ruleset.FamilyInet, table, chains[i].Name, &chains[i].Rules[j])
		}
	}
}

// shownElements bounds how many elements of one set a plan lists one by one.
const shownElements = 500

// ops lists the change for people.
func (d *delta) ops() []driver.Op {
	var out []driver.Op
	op := func(a driver.Action, object, before, after string) {
		sum := sha256.Sum256([]byte(string(a) + object + before + after))
		out = append(out, driver.Op{ID: hex.EncodeToString(sum[:6]), Action: a, Object: object, Before: before, After: after})
	}
	switch {
	case d.empty():
		return nil
	case d.want == nil:
		op(driver.Remove, "table inet "+d.have.Name, describe(d.have), "")
		return out
	case d.have == nil:
		op(driver.Add, "table inet "+d.want.Name, "", describe(d.want))
		return out
	case d.rebuild:
		op(driver.Modify, "table inet "+d.want.Name, describe(d.have), describe(d.want)+", made anew because "+d.why)
		return out
	}
	if d.left {
		op(driver.Modify, "live flows", "judged packet by packet since a change that was interrupted", "judged by their marks again")
	}
	for _, s := range d.addSets {
		op(driver.Add, "set "+s.Name, "", s.TypeText)
	}
	for _, c := range d.addChains {
		op(driver.Add, "chain "+c.Name, "", fmt.Sprintf("%d rules", len(c.Rules)))
	}
	for _, c := range d.rules {
		if h := d.have.Chain(c.Name); h != nil {
			op(driver.Modify, "chain "+c.Name, fmt.Sprintf("%d rules", len(h.Rules)), fmt.Sprintf("%d rules", len(c.Rules)))
		}
	}
	for _, e := range d.elements {
		d.elementOps(e, op)
	}
	for _, c := range d.delChains {
		op(driver.Remove, "chain "+c.Name, fmt.Sprintf("%d rules", len(c.Rules)), "")
	}
	for _, s := range d.delSets {
		op(driver.Remove, "set "+s.Name, s.TypeText, "")
	}
	return out
}

func (d *delta) elementOps(e elementDelta, op func(a driver.Action, object, before, after string)) {
	if e.set.Name == "keep" {
		return // bookkeeping that means nothing to anybody else
	}
	object := "set " + e.set.Name
	if len(e.del)+len(e.add) > shownElements {
		op(driver.Modify, object, fmt.Sprintf("%d elements", len(e.del)), fmt.Sprintf("%d elements", len(e.add)))
		return
	}
	added := map[string]bool{}
	for i := range e.add {
		added[elementKey(&e.add[i])] = true
	}
	for i := range e.del {
		if !added[elementKey(&e.del[i])] {
			op(driver.Remove, object, e.set.ElementText(&e.del[i]), "")
		}
	}
	for i := range e.add {
		if b, ok := e.before[elementKey(&e.add[i])]; ok {
			op(driver.Modify, object, e.set.ElementText(&b), e.set.ElementText(&e.add[i]))
		} else {
			op(driver.Add, object, "", e.set.ElementText(&e.add[i]))
		}
	}
}

func describe(t *ruleset.Table) string {
	elements, rules := 0, 0
	for i := range t.Sets {
		elements += len(t.Sets[i].Elements)
	}
	for i := range t.Chains {
		rules += len(t.Chains[i].Rules)
	}
	return fmt.Sprintf("%d chains, %d rules, %d sets, %d elements", len(t.Chains), rules, len(t.Sets), elements)
}
