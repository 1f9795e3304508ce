package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"bulkhead/pkg/diag"
)

// Inventory is what all sources together say. The same reports give the same
// Inventory, in whatever order they come.
type Inventory struct {
	Assets    []Asset    `json:"assets"`    // in order of ID
	Evidence  []Evidence `json:"evidence"`  // what was seen and became no asset
	Conflicts []Conflict `json:"conflicts"` // in order of kind, field and claims
}

// Evidence is an entry of a report that belongs to no asset: its addresses stay
// in the built-in group "unknown" unless some other asset holds them.
type Evidence struct {
	Source string `json:"source"`
	Reason Reason `json:"reason"`
	Entry  Asset  `json:"entry"` // as reported
}

// Reason says why an entry became no asset.
type Reason string

// The reasons.
const (
	Unmatched Reason = "unmatched" // no asset has its identity, and its source may not create one
	Ambiguous Reason = "ambiguous" // several assets have its identity
	Router    Reason = "router"    // one MAC with so many addresses that they are others' behind it
	Nameless  Reason = "nameless"  // its source may create assets, but gave it no ID
)

// ConflictKind is what sources disagree about.
type ConflictKind string

// The kinds of conflicts.
const (
	// AddressHeldTwice is a host address in two assets that both claim to be the
	// machine behind it. Both keep it, and it brakes an apply.
	AddressHeldTwice ConflictKind = "address-held-twice"
	// AddressClaimed is an address that a source wanted to add to an asset while
	// another asset holds it. It was not added.
	AddressClaimed ConflictKind = "address-claimed"
	// MACHeldTwice is a MAC in two assets that both claim to be the machine.
	MACHeldTwice ConflictKind = "mac-held-twice"
	// ValuesDiffer is one field with several values; the first claim holds.
	ValuesDiffer ConflictKind = "values-differ"
	// IdentityAmbiguous is an entry whose identity points at several assets. It
	// was joined with the one that its strongest identity names, or with none.
	IdentityAmbiguous ConflictKind = "identity-ambiguous"
	// LabelAmbiguous is one label of an asset for which a source found several names
	// with different values: the asset does not get it. Values are NAME=VALUE.
	LabelAmbiguous ConflictKind = "label-ambiguous"
)

// Claim is one side of a conflict.
type Claim struct {
	Asset  string   `json:"asset"`
	Source string   `json:"source,omitempty"`
	Value  string   `json:"value"`
	Pos    diag.Pos `json:"pos,omitzero"`
}

// Conflict is a disagreement between sources, or between assets. Where one side
// won, its claim is the first.
type Conflict struct {
	Kind   ConflictKind `json:"kind"`
	Field  string       `json:"field"`
	Claims []Claim      `json:"claims"`
}

// String says the conflict in one line, safe for a terminal.
func (c Conflict) String() string {
	var b strings.Builder
	switch c.Kind {
	case AddressHeldTwice:
		b.WriteString("one address in several machines: ")
	case AddressClaimed:
		b.WriteString("address not added, another asset holds it: ")
	case MACHeldTwice:
		b.WriteString("one MAC in several machines: ")
	case ValuesDiffer:
		fmt.Fprintf(&b, "sources differ about %s, the first holds: ", diag.Safe(c.Field))
	case LabelAmbiguous:
		fmt.Fprintf(&b, "%s not set, several tags would be that: ", diag.Safe(c.Field))
	case IdentityAmbiguous:
		fmt.Fprintf(&b, "one %s, several assets: ", diag.Safe(c.Field))
	}
	for i, cl := range c.Claims {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s %s", diag.Safe(cl.Asset), diag.Safe(cl.Value))
		switch {
		case cl.Pos.File != "":
			fmt.Fprintf(&b, " (%s)", diag.Safe(cl.Pos.String()))
		case cl.Source != "":
			fmt.Fprintf(&b, " (%s)", diag.Safe(cl.Source))
		}
	}
	return b.String()
}

func compareClaim(a, b Claim) int {
	return cmp.Or(cmp.Compare(a.Asset, b.Asset), cmp.Compare(a.Value, b.Value),
		cmp.Compare(a.Source, b.Source), comparePos(a.Pos, b.Pos))
}

func compareConflict(a, b Conflict) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Field, b.Field),
		slices.CompareFunc(a.Claims, b.Claims, compareClaim))
}

// Lookup returns the asset with that ID, or nil.
func (inv *Inventory) Lookup(id string) *Asset {
	i, ok := slices.BinarySearchFunc(inv.Assets, id, func(a Asset, id string) int { return cmp.Compare(a.ID, id) })
	if !ok {
		return nil
	}
	return &inv.Assets[i]
}

func timeless(a Asset) Asset {
	facts := make([]Fact, 0, len(a.Facts))
	for _, f := range a.Facts {
		facts = append(facts, Fact{Field: f.Field, Value: f.Value, Source: f.Source, Pos: f.Pos, Evidence: f.Evidence})
	}
	a.Facts = slices.CompactFunc(facts, func(x, y Fact) bool { return compareFact(x, y) == 0 && x.Evidence == y.Evidence })
	return a
}
