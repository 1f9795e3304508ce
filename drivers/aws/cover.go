package aws

import (
	"net/netip"
	"slices"
	"strconv"

	"bulkhead/pkg/packet"
)

// peer is a part of the address space with what it may have.
type peer struct {
	addrs    packet.Addrs
	services packet.Services
}

// shared is services with exactly the addresses that have them, or that have them by
// another rule already.
type shared struct {
	services packet.Services
	prefixes []netip.Prefix
}

// cover says by as few prefixes as it can who has what: first who has everything, then who
// has all of a protocol, then the rest. A prefix never holds an address that may not have
// the services.
func cover(peers []peer) []shared {
	peers = grouped(peers)
	out := level(peers, []packet.Services{packet.AllServices()}, nil)
	all := holdersOf(peers, packet.AllServices())
	var whole []packet.Services
	for p := range uint32(256) {
		whole = append(whole, packet.Services{{Lo: p << 16, Hi: p<<16 | 0xffff}})
	}
	out = append(out, level(peers, whole, func(packet.Services) packet.Addrs { return all })...)
	memo := map[uint32]packet.Addrs{}
	out = append(out, level(peers, elementary(peers), func(s packet.Services) packet.Addrs {
		proto := s[0].Lo >> 16
		if a, ok := memo[proto]; ok {
			return a
		}
		memo[proto] = holdersOf(peers, whole[proto])
		return memo[proto]
	})...)
	return out
}

// grouped puts those together who have the same, and leaves those out who have nothing:
// most peers of a class, on a large site.
func grouped(peers []peer) []peer {
	index := map[string]int{}
	var out []peer
	var sets []packet.Builder
	for _, p := range peers {
		if p.services.IsEmpty() {
			continue
		}
		k := p.services.String()
		n, ok := index[k]
		if !ok {
			n = len(out)
			index[k] = n
			out, sets = append(out, peer{services: p.services}), append(sets, packet.Builder{})
		}
		sets[n].AddSet(p.addrs)
	}
	for i := range out {
		out[i].addrs = sets[i].Addrs()
	}
	return out
}

// holdersOf gives who has all of some services.
func holdersOf(peers []peer, s packet.Services) packet.Addrs {
	var b packet.Builder
	for _, p := range peers {
		if s.Subtract(p.services).IsEmpty() {
			b.AddSet(p.addrs)
		}
	}
	return b.Addrs()
}

// elementary cuts the services where those of any peer begin or end, each within one
// protocol.
func elementary(peers []peer) []packet.Services {
	var cuts []uint32
	for _, p := range peers {
		for _, s := range p.services {
			cuts = append(cuts, s.Lo, s.Hi+1)
			for proto := s.Lo>>16 + 1; proto <= s.Hi>>16; proto++ {
				cuts = append(cuts, proto<<16)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []packet.Services
	for i := 0; i+1 < len(cuts); i++ {
		out = append(out, packet.Services{{Lo: cuts[i], Hi: cuts[i+1] - 1}})
	}
	return out
}

// level says who has each of some services, but for those who have them by an earlier
// level; services that the same addresses have go together, so that neighbouring ports are
// one rule.
func level(peers []peer, each []packet.Services, earlier func(packet.Services) packet.Addrs) []shared {
	index := map[string]int{}
	var out []shared
	for _, s := range each {
		who := holdersOf(peers, s)
		if who.IsEmpty() {
			continue // nobody has it; an empty set must never become a rule
		}
		need := who
		if earlier != nil {
			if need = who.Subtract(earlier(s)); need.IsEmpty() {
				continue
			}
		}
		list := need.Prefixes()
		if more := who.Prefixes(); len(more) < len(list) {
			list, need = more, who
		}
		k := need.Key()
		n, ok := index[k]
		if !ok {
			n = len(out)
			index[k] = n
			out = append(out, shared{prefixes: list})
		}
		out[n].services = out[n].services.Union(s)
	}
	return out
}

// rulesOf writes rules of one direction.
func rulesOf(egress bool, list []shared) []Rule {
	var out []Rule
	for _, s := range list {
		for _, n := range natives(s.services) {
			for _, p := range s.prefixes {
				r := n
				r.Egress, r.Prefix = egress, p
				out = append(out, r)
			}
		}
	}
	return out
}

// natives cuts services into what one rule can say: everything, a protocol, a run of ports,
// an ICMP type, or one type and code.
func natives(s packet.Services) []Rule {
	if s.Equal(packet.AllServices()) {
		return []Rule{{Protocol: "-1", From: -1, To: -1}}
	}
	var out []Rule
	for _, span := range s {
		for lo := span.Lo; ; {
			proto := lo >> 16
			hi := min(span.Hi, lo|0xffff)
			out = append(out, native(uint8(proto), uint16(lo), uint16(hi))...)
			if hi == span.Hi {
				break
			}
			lo = hi + 1
		}
	}
	return out
}

func native(proto uint8, lo, hi uint16) []Rule {
	switch proto {
	case 6:
		return []Rule{{Protocol: "tcp", From: int(lo), To: int(hi)}}
	case 17:
		return []Rule{{Protocol: "udp", From: int(lo), To: int(hi)}}
	case 1:
		return messages("icmp", lo, hi)
	case 58:
		return messages("icmpv6", lo, hi)
	}
	return []Rule{{Protocol: strconv.Itoa(int(proto)), From: -1, To: -1}}
}

// messages writes a run of type<<8|code.
func messages(protocol string, lo, hi uint16) []Rule {
	if lo == 0 && hi == 65535 {
		return []Rule{{Protocol: protocol, From: -1, To: -1}}
	}
	var out []Rule
	for n := int(lo); n <= int(hi); {
		if n&0xff == 0 && n|0xff <= int(hi) {
			out = append(out, Rule{Protocol: protocol, From: n >> 8, To: -1})
			n += 256
			continue
		}
		out = append(out, Rule{Protocol: protocol, From: n >> 8, To: n & 0xff})
		n++
	}
	return out
}
