// Package dialect writes and reads lists of switch ports in the configuration models that
// switches have: one file for each model. A dialect turns portacl's lists into the XML of an
// edit-config, and a get-config's reply into lists. It gives no list a meaning: what it meets
// and does not know it writes down as unknown, and a port that has such a list is not proved.
package dialect

import (
	"encoding/xml"
	"fmt"
	"slices"

	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/packet"
)

// Limits say what lists of a model can hold.
type Limits struct {
	// OneList: one list sees both families. Later: an entry can match fragments but the first.
	OneList, Later bool
	// Blind lists protocols that have ports which entries cannot look at.
	Blind []int
	// Mute gives the ICMP messages of a family that entries cannot name; nil for none.
	Mute func(four bool) packet.Services
	// Ranges: an entry can match a run of ports. Without it Expand has to be asked.
	Ranges bool
	// Entries is the most entries of one list; 0 is no bound of the model.
	Entries int
	// Names is the most bytes of a list's name.
	Names int
}

// Dialect is one model.
type Dialect interface {
	// Name is what a point's setting calls it.
	Name() string
	Limits() Limits
	// Filter is the subtree filter (RFC 6241 section 6) that gets what Read needs.
	Filter() []byte
	// Read takes the data of a get-config apart: all lists, and the ports that have any. It
	// fails where the reply is not of the model at all; never because of a construct in a list.
	Read(data []byte) (*portacl.Config, error)
	// Edit is what an edit-config's config element holds (with default-operation merge) to
	// bring have to want: lists as a whole, bindings, and what is to be deleted. The prefix nc
	// is declared. It writes nothing that is equal in both.
	Edit(have, want *portacl.Config) ([]byte, error)
	// Count is how many entries of the device one entry becomes.
	Count(e *portacl.Entry) int
}

// All lists the dialects by name.
func All() []Dialect { return []Dialect{ietf{}, openconfig{}, junos{}} }

// Named finds a dialect; nil if there is none.
func Named(name string) Dialect {
	for _, d := range All() {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

// Names lists the names of the dialects.
func Names() []string {
	var out []string
	for _, d := range All() {
		out = append(out, d.Name())
	}
	return out
}

// element is an XML element of any model, for what has no struct of its own.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Kids    []element  `xml:",any"`
	Text    string     `xml:",chardata"`
}

// parse reads a document with one root.
func parse(data []byte) (*element, error) {
	e := &element{}
	if err := xml.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("what the device sent is no configuration: %w", err)
	}
	return e, nil
}

// find gives the first child of a local name; nil if there is none.
func (e *element) find(path ...string) *element {
	for _, name := range path {
		if e == nil {
			return nil
		}
		i := slices.IndexFunc(e.Kids, func(k element) bool { return k.XMLName.Local == name })
		if i < 0 {
			return nil
		}
		e = &e.Kids[i]
	}
	return e
}

// changes tells what leads from one configuration to another.
type changes struct {
	put    []portacl.List // new, or with another content
	gone   []portacl.List
	bind   []portacl.Port // as they are to be
	unbind []portacl.Port // bindings that go
}

// between compares two configurations.
func between(have, want *portacl.Config) changes {
	var out changes
	for _, l := range want.Lists {
		if old := have.List(l.Name); old == nil || !old.Same(&l) {
			out.put = append(out.put, l)
		}
	}
	for _, l := range have.Lists {
		if want.List(l.Name) == nil {
			out.gone = append(out.gone, l)
		}
	}
	for _, p := range want.Ports {
		old := have.Port(p.Name)
		if old == nil || !slices.Equal(old.Bound, p.Bound) {
			out.bind = append(out.bind, p)
		}
	}
	for _, p := range have.Ports {
		now := want.Port(p.Name)
		lost := portacl.Port{Name: p.Name}
		for _, b := range p.Bound {
			if now == nil || !slices.Contains(now.Bound, b) {
				lost.Bound = append(lost.Bound, b)
			}
		}
		if len(lost.Bound) > 0 {
			out.unbind = append(out.unbind, lost)
		}
	}
	return out
}

// otherICMP is the ICMP of the other family than a list's.
func otherICMP(four bool) packet.Services {
	if four {
		return packet.Services{{Lo: 58 << 16, Hi: 58<<16 | 0xffff}}
	}
	return packet.Services{{Lo: 1 << 16, Hi: 1<<16 | 0xffff}}
}
