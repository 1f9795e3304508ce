// Package file reads the assets that a site directory declares, from YAML nodes
// and from CSV.
//
// What a file declares is taken at its word: it carries no time, and it ranks
// before every other source unless the site says otherwise. Every mistake of a
// file is reported with its line and column, in one pass.
package file

import (
	"fmt"
	"net/netip"
	"strings"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
)

// maxID is the longest asset ID, in bytes. Cloud resource names fit.
const maxID = 253

// CheckID says what is wrong with an asset's ID, if anything: it is made of
// letters, digits and -_.:/@ and is no address, so that whatever names an asset
// or an address cannot mean the other.
func CheckID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("an asset needs an ID that is not empty")
	case len(id) > maxID:
		return fmt.Errorf("the ID %q is longer than %d characters", id, maxID)
	}
	for _, r := range id {
		if !wordRune(r) && !strings.ContainsRune(":/@", r) {
			return &strict.Mistake{
				Message: fmt.Sprintf("the ID %q holds %q", id, r), Hint: "an ID is made of letters, digits, and - _ . : / @",
			}
		}
	}
	if looksLikeAddress(id) {
		return fmt.Errorf("the ID %q is an address; give the asset a name", id)
	}
	return nil
}

func wordRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
}

func looksLikeAddress(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(s)
	return err == nil
}

// checkFieldName says what is wrong with the name of a label or an attribute.
func checkFieldName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%s needs a name", what)
	}
	if len(name) > 63 {
		return fmt.Errorf("the name %q is longer than 63 characters", name)
	}
	for _, r := range name {
		if !wordRune(r) && r != '/' {
			return &strict.Mistake{
				Message: fmt.Sprintf("the name of %s %q holds %q", what, name, r),
				Hint:    "a name is made of letters, digits, and - _ . /",
			}
		}
	}
	return nil
}

// builder fills one asset, and keeps for every fact where it was written.
type builder struct{ a *inventory.Asset }

func (b builder) fact(field, value string, pos diag.Pos) {
	b.a.Facts = append(b.a.Facts, inventory.Fact{Field: field, Value: value, Source: inventory.FileSource, Pos: pos})
}

func (b builder) kind(v strict.Named) error {
	var names []string
	for _, k := range inventory.Kinds() {
		if v.Value == string(k) {
			b.a.Kind = k
			b.fact(inventory.FieldKind, v.Value, v.Pos)
			return nil
		}
		names = append(names, string(k))
	}
	return strict.Unknown("kind", v.Value, names)
}

func (b builder) address(v strict.Named) error {
	p, err := inventory.ParsePrefix(v.Value)
	if err != nil {
		return err
	}
	for _, have := range b.a.Addresses {
		if have == p {
			return fmt.Errorf("address %q is given twice", v.Value)
		}
	}
	b.a.Addresses = append(b.a.Addresses, p)
	b.fact(inventory.FieldAddresses, inventory.FormatPrefix(p), v.Pos)
	return nil
}

func (b builder) mac(v strict.Named) error {
	mac, err := inventory.ParseMAC(v.Value)
	if err != nil {
		return err
	}
	for _, have := range b.a.MACs {
		if have == mac {
			return fmt.Errorf("MAC %q is given twice", v.Value)
		}
	}
	b.a.MACs = append(b.a.MACs, mac)
	b.fact(inventory.FieldMACs, mac, v.Pos)
	return nil
}

func (b builder) label(name string, v strict.Named) {
	if b.a.Labels == nil {
		b.a.Labels = map[string]string{}
	}
	b.a.Labels[name] = v.Value
	b.fact(inventory.FieldLabel+name, v.Value, v.Pos)
}

func (b builder) attribute(name string, v strict.Named) {
	if b.a.Attributes == nil {
		b.a.Attributes = map[string]string{}
	}
	b.a.Attributes[name] = v.Value
	b.fact(inventory.FieldAttribute+name, v.Value, v.Pos)
}
