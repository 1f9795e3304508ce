package nftables

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// The kernel does not give rules back byte for byte as it took them: it leaves
// out what is zero, adds what it defaulted, reorders, and flags nesting or not as
// it pleases. Two expressions are compared in a normal form: attributes sorted by
// type, flag bits of the type dropped, all-zero numbers left out, and what counts
// (packets, bytes) ignored. Every attribute that the kernel acts on treats absent
// and zero alike; values to compare with are kept whole.
func normalExpr(e ruleset.Expr) []byte {
	out := append([]byte(e.Name), 0)
	if e.Name == "counter" {
		return out
	}
	return append(out, normalAttrs(e.Data, nestedIn(e.Name), true)...)
}

// nestedIn lists the attributes of an expression that hold NFTA_DATA_* values.
func nestedIn(name string) []uint16 {
	switch name {
	case "immediate":
		return []uint16{unix.NFTA_IMMEDIATE_DATA}
	case "cmp":
		return []uint16{unix.NFTA_CMP_DATA}
	case "bitwise":
		return []uint16{unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR, 7} // NFTA_BITWISE_DATA
	case "range":
		return []uint16{unix.NFTA_RANGE_FROM_DATA, unix.NFTA_RANGE_TO_DATA}
	}
	return nil
}

func normalAttrs(b []byte, nested []uint16, dropZero bool) []byte {
	type attr struct {
		typ  uint16
		data []byte
	}
	var attrs []attr
	for len(b) >= 4 {
		n, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < 4 || n > len(b) {
			return append([]byte("malformed"), b...)
		}
		data := b[4:n]
		typ &^= unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
		switch {
		case slices.Contains(nested, typ):
			// A value, or a verdict with attributes of its own.
			data = normalAttrs(data, []uint16{unix.NFTA_DATA_VERDICT}, false)
		case dropZero && (len(data) == 1 || len(data) == 4 || len(data) == 8) && len(bytes.Trim(data, "\x00")) == 0:
			data = nil
		case data == nil:
			data = []byte{}
		}
		if data != nil {
			attrs = append(attrs, attr{typ, data})
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	slices.SortStableFunc(attrs, func(x, y attr) int { return int(x.typ) - int(y.typ) })
	var out []byte
	for _, a := range attrs {
		out = binary.BigEndian.AppendUint16(out, a.typ)
		out = binary.BigEndian.AppendUint32(out, uint32(len(a.data)))
		out = append(out, a.data...)
	}
	return out
}

func sameRule(a, b *ruleset.Rule) bool {
	if len(a.Exprs) != len(b.Exprs) {
		return false
	}
	for i := range a.Exprs {
		if !bytes.Equal(normalExpr(a.Exprs[i]), normalExpr(b.Exprs[i])) {
			return false
		}
	}
	return true
}

func sameRules(a, b *ruleset.Chain) bool {
	return slices.EqualFunc(a.Rules, b.Rules, func(x, y ruleset.Rule) bool { return sameRule(&x, &y) })
}

func sameHook(a, b *ruleset.Chain) bool {
	if a.Hook == nil || b.Hook == nil {
		return a.Hook == b.Hook
	}
	return a.Type == b.Type && a.Policy == b.Policy && a.Hook.Num == b.Hook.Num && a.Hook.Priority == b.Hook.Priority
}

// fingerprint digests what a table means: chains with their rules, and the
// elements of configured sets. What rules write, what counts, and which flows are
// held for the moment is left out.
func fingerprint(rs *ruleset.Ruleset) string {
	h := sha256.New()
	tables := slices.Clone(rs.Tables)
	sort.SliceStable(tables, func(i, j int) bool {
		if tables[i].Family != tables[j].Family {
			return tables[i].Family < tables[j].Family
		}
		return tables[i].Name < tables[j].Name
	})
	for i := range tables {
		hashTable(h, &tables[i])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func hashTable(h hash.Hash, t *ruleset.Table) {
	fmt.Fprintf(h, "table %d %q %d\n", t.Family, t.Name, t.Flags)
	chains := slices.Clone(t.Chains)
	sort.SliceStable(chains, func(i, j int) bool { return chains[i].Name < chains[j].Name })
	for _, c := range chains {
		fmt.Fprintf(h, "chain %q %q %d", c.Name, c.Type, c.Policy)
		if c.Hook != nil {
			fmt.Fprintf(h, " hook %d %d %q", c.Hook.Num, c.Hook.Priority, c.Hook.Devices)
		}
		for _, r := range c.Rules {
			fmt.Fprint(h, "\nrule")
			for _, e := range r.Exprs {
				fmt.Fprintf(h, " %x", normalExpr(e))
			}
		}
	}
	sets := slices.Clone(t.Sets)
	sort.SliceStable(sets, func(i, j int) bool { return sets[i].Name < sets[j].Name })
	for i := range sets {
		s := &sets[i]
		fmt.Fprintf(h, "\nset %q %d %d %d", s.Name, s.Flags, s.KeyLen, s.DataLen)
		if s.Dynamic() || isWindow(s.Name) || isHold(s.Name) {
			continue
		}
		elems := s.Elements
		if !slices.IsSortedFunc(elems, compareElements) {
			elems = slices.Clone(elems)
			slices.SortStableFunc(elems, compareElements)
		}
		// A large table has a hundred thousand, and is looked at whenever somebody wrote to
		// the firewall.
		b := binary.BigEndian.AppendUint64(make([]byte, 0, 64<<10), uint64(len(elems)))
		for i := range elems {
			if b = appendElement(b, &elems[i]); len(b) > 60<<10 {
				h.Write(b)
				b = b[:0]
			}
		}
		h.Write(b)
	}
	for _, f := range t.Flows {
		fmt.Fprintf(h, "\nflowtable %q", f)
	}
}

func compareElements(a, b ruleset.Element) int {
	if c := bytes.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	return cmp.Compare(b.Flags, a.Flags)
}

// appendElement writes down what an element means, each part with its length, so that
// no two elements run together.
func appendElement(b []byte, e *ruleset.Element) []byte {
	for _, part := range [][]byte{e.Key, e.KeyEnd, e.Data} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	b = binary.BigEndian.AppendUint32(b, e.Flags)
	if e.Timeout > 0 {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	if e.Verdict == nil {
		return append(b, 0)
	}
	b = binary.BigEndian.AppendUint32(append(b, 1), uint32(e.Verdict.Code))
	return append(binary.BigEndian.AppendUint32(b, uint32(len(e.Verdict.Chain))), e.Verdict.Chain...)
}
