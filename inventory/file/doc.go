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
	"slices"
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
	// Parsing makes an error for every name that is none: most of them end here.
	for i := range len(s) {
		if c := s[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == '.' || c == ':' || c == '/' || c == '%') {
			if !strings.ContainsRune(s, '%') { // a zone may be named anything
				return false
			}
			break
		}
	}
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
	if len(name) > inventory.MaxFieldName {
		return fmt.Errorf("the name %q is longer than %d characters", name, inventory.MaxFieldName)
	}
	for _, r := range name {
		if !inventory.FieldNameRune(r) {
			return &strict.Mistake{
				Message: fmt.Sprintf("the name of %s %q holds %q", what, name, r),
				Hint:    "a name is made of letters, digits, and - _ . /",
			}
		}
	}
	return nil
}

// builder fills one asset, and keeps for every fact where it was written.
type builder struct {
	a *inventory.Asset
	// What is there already, for assets with so many that looking through the list
	// for each would take for ever.
	addresses map[netip.Prefix]bool
	macs      map[string]bool
}

// many is the length from which a list is looked through by a map.
const many = 32

func (b *builder) fact(field, value string, pos diag.Pos) {
	b.a.Facts = append(b.a.Facts, inventory.Fact{Field: field, Value: value, Source: inventory.FileSource, Pos: pos})
}

func (b *builder) kind(v strict.Named) error {
	for _, k := range inventory.Kinds() {
		if v.Value == string(k) {
			b.a.Kind = k
			b.fact(inventory.FieldKind, string(k), v.Pos)
			return nil
		}
	}
	var names []string
	for _, k := range inventory.Kinds() {
		names = append(names, string(k))
	}
	return strict.Unknown("kind", v.Value, names)
}

func (b *builder) address(v strict.Named) error {
	p, err := inventory.ParsePrefix(v.Value)
	if err != nil {
		return err
	}
	if has(b.a.Addresses, p, &b.addresses) {
		return fmt.Errorf("address %q is given twice", v.Value)
	}
	b.a.Addresses = append(b.a.Addresses, p)
	b.fact(inventory.FieldAddresses, prefixText(p, v.Value), v.Pos)
	return nil
}

// prefixText is inventory.FormatPrefix, without a copy where p was written so.
func prefixText(p netip.Prefix, written string) string {
	var buf [64]byte
	text := inventory.AppendPrefix(buf[:0], p)
	if string(text) == written {
		return written
	}
	return string(text)
}

func (b *builder) mac(v strict.Named) error {
	mac, err := inventory.ParseMAC(v.Value)
	if err != nil {
		return err
	}
	if has(b.a.MACs, mac, &b.macs) {
		return fmt.Errorf("MAC %q is given twice", v.Value)
	}
	b.a.MACs = append(b.a.MACs, mac)
	b.fact(inventory.FieldMACs, mac, v.Pos)
	return nil
}

// has reports whether v is in a list that it will be appended to if not. Seen
// takes over from the list once that is long.
func has[T comparable](list []T, v T, seen *map[T]bool) bool {
	if len(list) < many {
		return slices.Contains(list, v)
	}
	if *seen == nil {
		*seen = make(map[T]bool, 2*len(list))
		for _, have := range list {
			(*seen)[have] = true
		}
	}
	if (*seen)[v] {
		return true
	}
	(*seen)[v] = true
	return false
}

func (b *builder) label(name string, v strict.Named) {
	if b.a.Labels == nil {
		b.a.Labels = map[string]string{}
	}
	b.a.Labels[name] = v.Value
	b.fact(inventory.FieldLabel+name, v.Value, v.Pos)
}

func (b *builder) attribute(name string, v strict.Named) {
	if b.a.Attributes == nil {
		b.a.Attributes = map[string]string{}
	}
	b.a.Attributes[name] = v.Value
	b.fact(inventory.FieldAttribute+name, v.Value, v.Pos)
}
