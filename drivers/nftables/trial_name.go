package nftables

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// The expressions of our rules that name a set or a chain do it in one attribute
// each: lookup and dynset name a set (linux/netfilter/nf_tables.h: enum
// nft_lookup_attributes, nft_dynset_attributes), immediate names the chain of a
// jump or a goto (NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN).

// namePath is where in an expression a name is.
func namePath(expr string) (path []uint16, isSet bool) {
	switch expr {
	case "lookup":
		return []uint16{unix.NFTA_LOOKUP_SET}, true
	case "dynset":
		return []uint16{unix.NFTA_DYNSET_SET_NAME}, true
	case "immediate":
		return []uint16{unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CHAIN}, false
	}
	return nil, false
}

// names gives the sets and chains that rules refer to, once each, in the order in
// which they are met.
func namesIn(rules []ruleset.Rule) (sets, chains []string) {
	for i := range rules {
		for _, e := range rules[i].Exprs {
			path, isSet := namePath(e.Name)
			if path == nil {
				continue
			}
			replaceName(e.Data, path, func(name string) string {
				to := &chains
				if isSet {
					to = &sets
				}
				if !slices.Contains(*to, name) {
					*to = append(*to, name)
				}
				return name
			})
		}
	}
	return sets, chains
}

// renamed gives rules that refer to other names: what set and chain say of each.
func renamed(rules []ruleset.Rule, set, chain func(string) string) []ruleset.Rule {
	out := make([]ruleset.Rule, len(rules))
	for i := range rules {
		r := rules[i]
		r.Handle, r.Text, r.Exprs = 0, "", slices.Clone(r.Exprs)
		for k, e := range r.Exprs {
			path, isSet := namePath(e.Name)
			if path == nil {
				continue
			}
			to := chain
			if isSet {
				to = set
			}
			r.Exprs[k].Data = replaceName(e.Data, path, to)
		}
		out[i] = r
	}
	return out
}

// replaceName copies netlink attributes with the NUL-terminated name at the path
// replaced. Bytes that are no attributes are copied as they are: the kernel made or
// will refuse them.
func replaceName(b []byte, path []uint16, to func(string) string) []byte {
	out := make([]byte, 0, len(b)+len("trial/")+4)
	for len(b) >= 4 {
		n, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < 4 || n > len(b) {
			break
		}
		val := b[4:n]
		if typ&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == path[0] {
			if len(path) > 1 {
				val = replaceName(val, path[1:], to)
			} else {
				val = append([]byte(to(nulEnded(val))), 0)
			}
		}
		out = binary.NativeEndian.AppendUint16(out, uint16(4+len(val)))
		out = binary.NativeEndian.AppendUint16(out, typ)
		out = append(out, val...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return append(out, b...)
}

func nulEnded(b []byte) string {
	if i := slices.Index(b, 0); i >= 0 {
		return string(b[:i])
	}
	return string(b)
}
