package decode

import (
	"reflect"
	"testing"
	"time"

	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"

	"bulkhead/bench/estate"
)

// Whatever of a table decoding looks at is in its text; what comes and goes by itself
// is not.
func TestTextTellsChangesApart(t *testing.T) {
	fresh := func() *ruleset.Table {
		hook := &ruleset.Hook{Num: 2, Priority: -5, Devices: []string{"eth0"}}
		return &ruleset.Table{
			Family: ruleset.FamilyInet, Name: "t",
			Chains: []ruleset.Chain{
				{Name: "f", Type: "filter", Hook: hook, Policy: 1, Rules: []ruleset.Rule{
					{Handle: 7, Exprs: []ruleset.Expr{{Name: "counter"}, {Name: "limit"}}}, {Handle: 8},
				}},
				{Name: "c"},
			},
			Sets: []ruleset.Set{{
				Name: "s", Flags: ruleset.SetMap, KeyLen: 4, DataLen: 4, Fields: []uint32{4}, Exprs: []ruleset.Expr{{Name: "counter"}},
				Elements: []ruleset.Element{{Key: []byte{1, 2, 3, 4}, Data: []byte{5, 6, 7, 8}}, {Key: []byte{1, 2, 3, 5}, Data: []byte{5, 6, 7, 8}}},
			}},
		}
	}
	text := func(tb *ruleset.Table, o Options) string {
		return string(textOf(compile(tb, func(string, string) {}), o))
	}
	opt := Options{Table: "t", MarkValue: 1, MarkMask: 2, Interfaces: []string{"a"}, Pairs: 3}
	base := text(fresh(), opt)
	set := func(f func(s *ruleset.Set)) func(tb *ruleset.Table) {
		return func(tb *ruleset.Table) { f(&tb.Sets[0]) }
	}
	elem := func(f func(e *ruleset.Element)) func(tb *ruleset.Table) {
		return set(func(s *ruleset.Set) { f(&s.Elements[0]) })
	}
	chain := func(f func(c *ruleset.Chain)) func(tb *ruleset.Table) {
		return func(tb *ruleset.Table) { f(&tb.Chains[0]) }
	}
	seen := map[string]string{base: "no change"}
	for name, change := range map[string]func(tb *ruleset.Table){
		"table name":     func(tb *ruleset.Table) { tb.Name = "u" },
		"table flags":    func(tb *ruleset.Table) { tb.Flags = 2 },
		"chain name":     chain(func(c *ruleset.Chain) { c.Name = "g" }),
		"chain type":     chain(func(c *ruleset.Chain) { c.Type = "nat" }),
		"chain policy":   chain(func(c *ruleset.Chain) { c.Policy = 0 }),
		"chain flags":    chain(func(c *ruleset.Chain) { c.Flags = 2 }),
		"no hook":        chain(func(c *ruleset.Chain) { c.Hook = nil }),
		"hook":           chain(func(c *ruleset.Chain) { c.Hook.Num = 1 }),
		"priority":       chain(func(c *ruleset.Chain) { c.Hook.Priority = 5 }),
		"device":         chain(func(c *ruleset.Chain) { c.Hook.Devices[0] = "eth1" }),
		"data to key":    elem(func(e *ruleset.Element) { e.Key, e.Data = []byte{1, 2, 3, 4, 5}, []byte{6, 7, 8} }),
		"name to type":   chain(func(c *ruleset.Chain) { c.Name, c.Type = "ff", "ilter" }),
		"rule":           chain(func(c *ruleset.Chain) { c.Rules = c.Rules[:1] }),
		"expression":     chain(func(c *ruleset.Chain) { c.Rules[0].Exprs = c.Rules[0].Exprs[:1] }),
		"order":          chain(func(c *ruleset.Chain) { c.Rules[0], c.Rules[1] = c.Rules[1], c.Rules[0] }),
		"chain":          func(tb *ruleset.Table) { tb.Chains = tb.Chains[:1] },
		"set name":       set(func(s *ruleset.Set) { s.Name = "v" }),
		"set flags":      set(func(s *ruleset.Set) { s.Flags |= ruleset.SetInterval }),
		"key length":     set(func(s *ruleset.Set) { s.KeyLen = 8 }),
		"data length":    set(func(s *ruleset.Set) { s.DataLen = 8 }),
		"set timeout":    set(func(s *ruleset.Set) { s.Timeout = 1 }),
		"fields":         set(func(s *ruleset.Set) { s.Fields[0] = 2 }),
		"set's limit":    set(func(s *ruleset.Set) { s.Exprs[0].Name = "limit" }),
		"its rate":       set(func(s *ruleset.Set) { s.Exprs[0].Data = []byte{1} }),
		"not read":       set(func(s *ruleset.Set) { s.NotRead = true }),
		"fewer":          set(func(s *ruleset.Set) { s.Elements = s.Elements[:1] }),
		"order of them":  set(func(s *ruleset.Set) { s.Elements[0], s.Elements[1] = s.Elements[1], s.Elements[0] }),
		"key":            elem(func(e *ruleset.Element) { e.Key[3] = 0 }),
		"key's end":      elem(func(e *ruleset.Element) { e.KeyEnd = []byte{1, 2, 3, 4} }),
		"empty end":      elem(func(e *ruleset.Element) { e.KeyEnd = []byte{} }),
		"data":           elem(func(e *ruleset.Element) { e.Data[0] = 0 }),
		"verdict":        elem(func(e *ruleset.Element) { e.Verdict = &ruleset.Verdict{Code: 1} }),
		"verdict's kind": elem(func(e *ruleset.Element) { e.Verdict = &ruleset.Verdict{Code: 2} }),
		"its chain":      elem(func(e *ruleset.Element) { e.Verdict = &ruleset.Verdict{Code: 1, Chain: "c"} }),
		"another chain":  elem(func(e *ruleset.Element) { e.Verdict = &ruleset.Verdict{Code: 1, Chain: "f"} }),
		"flags":          elem(func(e *ruleset.Element) { e.Flags = 2 }),
		"timeout":        elem(func(e *ruleset.Element) { e.Timeout = 1 }),
		"opaque":         elem(func(e *ruleset.Element) { e.Opaque = true }),
		"object":         elem(func(e *ruleset.Element) { e.Object = "o" }),
	} {
		tb := fresh()
		change(tb)
		got := text(tb, opt)
		if as, known := seen[got]; known {
			t.Errorf("%s makes the same text as %s", name, as)
		}
		seen[got] = name
	}
	for i, o := range []Options{{"t", 2, 2, []string{"a"}, 3}, {"t", 1, 3, []string{"a"}, 3}, {"t", 1, 2, []string{"b"}, 3}, {"t", 1, 2, nil, 3}, {"t", 1, 2, []string{"a"}, 4}} {
		if text(fresh(), o) == base {
			t.Errorf("options %d make no other text", i)
		}
	}
	tb := fresh()
	tb.Handle, tb.Chains[0].Rules[0].Handle, tb.Sets[0].Handle = 1, 2, 3
	tb.Sets[0].Elements[0].Expiration, tb.Sets[0].Elements[0].Packets = time.Second, 4
	if text(tb, opt) != base {
		t.Error("handles, counters and what is left of a timeout make another text")
	}
}

// Every field of an expression is in the text.
func TestTextHoldsAllOfAnExpression(t *testing.T) {
	jump := func(code int32, chain string) string {
		var w textWriter
		w.op(&op{verdict: &ruleset.Verdict{Code: code, Chain: chain}})
		return string(w)
	}
	if jump(1, "a") == jump(1, "b") || jump(1, "a") == jump(2, "a") {
		t.Error("where a rule goes to is not in the text")
	}
	var w textWriter
	w.op(&op{})
	for i := range reflect.TypeFor[op]().NumField() {
		o := op{}
		name := reflect.TypeFor[op]().Field(i).Name
		switch name {
		case "code":
			o.code = 1
		case "name":
			o.name = "x"
		case "note":
			o.note = "x"
		case "sreg":
			o.sreg = 1
		case "sreg2":
			o.sreg2 = 1
		case "dreg":
			o.dreg = 1
		case "n":
			o.n = 1
		case "key":
			o.key = 1
		case "oper":
			o.oper = 1
		case "dir":
			o.dir = 1
		case "base":
			o.base = 1
		case "offset":
			o.offset = 1
		case "data":
			o.data = []byte{0}
		case "data2":
			o.data2 = []byte{0}
		case "verdict":
			o.verdict = &ruleset.Verdict{}
		case "set":
			o.set = "x"
		case "invert":
			o.invert = true
		default:
			t.Errorf("field %s is new: is it in the text?", name)
		}
		var x textWriter
		x.op(&o)
		if string(x) == string(w) {
			t.Errorf("field %s is not in the text", name)
		}
	}
}

// A table that is decoded again is found, and a cache holds no more tables than it is
// made for.
func TestCacheFindsAndForgets(t *testing.T) {
	tab := renderEstate(t, estate.Scale(2000))
	rs := &ruleset.Ruleset{Tables: []ruleset.Table{*tab}}
	opt := Options{Table: tab.Name, MarkValue: render.VerdictBase, MarkMask: render.VerdictMask}
	c := NewCache(1)
	c.Decode(rs, opt)
	first := c.kept[0]
	if c.Decode(rs, opt); len(c.kept) != 1 || c.kept[0] != first {
		t.Error("a table was not found again")
	}
	opt.Pairs = 5
	if c.Decode(rs, opt); len(c.kept) != 1 || c.kept[0] == first {
		t.Error("another table was taken for it")
	}
	var none Cache
	if none.Decode(rs, opt); len(none.kept) != 0 {
		t.Error("the zero value keeps something")
	}
}
