package inventory

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"bulkhead/pkg/diag"
)

// full is an inventory with something in every field.
func full() *Inventory {
	one := func() Asset {
		return Asset{ID: "a", Kind: Server, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, MACs: []string{mac1},
			Labels: map[string]string{"x": "y"}, Attributes: map[string]string{"os": "z"},
			Attachments: []Attachment{{Switch: "s", Port: "p", ENI: "e", Interface: "i"}},
			Facts:       []Fact{{Field: "kind", Value: "v", Source: "s", Seen: time.Unix(1, 0), Pos: diag.Pos{File: "f", Line: 1, Col: 2}, Evidence: true}},
			Pos:         diag.Pos{File: "f", Line: 3, Col: 4}}
	}
	return &Inventory{Assets: []Asset{one()}, Evidence: []Evidence{{Source: "n", Reason: "r", Entry: one()}},
		Conflicts: []Conflict{{Kind: "k", Field: "f", Claims: []Claim{{Asset: "a", Source: "s", Value: "v", Pos: diag.Pos{File: "f", Line: 1, Col: 1}}}}}}
}

// change changes the n-th thing that v holds, in depth, and reports what it was; "" if
// there are fewer.
func change(v reflect.Value, n *int, path string) string {
	hit := func() bool { *n--; return *n < 0 }
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return ""
		}
		if v.Type() == reflect.TypeFor[netip.Prefix]() {
			if hit() {
				v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.0/31")))
				return path
			}
			return ""
		}
		for i := range v.NumField() {
			if got := change(v.Field(i), n, path+"."+v.Type().Field(i).Name); got != "" {
				return got
			}
		}
	case reflect.Slice:
		if hit() {
			v.Set(v.Slice(0, 0))
			return path + " emptied"
		}
		for i := range v.Len() {
			if got := change(v.Index(i), n, path); got != "" {
				return got
			}
		}
	case reflect.Map:
		if hit() {
			v.SetMapIndex(reflect.ValueOf("x2"), reflect.ValueOf("y"))
			return path + " grown"
		}
	case reflect.String:
		if hit() {
			v.SetString(v.String() + "+")
			return path
		}
	case reflect.Int:
		if hit() {
			v.SetInt(v.Int() + 1)
			return path
		}
	case reflect.Bool:
		if hit() {
			v.SetBool(!v.Bool())
			return path
		}
	default:
		panic("a kind of field that this test does not know: " + path)
	}
	return ""
}

// Whatever is said of assets, evidence and conflicts changes the hash: what it left out
// could change, and the plan would stay the same.
func TestHashSeesEverything(t *testing.T) {
	seen := map[string]string{full().Hash(): "nothing"}
	for n := 0; ; n++ {
		inv, left := full(), n
		what := change(reflect.ValueOf(inv).Elem(), &left, "inventory")
		if what == "" {
			if n < 60 {
				t.Errorf("only %d things were changed", n)
			}
			return
		}
		h := inv.Hash()
		if other, ok := seen[h]; ok {
			t.Errorf("%s (number %d): the hash of %s", what, n, other)
		}
		seen[h] = what
	}
}
