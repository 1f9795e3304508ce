package decode

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
)

// Cache keeps what was worked out of tables of ours from one Decode to the next. What
// is rendered is decoded, loaded, read back and decoded again, and is the same table
// all the while; with a cache the second time costs a comparison.
//
// A table finds what was worked out before only if all that decoding looks at is the
// same, byte for byte: parsed rules, sets, elements, and the options. Handles and what
// is left of timeouts are no part of it: they are told from the ruleset at hand. What
// others have in the namespace is looked at anew every time.
//
// It holds at most as many tables as it was made for, each with the diagram that its
// relations are asked of (as much memory as the table's Decoded itself) and a text of
// the table. The oldest goes before a new table is worked out, so that a cache of one
// table holds no more than its user does who keeps the last Decoded.
//
// A ruleset that was decoded with a cache must not be changed afterwards. A Cache may
// be used by several goroutines; the zero value keeps nothing.
type Cache struct {
	mu     sync.Mutex
	tables int
	kept   []*meaning
}

// NewCache makes a cache of up to so many tables.
func NewCache(tables int) *Cache { return &Cache{tables: tables} }

// meaning is what was worked out of one table.
type meaning struct {
	text      []byte // see textOf
	prog      *program
	handles   []uint64 // of all rules, as findings name them
	relations []driver.Relation
	findings  []driver.Finding
	marks     Marks
	effort    effort

	why sync.Mutex // guards the handles of the program
}

// find gives what is known of a program with a text.
func (c *Cache) find(p *program, text []byte, opt Options) *meaning {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range c.kept {
		if !bytes.Equal(k.text, text) || !sameHandles(k, p) || !bytes.Equal(textOf(k.prog, opt), text) {
			continue
		}
		c.kept = append(slices.Delete(c.kept, i, i+1), k)
		return k
	}
	for len(c.kept) > 0 && len(c.kept) >= c.tables {
		c.kept = slices.Delete(c.kept, 0, 1)
	}
	return nil
}

func (c *Cache) keep(k *meaning) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.kept) > 0 && len(c.kept) >= c.tables {
		c.kept = slices.Delete(c.kept, 0, 1)
	}
	if c.tables > 0 {
		c.kept = append(c.kept, k)
	}
}

// sameHandles reports whether what was found names no rule by another handle than
// the program's.
func sameHandles(k *meaning, p *program) bool {
	named := slices.ContainsFunc(k.findings, func(f driver.Finding) bool {
		return strings.Contains(f.Object, " rule ") || strings.Contains(f.Text, "handle ")
	})
	return !named || slices.Equal(k.handles, p.handles())
}

func (p *program) handles() []uint64 {
	var out []uint64
	each(p, func(r *rule) { out = append(out, r.handle) })
	return out
}

func (p *program) setHandles(list []uint64) {
	i := 0
	each(p, func(r *rule) {
		r.handle = list[i]
		i++
	})
}

// relationsFor gives the relations with the handles of a program of the same text.
func (k *meaning) relationsFor(p *program) []driver.Relation {
	out := slices.Clone(k.relations)
	handles := p.handles()
	for i := range out {
		why := out[i].Why
		out[i].Why = func(src, dst netip.Addr, service uint32) string {
			k.why.Lock()
			defer k.why.Unlock()
			k.prog.setHandles(handles)
			return why(src, dst, service)
		}
	}
	return out
}

// textOf writes down everything of a table, and of the options, that a decoder of it
// looks at, so that two texts are equal only if it would do the same with both.
func textOf(p *program, opt Options) []byte {
	var w textWriter
	w.str(p.table.Name)
	w.num(uint64(p.table.Family), uint64(p.table.Flags), uint64(opt.MarkValue), uint64(opt.MarkMask), uint64(opt.Pairs))
	w.num(uint64(len(opt.Interfaces)))
	for _, name := range opt.Interfaces {
		w.str(name)
	}
	w.num(uint64(len(p.chains)))
	for i := range p.chains {
		w.chain(&p.chains[i])
	}
	w.num(uint64(len(p.table.Sets)))
	for i := range p.table.Sets {
		w.set(&p.table.Sets[i])
	}
	return w
}

// textWriter writes numbers and strings so that they can be told apart.
type textWriter []byte

func (w *textWriter) num(list ...uint64) {
	for _, v := range list {
		for v >= 0x80 {
			*w = append(*w, byte(v)|0x80)
			v >>= 7
		}
		*w = append(*w, byte(v))
	}
}

func (w *textWriter) str(s string) {
	w.num(uint64(len(s)))
	*w = append(*w, s...)
}

// data tells nil from empty.
func (w *textWriter) data(b []byte) {
	if b == nil {
		w.num(0)
		return
	}
	w.num(uint64(len(b)) + 1)
	*w = append(*w, b...)
}

func (w *textWriter) flag(b bool) {
	if b {
		w.num(1)
	} else {
		w.num(0)
	}
}

func (w *textWriter) verdict(v *ruleset.Verdict) {
	w.flag(v != nil)
	if v != nil {
		w.num(uint64(uint32(v.Code)))
		w.str(v.Chain)
	}
}

func (w *textWriter) chain(c *chain) {
	w.str(c.name)
	w.str(c.src.Type)
	w.num(uint64(c.src.Policy), uint64(c.src.Flags&chainOffload)) // the kernel adds flags of its own
	w.flag(c.src.Hook != nil)
	if h := c.src.Hook; h != nil {
		w.num(uint64(h.Num), uint64(uint32(h.Priority)), uint64(len(h.Devices)))
		for _, d := range h.Devices {
			w.str(d)
		}
	}
	w.num(uint64(len(c.rules)))
	for i := range c.rules {
		w.num(uint64(len(c.rules[i].ops)))
		for k := range c.rules[i].ops {
			w.op(&c.rules[i].ops[k])
		}
	}
}

func (w *textWriter) op(o *op) {
	w.num(uint64(o.code), uint64(o.sreg+1), uint64(o.sreg2+1), uint64(o.dreg+1), uint64(o.n),
		uint64(o.key), uint64(o.oper), uint64(o.dir+1), uint64(o.base), uint64(o.offset))
	w.str(o.name)
	w.str(o.note)
	w.str(o.set)
	w.data(o.data)
	w.data(o.data2)
	w.verdict(o.verdict)
	w.flag(o.invert)
}

func (w *textWriter) set(s *ruleset.Set) {
	w.str(s.Name)
	w.num(uint64(s.Flags), uint64(s.KeyLen), uint64(s.DataLen), uint64(len(s.Fields)))
	for _, f := range s.Fields {
		w.num(uint64(f))
	}
	w.num(uint64(len(s.Exprs)))
	for _, e := range s.Exprs {
		w.str(e.Name)
		w.data(e.Data)
	}
	w.flag(s.Timeout > 0)
	w.flag(s.NotRead && !s.Dynamic()) // a set that rules write is not known either way
	w.num(uint64(len(s.Elements)))
	for i := range s.Elements {
		e := &s.Elements[i]
		w.data(e.Key)
		w.data(e.KeyEnd)
		w.data(e.Data)
		w.verdict(e.Verdict)
		w.str(e.Object)
		w.num(uint64(e.Flags))
		w.flag(e.Timeout > 0)
		w.flag(e.Opaque)
	}
}
