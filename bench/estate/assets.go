package estate

import (
	"net/netip"
	"strconv"
	"strings"

	"bulkhead/inventory"
	"bulkhead/pkg/diag"
)

func digits(n int) string { return strconv.Itoa(n) }

// numbered names the n-th thing of a kind, with zeros so that names sort as
// numbers do.
func numbered(prefix string, n, width int) string {
	d := digits(n)
	return prefix + strings.Repeat("0", max(0, width-len(d))) + d
}

// assets makes of every host the asset that comes out of the merge of sources:
// each statement a fact, with the place in the file where it stands, in order of
// field.
func (e *Estate) assets() []inventory.Asset {
	order := make([]int, len(e.labels)) // labels in order of name
	for i := range order {
		for j := range e.labels {
			if e.labels[j].name < e.labels[i].name {
				order[i]++
			}
		}
	}
	fields := make([]string, len(e.labels))
	for i := range e.labels {
		fields[i] = inventory.FieldLabel + e.labels[i].name
	}
	kind := string(inventory.Server)
	out := make([]inventory.Asset, len(e.hosts))
	for i := range e.hosts {
		h := &e.hosts[i]
		addr := h.addr.String()
		at := diag.Pos{File: assetsFile, Line: i + 2, Col: 1}
		facts := make([]inventory.Fact, 2+len(e.labels))
		say := func(place int, field, value string, pos diag.Pos) {
			facts[place] = inventory.Fact{Field: field, Value: value, Source: inventory.FileSource, Pos: pos}
		}
		here := right(at, len(h.id)+1)
		say(1, inventory.FieldKind, kind, here)
		here = right(here, len(kind)+1)
		say(0, inventory.FieldAddresses, addr, here)
		here = right(here, len(addr)+1)
		labels := make(map[string]string, len(e.labels))
		for j := range e.labels {
			v := e.labels[j].values[h.values[j]]
			labels[e.labels[j].name] = v
			say(2+order[j], fields[j], v, here)
			here = right(here, len(v)+1)
		}
		out[i] = inventory.Asset{
			ID: h.id, Kind: inventory.Server, Addresses: []netip.Prefix{inventory.HostPrefix(h.addr)}, MACs: []string{},
			Labels: labels, Attributes: map[string]string{}, Facts: facts, Pos: at,
		}
	}
	return out
}

// csv is the inventory as a file.
func (e *Estate) csv() []byte {
	b := make([]byte, 0, 48*len(e.hosts))
	b = append(b, "id,kind,addresses"...)
	for _, l := range e.labels {
		b = append(b, ","+inventory.FieldLabel+l.name...)
	}
	b = append(b, '\n')
	for i := range e.hosts {
		h := &e.hosts[i]
		b = append(b, h.id...)
		b = append(b, ","+string(inventory.Server)+","...)
		b = h.addr.AppendTo(b)
		for j := range e.labels {
			b = append(b, ',')
			b = append(b, e.labels[j].values[h.values[j]]...)
		}
		b = append(b, '\n')
	}
	return b
}
