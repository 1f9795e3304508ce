// Package inventory holds the asset model: what is on the network, under which
// identity, and who said so.
//
// Sources (inventory/file, inventory/neighbor, ...) report facts and decide
// nothing. Merge joins what they report into one Inventory, keeps for each fact
// the source that reported it, and reports every conflict. What an address may
// do is decided elsewhere, from the merged inventory alone.
package inventory

import (
	"net/netip"
	"time"

	"bulkhead/pkg/diag"
)

// Kind is what sort of thing an asset is.
type Kind string

// The kinds of assets.
const (
	Server    Kind = "server"
	VM        Kind = "vm"
	Instance  Kind = "instance" // a cloud instance
	Container Kind = "container"
	Function  Kind = "function" // serverless
	IoT       Kind = "iot"
	OT        Kind = "ot"
	User      Kind = "user"     // a person, known by the addresses they are logged in from
	External  Kind = "external" // an API outside, by name or prefix
	Network   Kind = "network"  // a prefix
)

// Kinds lists every kind in the order in which documents name them.
func Kinds() []Kind {
	return []Kind{Server, VM, Instance, Container, Function, IoT, OT, User, External, Network}
}

// Identifies reports whether an asset of this kind identifies who holds an
// address. A network or an external prefix says only where an address lies, so
// an address that nothing else holds stays in the built-in group "unidentified".
func (k Kind) Identifies() bool { return k != Network && k != External }

// ClaimsMachine reports whether an asset of this kind claims to be the machine
// behind its addresses. Users, containers and functions sit on a machine, and
// networks and externals are prefixes, so they may share addresses with one.
func (k Kind) ClaimsMachine() bool {
	switch k {
	case User, Container, Function, Network, External:
		return false
	}
	return true
}

// Attachment is where an asset is plugged in.
type Attachment struct {
	Switch    string `json:"switch,omitempty"`
	Port      string `json:"port,omitempty"`
	ENI       string `json:"eni,omitempty"`
	Interface string `json:"interface,omitempty"`
}

// Fact is one statement about an asset: which source made it, and when.
type Fact struct {
	Field  string    `json:"field"` // "addresses", "macs", "kind", "labels.<name>", "attributes.<name>", "attachments"
	Value  string    `json:"value"`
	Source string    `json:"source"`
	Seen   time.Time `json:"seen,omitzero"` // zero for declared facts, which do not age
	Pos    diag.Pos  `json:"pos,omitzero"`

	// Evidence marks a statement that the source is not trusted to make, or that
	// lost to another source: it is shown, and it gives no group.
	Evidence bool `json:"evidence,omitempty"`
}

// Asset is one entity with an identity. Addresses are prefixes; a host is a /32
// or a /128. All slices are sorted and free of repeats after Merge.
type Asset struct {
	ID          string            `json:"id"`
	Kind        Kind              `json:"kind"`
	Addresses   []netip.Prefix    `json:"addresses"`
	MACs        []string          `json:"macs"` // lower case, colons
	Labels      map[string]string `json:"labels"`
	Attributes  map[string]string `json:"attributes"`
	Attachments []Attachment      `json:"attachments"`
	Facts       []Fact            `json:"facts"`
	Pos         diag.Pos          `json:"pos,omitzero"` // where it is declared, if a file does
}
