package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"bulkhead/drivers/nftables/ruleset"
)

// kind is one kind of set that the text must print as the kernel holds it.
type kind struct {
	set ruleset.Set
	one func(r *rand.Rand, i int) ruleset.Element // the i-th element; key i is unlike all others
	// spans makes plain intervals instead.
	spans    bool
	catchAll *ruleset.Element
}

func pad(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	return out
}

func be2(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

func ip6(v uint32) []byte {
	return append(append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 8)...), be(v)...)
}

var counterExpr = ruleset.Expr{Name: "counter", Data: appendU64(appendU64(nil, 1, 0), 2, 0)}

func kinds() []kind {
	const m, iv, cc = ruleset.SetMap, ruleset.SetInterval, ruleset.SetConcat
	svc := []uint32{4, 1, 2}
	return []kind{
		{set: ruleset.Set{TypeText: "typeof ip saddr : meta length", Flags: m, KeyType: 7, KeyLen: 4, DataType: 4, DataLen: 4, Size: 1024},
			one: func(r *rand.Rand, i int) ruleset.Element {
				return ruleset.Element{Key: be(uint32(i) * 7919), Data: host(r.Uint32())}
			},
			catchAll: &ruleset.Element{Flags: ruleset.ElemCatchAll, Data: host(5)}},
		{set: ruleset.Set{TypeText: "typeof ip6 daddr : meta length", Flags: m, KeyType: 8, KeyLen: 16, DataType: 4, DataLen: 4, Size: 1024},
			one: func(r *rand.Rand, i int) ruleset.Element {
				return ruleset.Element{Key: ip6(uint32(i) * 65521), Data: host(r.Uint32())}
			}},
		{set: ruleset.Set{TypeText: "typeof meta mark . meta priority : meta mark", Flags: m, KeyType: 19<<6 | 23, KeyLen: 8, DataType: 19, DataLen: 4, Size: 1024},
			one: func(r *rand.Rand, i int) ruleset.Element {
				p := []uint32{0, 0xffffffff, 0x2000, r.Uint32(), r.Uint32() << 16}[r.Intn(5)]
				return ruleset.Element{Key: pad(host(uint32(i)), host(p)), Data: host(r.Uint32())}
			}},
		{set: ruleset.Set{TypeText: "type mark . inet_proto . inet_service : mark", Flags: m, KeyType: 19<<12 | 12<<6 | 13, KeyLen: 12, DataType: 19, DataLen: 4, Size: 1024},
			one: func(r *rand.Rand, i int) ruleset.Element {
				return ruleset.Element{Key: pad(host(r.Uint32()), []byte{byte(i)}, be2(r.Intn(1<<16))), Data: host(r.Uint32())}
			}},
		{set: ruleset.Set{TypeText: "type mark . inet_proto . inet_service : mark", Flags: m | iv | cc, KeyType: 19<<12 | 12<<6 | 13, KeyLen: 12, DataType: 19, DataLen: 4, Fields: svc},
			one: func(r *rand.Rand, i int) ruleset.Element {
				lo := r.Intn(1 << 16)
				hi := lo + r.Intn(1<<16-lo)
				class, proto := be(uint32(i)<<8), []byte{byte(r.Intn(256))}
				return ruleset.Element{Key: pad(class, proto, be2(lo)), KeyEnd: pad(class, proto, be2(hi)), Data: host(r.Uint32())}
			}},
		{set: ruleset.Set{TypeText: "type ipv4_addr . ipv4_addr . inet_proto . inet_service", Flags: iv | cc, KeyType: 7<<18 | 7<<12 | 12<<6 | 13, KeyLen: 16, Fields: []uint32{4, 4, 1, 2}},
			one: func(r *rand.Rand, i int) ruleset.Element {
				n := r.Intn(33)
				host := uint32(1)<<(32-n) - 1
				net := r.Uint32() &^ host
				src := be(uint32(i) * 999331)
				return ruleset.Element{Key: pad(src, be(net), []byte{6}, be2(22)), KeyEnd: pad(src, be(net|host), []byte{6}, be2(22))}
			}},
	}
}

// moreKinds are those without concatenations.
func moreKinds() []kind {
	const m, iv, to = ruleset.SetMap, ruleset.SetInterval, ruleset.SetTimeout
	return []kind{
		{set: ruleset.Set{TypeText: "type nf_proto", Flags: to, KeyType: 2, KeyLen: 1, Size: 16},
			one: func(r *rand.Rand, i int) ruleset.Element {
				return ruleset.Element{Key: []byte{byte(i)}, Timeout: time.Duration(1+r.Intn(5000)) * time.Second}
			}},
		{set: ruleset.Set{TypeText: "type mark", KeyType: 19, KeyLen: 4, Size: 65535, Exprs: []ruleset.Expr{counterExpr}},
			one: func(r *rand.Rand, i int) ruleset.Element {
				return ruleset.Element{Key: host(uint32(i) * 77777), HasCounter: true, Packets: uint64(r.Intn(3)), Bytes: uint64(r.Intn(3)) * 1000}
			}},
		{set: ruleset.Set{TypeText: "type mark : verdict", Flags: m, KeyType: 19, KeyLen: 4, DataType: 0xffffff00, Size: 1024},
			one: func(r *rand.Rand, i int) ruleset.Element {
				v := []ruleset.Verdict{{Code: 0}, {Code: 1}, {Code: -1}, {Code: -5}, {Code: -3, Chain: "a"}, {Code: -4, Chain: "a"}}[r.Intn(6)]
				return ruleset.Element{Key: host(uint32(i)), Verdict: &v}
			}},
		{set: ruleset.Set{TypeText: "type ifname", KeyType: 41, KeyLen: 16},
			one: func(r *rand.Rand, i int) ruleset.Element {
				k := make([]byte, 16)
				copy(k, fmt.Sprintf("if%d.%d", i, r.Intn(4095)))
				return ruleset.Element{Key: k}
			}},
		{set: ruleset.Set{TypeText: "type ipv4_addr : mark", Flags: m | iv, KeyType: 7, KeyLen: 4, DataType: 19, DataLen: 4}, spans: true,
			catchAll: &ruleset.Element{Flags: ruleset.ElemCatchAll, Data: host(9)}},
		{set: ruleset.Set{TypeText: "type ipv4_addr", Flags: iv, KeyType: 7, KeyLen: 4}, spans: true},
		{set: ruleset.Set{TypeText: "type mark : mark", Flags: m | iv, KeyType: 19, KeyLen: 4, DataType: 19, DataLen: 4}, spans: true},
		{set: ruleset.Set{TypeText: "type ipv6_addr : mark", Flags: m | iv, KeyType: 8, KeyLen: 16, DataType: 19, DataLen: 4}, spans: true},
	}
}

// randomSpans makes plain intervals over four random bytes: apart, for sets
// without data, where nft merges neighbours; adjacent at times for maps.
func randomSpans(r *rand.Rand, s *ruleset.Set) (out []ruleset.Element) {
	wide := func(v uint32) []byte {
		if s.KeyLen == 16 {
			return append(be(v), make([]byte, 12)...)
		}
		return be(v)
	}
	at := uint32(r.Intn(3))
	for i := 0; i < 1+r.Intn(12); i++ {
		if n := r.Intn(9); n > 0 { // a prefix
			size := uint32(1) << (4 * (n - 1) % 24)
			at = (at + size - 1) &^ (size - 1)
			out = append(out, ruleset.Element{Key: wide(at)}, ruleset.Element{Key: wide(at + size), Flags: ruleset.ElemIntervalEnd})
			at += size
		} else {
			size := uint32(1 + r.Intn(1<<20))
			out = append(out, ruleset.Element{Key: wide(at)}, ruleset.Element{Key: wide(at + size), Flags: ruleset.ElemIntervalEnd})
			at += size
		}
		if !s.IsMap() || r.Intn(2) == 0 {
			at += uint32(2 + r.Intn(1<<22))
		}
	}
	if r.Intn(2) == 0 { // to the last key
		out = append(out, ruleset.Element{Key: wide(0xff000000)})
	}
	if s.IsMap() {
		for i := range out {
			if out[i].Flags == 0 {
				out[i].Data = host(r.Uint32())
			}
		}
	}
	return out
}

// randomTable makes a table with all kinds of sets.
func randomTable(r *rand.Rand) *ruleset.Table {
	t := &ruleset.Table{Family: inet, Name: "p", Chains: []ruleset.Chain{{Name: "a"},
		{Name: "b", Type: "filter", Hook: &ruleset.Hook{Num: 2, Priority: -7}, Policy: 1}}}
	for n, k := range append(kinds(), moreKinds()...) {
		s := k.set
		s.Name = fmt.Sprintf("s%d", n)
		if k.spans {
			s.Elements = randomSpans(r, &s)
		} else {
			for i := range r.Intn(12) {
				s.Elements = append(s.Elements, k.one(r, i))
			}
		}
		if k.catchAll != nil && r.Intn(2) == 0 {
			s.Elements = append(s.Elements, *k.catchAll)
		}
		t.Sets = append(t.Sets, s)
	}
	return t
}

func commitTable(t testing.TB, c *Conn, x *ruleset.Table) {
	t.Helper()
	var b Batch
	b.AddTable(x.Family, x.Name, x.Flags, x.UserData)
	for i := range x.Chains {
		b.AddChain(x.Family, x.Name, &x.Chains[i])
	}
	for i := range x.Sets {
		b.AddSet(x.Family, x.Name, &x.Sets[i])
		b.AddElements(x.Family, x.Name, x.Sets[i].Name, x.Sets[i].Elements)
	}
	commit(t, c, &b)
}

func TestTextLoadsTheSameAsCommit(t *testing.T) {
	for seed := range int64(40) {
		x := randomTable(rand.New(rand.NewSource(seed)))
		t.Run(fmt.Sprint("commit", seed), func(t *testing.T) {
			freshNS(t)
			c := open(t)
			commitTable(t, c, x)
			byCommit := read(t, c).Table(inet, "p")
			run(t, "", "nft", "list", "ruleset") // other tools must be able to read it
			freshNS(t)
			c = open(t)
			nft(t, x.Text())
			byText := read(t, c).Table(inet, "p")
			sameTable(t, byCommit, byText)
			if t.Failed() {
				t.Log(x.Text())
			}
		})
		if t.Failed() {
			return
		}
	}
}

func sameTable(t *testing.T, a, b *ruleset.Table) {
	t.Helper()
	for i := range a.Chains {
		x, y := a.Chains[i], b.Chain(a.Chains[i].Name)
		if y == nil || x.Type != y.Type || x.Policy != y.Policy || x.Flags != y.Flags || (x.Hook == nil) != (y.Hook == nil) {
			t.Errorf("chain %+v, by text %+v", x, y)
		}
	}
	if len(a.Sets) != len(b.Sets) {
		t.Fatalf("%d sets, by text %d", len(a.Sets), len(b.Sets))
	}
	for i := range a.Sets {
		x, y := &a.Sets[i], b.Set(a.Sets[i].Name)
		if x.Flags != y.Flags || x.KeyLen != y.KeyLen || x.DataLen != y.DataLen || x.Size != y.Size ||
			x.KeyType != y.KeyType || x.DataType != y.DataType || !slices.Equal(x.Fields, y.Fields) || len(x.Exprs) != len(y.Exprs) {
			t.Errorf("set %+v\nby text %+v", *x, *y)
		}
		p, q := withoutLeadingEnd(x.Elements), withoutLeadingEnd(y.Elements)
		if len(p) != len(q) {
			t.Errorf("set %s has %d elements, by text %d:\n%+v\n%+v", x.Name, len(p), len(q), p, q)
			continue
		}
		for j := range p {
			if !sameElement(&p[j], &q[j]) {
				t.Errorf("set %s: %+v, by text %+v", x.Name, p[j], q[j])
			}
		}
	}
}

// withoutLeadingEnd leaves out the end of nothing at the first key, which nft
// puts into interval sets and which means nothing.
func withoutLeadingEnd(el []ruleset.Element) []ruleset.Element {
	for i, e := range el {
		if e.Flags == ruleset.ElemIntervalEnd && bytes.Count(e.Key, []byte{0}) == len(e.Key) {
			return slices.Concat(el[:i], el[i+1:])
		}
	}
	return el
}

func sameElement(a, b *ruleset.Element) bool {
	same := bytes.Equal(a.Key, b.Key) && bytes.Equal(a.KeyEnd, b.KeyEnd) && bytes.Equal(a.Data, b.Data) && a.Flags == b.Flags &&
		a.Timeout == b.Timeout && a.HasCounter == b.HasCounter && a.Packets == b.Packets && a.Bytes == b.Bytes
	if a.Verdict == nil || b.Verdict == nil {
		return same && a.Verdict == b.Verdict
	}
	return same && *a.Verdict == *b.Verdict
}
