package inventory

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"net/netip"
	"slices"
	"time"

	"bulkhead/pkg/diag"
)

// Hash identifies what the inventory says of assets, evidence and conflicts.
// When facts were seen does not count: a second look at an unchanged network
// gives the same hash.
func (inv *Inventory) Hash() string {
	d := digest{h: sha256.New()}
	for i := range inv.Assets {
		d.asset(&inv.Assets[i])
	}
	d.end()
	for i := range inv.Evidence {
		e := &inv.Evidence[i]
		d.text(e.Source, string(e.Reason))
		d.asset(&e.Entry)
	}
	d.end()
	for _, c := range inv.Conflicts {
		d.text(string(c.Kind), c.Field)
		for _, x := range c.Claims {
			d.text(x.Asset, x.Source, x.Value)
			d.pos(x.Pos)
		}
		d.end()
	}
	d.h.Write(d.b)
	return hex.EncodeToString(d.h.Sum(nil))
}

// digest writes what it is told into a hash, each string with its length and each list
// with its end, so that no two inventories run together. JSON would take six times as
// long, which at a hundred thousand assets is more than a second of every plan.
type digest struct {
	h    hash.Hash
	b    []byte
	keys []string
}

// flush keeps the buffer small.
func (d *digest) flush() {
	if len(d.b) > 32<<10 {
		d.h.Write(d.b)
		d.b = d.b[:0]
	}
}

func (d *digest) text(list ...string) {
	for _, s := range list {
		d.b = append(binary.AppendUvarint(d.b, uint64(len(s))+1), s...)
	}
}

// end is the end of a list: no string begins like it.
func (d *digest) end() { d.b = append(d.b, 0) }

func (d *digest) pos(p diag.Pos) {
	d.text(p.File)
	d.b = binary.AppendVarint(binary.AppendVarint(d.b, int64(p.Line)), int64(p.Col))
}

func (d *digest) prefix(p netip.Prefix) {
	var buf [64]byte
	s := p.AppendTo(buf[:0])
	d.b = append(binary.AppendUvarint(d.b, uint64(len(s))+1), s...)
}

func (d *digest) pairs(m map[string]string) {
	d.keys = slices.AppendSeq(d.keys[:0], maps.Keys(m))
	slices.Sort(d.keys)
	for _, k := range d.keys {
		d.text(k, m[k])
	}
	d.end()
}

func (d *digest) asset(a *Asset) {
	d.text(a.ID, string(a.Kind))
	for _, p := range a.Addresses {
		d.prefix(p)
	}
	d.end()
	d.text(a.MACs...)
	d.end()
	d.pairs(a.Labels)
	d.pairs(a.Attributes)
	for _, x := range a.Attachments {
		d.text(x.Switch, x.Port, x.ENI, x.Interface)
	}
	d.end()
	for i := range a.Facts {
		f := &a.Facts[i]
		if i > 0 && sameButSeen(&a.Facts[i-1], f) { // seen twice, said once
			continue
		}
		d.text(f.Field, f.Value, f.Source)
		d.pos(f.Pos)
		if f.Evidence {
			d.b = append(d.b, 1)
		} else {
			d.b = append(d.b, 2)
		}
	}
	d.end()
	d.pos(a.Pos)
	d.flush()
}

// sameButSeen reports whether two facts differ in when they were seen alone.
func sameButSeen(x, y *Fact) bool {
	a, b := *x, *y
	a.Seen, b.Seen = time.Time{}, time.Time{}
	return cmp.Compare(a.Field, b.Field) == 0 && compareFact(a, b) == 0 && a.Evidence == b.Evidence
}
