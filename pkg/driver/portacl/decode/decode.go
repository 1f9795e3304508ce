// Package decode gives lists of switch ports their meaning, from what the models and manuals
// say of them:
//
//   - the first entry that matches decides, and a packet of a bound list's family that none
//     matches is dropped;
//   - a family without a list passes;
//   - an entry that looks at ports, flags or ICMP types matches no fragment but the first,
//     which is the only one that has them;
//   - several lists on a port and direction are asked one after the other.
//
// It shares no code with package render.
package decode

import (
	"fmt"
	"net/netip"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/packet"
)

// Decode gives the meaning of a configuration: for each port that has lists, and for all
// others together, which let everything pass. What it does not understand it reports.
func Decode(c *portacl.Config) *driver.Decoded {
	out := &driver.Decoded{}
	open := chain{end: "no list"}
	open.add(portacl.New(true, portacl.AnyProto, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("0.0.0.0/0")), "no list")
	open.add(portacl.New(true, portacl.AnyProto, netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::/0")), "no list")
	for hook := range hooks {
		open.relations(out, hooks[hook].name, "", true)
	}
	for i := range c.Ports {
		p := &c.Ports[i]
		for _, u := range p.Unknown {
			out.Findings = append(out.Findings, driver.Finding{Object: fmt.Sprintf("port %q", p.Name), Text: "not understood: " + u})
		}
		for _, h := range hooks {
			ch, bound := chainOf(c, p, h.dir, out)
			if bound {
				ch.relations(out, h.name, p.Name, false)
			}
		}
	}
	return out
}

// hooks are the ends of flows: a device sends through its port's input.
var hooks = []struct {
	name string
	dir  portacl.Direction
}{{compile.HookInput, portacl.Out}, {compile.HookOutput, portacl.In}}

// chain is what is asked of a packet, in order.
type chain struct {
	entries []portacl.Entry
	names   []string
	end     string
	src     side
	dst     side
	memo    map[[2]int][]int // pair of parts -> entries that can match
}

func (ch *chain) add(e portacl.Entry, name string) {
	ch.entries, ch.names = append(ch.entries, e), append(ch.names, name)
}

// chainOf puts the lists of a port and direction behind each other. bound is not set if there
// are none.
func chainOf(c *portacl.Config, p *portacl.Port, dir portacl.Direction, out *driver.Decoded) (ch *chain, bound bool) {
	ch = &chain{end: fmt.Sprintf("the end of the lists of port %q", p.Name)}
	for _, family := range []portacl.Family{portacl.IPv4, portacl.IPv6} {
		all := netip.MustParsePrefix("0.0.0.0/0")
		if family == portacl.IPv6 {
			all = netip.MustParsePrefix("::/0")
		}
		some := false
		for _, b := range p.Bound {
			if b.Dir != dir || b.Family != family && b.Family != portacl.Both {
				continue
			}
			l := c.List(b.List)
			if l == nil {
				out.Findings = append(out.Findings, driver.Finding{Object: fmt.Sprintf("port %q", p.Name), Text: fmt.Sprintf("has list %q, which is not there", b.List)})
				continue
			}
			some, bound = true, true
			for _, u := range l.Unknown {
				finding := driver.Finding{Object: fmt.Sprintf("list %q", l.Name), Text: "not understood: " + u}
				if !slices.Contains(out.Findings, finding) {
					out.Findings = append(out.Findings, finding)
				}
			}
			for i := range l.Entries {
				e := &l.Entries[i]
				if portacl.FamilyOf(e.Src) != family {
					continue
				}
				name := fmt.Sprintf("entry %s of list %q: %s", e.Name, l.Name, e)
				if why := odd(e); why != "" {
					out.Findings = append(out.Findings, driver.Finding{Object: name, Text: why})
					continue
				}
				ch.add(*e, name)
			}
		}
		ch.add(portacl.New(!some, portacl.AnyProto, all, all), ch.end)
	}
	return ch, bound
}

// odd says why an entry has no meaning; "" if it has one.
func odd(e *portacl.Entry) string {
	ported := e.Proto >= 0 && e.Proto <= 255 && packet.HasPorts(uint8(e.Proto))
	icmp := e.Proto >= 0 && e.Proto <= 255 && packet.IsICMP(uint8(e.Proto))
	switch {
	case e.Proto < portacl.AnyProto || e.Proto > 255:
		return "there is no such protocol"
	case !e.Src.IsValid() || !e.Dst.IsValid() || e.Src.Addr().Is4() != e.Dst.Addr().Is4():
		return "its addresses are of two families, or none"
	case e.Src.Masked() != e.Src || e.Dst.Masked() != e.Dst:
		return "its addresses are no prefixes"
	case e.SrcPorts.Lo > e.SrcPorts.Hi || e.DstPorts.Lo > e.DstPorts.Hi:
		return "its ports are no run"
	case !ported && (!e.SrcPorts.All() || !e.DstPorts.All()):
		return "it names ports of a protocol that has none"
	case !icmp && (e.Type != portacl.Any || e.Code != portacl.Any):
		return "it names ICMP messages, and is not of ICMP"
	case e.Type == portacl.Any && e.Code != portacl.Any, e.Type < portacl.Any || e.Type > 255, e.Code < portacl.Any || e.Code > 255:
		return "there is no such ICMP message"
	case e.Established && e.Proto != 6:
		return "it asks for flags of TCP, and is not of TCP"
	case e.Later && e.Layer4():
		return "it asks for fragments but the first, and for what these do not have"
	}
	return ""
}

// side is one end's parts of the address space, and the entries that hold each.
type side struct {
	parts []packet.Addrs
	in    []packet.Bits // part -> prefixes
	at    []int         // entry -> its prefix
}

func newSide(es []portacl.Entry, of func(*portacl.Entry) netip.Prefix) side {
	s := side{at: make([]int, len(es))}
	index := map[netip.Prefix]int{}
	var sets []packet.Addrs
	for i := range es {
		p := of(&es[i])
		n, ok := index[p]
		if !ok {
			n = len(sets)
			index[p] = n
			sets = append(sets, packet.AddrsOf(p))
		}
		s.at[i] = n
	}
	for _, c := range packet.Partition(sets) {
		s.parts, s.in = append(s.parts, c.Addrs), append(s.in, c.In)
	}
	return s
}

// relations adds what a chain does in each situation.
func (ch *chain) relations(out *driver.Decoded, hook, port string, open bool) {
	ch.src = newSide(ch.entries, func(e *portacl.Entry) netip.Prefix { return e.Src })
	ch.dst = newSide(ch.entries, func(e *portacl.Entry) netip.Prefix { return e.Dst })
	ch.memo = map[[2]int][]int{}
	add := func(t driver.Tracking, lo, hi uint16) {
		s := driver.Situation{Hook: hook, Tracking: t, Port: port, SrcPortLo: lo, SrcPortHi: hi}
		memo := map[[2]int]packet.Services{}
		out.Relations = append(out.Relations, driver.Relation{Situation: s, Src: ch.src.parts, Dst: ch.dst.parts, Open: open,
			Permit: func(i, j int) packet.Services {
				key := [2]int{i, j}
				if p, ok := memo[key]; ok {
					return p
				}
				memo[key] = ch.permit(i, j, t, lo, hi)
				return memo[key]
			},
			Why: func(src, dst netip.Addr, service uint32) string { return ch.why(src, dst, service, t, lo, hi) },
		})
	}
	for _, t := range []driver.Tracking{driver.TrackNew, driver.TrackMid} {
		starts := []int{0}
		for i := range ch.entries {
			if e := &ch.entries[i]; !e.SrcPorts.All() && (e.Proto == 6 || t == driver.TrackNew) && !(e.Established && t == driver.TrackNew) {
				starts = append(starts, int(e.SrcPorts.Lo), int(e.SrcPorts.Hi)+1)
			}
		}
		slices.Sort(starts)
		starts = slices.Compact(starts)
		for i, lo := range starts {
			hi := 65535
			if i+1 < len(starts) {
				hi = starts[i+1] - 1
			}
			if lo <= 65535 {
				add(t, uint16(lo), uint16(min(hi, 65535)))
			}
		}
	}
	add(driver.TrackLater, 0, 65535)
}

// can lists the entries that can match between two parts.
func (ch *chain) can(i, j int) []int {
	key := [2]int{i, j}
	if list, ok := ch.memo[key]; ok {
		return list
	}
	list := []int{}
	for k := range ch.entries {
		if ch.src.in[i].Has(ch.src.at[k]) && ch.dst.in[j].Has(ch.dst.at[k]) {
			list = append(list, k)
		}
	}
	ch.memo[key] = list
	return list
}

// permit walks the chain for one pair of parts with all services at once.
func (ch *chain) permit(i, j int, t driver.Tracking, lo, hi uint16) packet.Services {
	left := packet.AllServices()
	if t == driver.TrackMid {
		left = packet.Services{{Lo: 6 << 16, Hi: 6<<16 | 0xffff}}
	}
	var out packet.Services
	for _, k := range ch.can(i, j) {
		e := &ch.entries[k]
		m := matched(e, t, lo, hi).Intersect(left)
		if m.IsEmpty() {
			continue
		}
		if e.Permit {
			out = out.Union(m)
		}
		if left = left.Subtract(m); left.IsEmpty() {
			break
		}
	}
	return out
}

// matched gives the services of the packets that an entry matches in a situation.
func matched(e *portacl.Entry, t driver.Tracking, lo, hi uint16) packet.Services {
	whole := packet.AllServices()
	if e.Proto != portacl.AnyProto {
		whole = packet.Services{{Lo: uint32(e.Proto) << 16, Hi: uint32(e.Proto)<<16 | 0xffff}}
	}
	if t == driver.TrackLater {
		if e.Layer4() {
			return nil
		}
		return whole
	}
	switch {
	case e.Later, e.Established && t == driver.TrackNew, lo < e.SrcPorts.Lo || hi > e.SrcPorts.Hi:
		return nil
	case e.Type != portacl.Any && e.Code != portacl.Any:
		n := whole[0].Lo | uint32(e.Type)<<8 | uint32(e.Code)
		return packet.Services{{Lo: n, Hi: n}}
	case e.Type != portacl.Any:
		n := whole[0].Lo | uint32(e.Type)<<8
		return packet.Services{{Lo: n, Hi: n | 0xff}}
	case !e.DstPorts.All():
		return packet.Services{{Lo: whole[0].Lo | uint32(e.DstPorts.Lo), Hi: whole[0].Lo | uint32(e.DstPorts.Hi)}}
	}
	return whole
}

func (ch *chain) why(src, dst netip.Addr, service uint32, t driver.Tracking, lo, hi uint16) string {
	for k := range ch.entries {
		e := &ch.entries[k]
		if e.Src.Contains(src) && e.Dst.Contains(dst) && matched(e, t, lo, hi).Contains(service) {
			return ch.names[k]
		}
	}
	return ch.end
}
