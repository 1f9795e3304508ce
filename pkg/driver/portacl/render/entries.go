package render

import (
	"net/netip"
	"slices"
	"strconv"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

var (
	all4 = netip.MustParsePrefix("0.0.0.0/0")
	all6 = netip.MustParsePrefix("::/0")
)

func everybody(four bool) netip.Prefix {
	if four {
		return all4
	}
	return all6
}

// step is between the numbers of entries, as operators are used to.
const step = 10

// entries writes the list of a unit. For each of the unit's own parts it decides what passes
// between it and everybody, and in the end what is nobody's business.
func (x *fabric) entries(u *unit, dir portacl.Direction, family portacl.Family) []portacl.Entry {
	var out []portacl.Entry
	for _, four := range []bool{true, false} {
		if family == portacl.IPv4 && !four || family == portacl.IPv6 && four {
			continue
		}
		closed := dir == portacl.Out || x.f.Strangers
		for part := range x.w.Parts {
			if x.w.Four(part) != four {
				continue
			}
			mine := x.w.Parts[part].Intersect(u.addrs)
			if mine.IsEmpty() && dir == portacl.Out && x.w.Multicast(part) {
				mine = x.w.Parts[part]
			}
			if !mine.IsEmpty() {
				out = append(out, x.section(part, mine.Prefixes(), dir, closed)...)
			}
		}
		if !closed {
			out = append(out, x.newcomers(four)...)
		}
		out = append(out, portacl.New(closed, portacl.AnyProto, everybody(four), everybody(four)))
	}
	for i := range out {
		out[i].Name = strconv.Itoa((i + 1) * step)
	}
	return out
}

// peers are parts that fare alike with one.
type peers struct {
	shape *shape
	addrs packet.Addrs
}

// section decides what passes between an own part and everybody, in the shorter of two ways:
// what is permitted by its services, or peer by peer. closed demands that nothing of the
// part's is left for the end of the list to decide.
func (x *fabric) section(own int, mine []netip.Prefix, dir portacl.Direction, closed bool) []portacl.Entry {
	four := x.w.Four(own)
	var groups []peers
	index := map[int]int{}
	for peer := range x.w.Parts {
		if x.w.Four(peer) != four {
			continue
		}
		src, dst := own, peer
		if dir == portacl.Out {
			src, dst = peer, own
		}
		n := x.shapeOf(src, dst)
		g, ok := index[n]
		if !ok {
			g = len(groups)
			index[n] = g
			groups = append(groups, peers{shape: x.shapes[n]})
		}
		groups[g].addrs = groups[g].addrs.Union(x.w.Parts[peer])
	}
	if dir == portacl.Out {
		groups = x.withErrors(own, groups)
	}
	one, two := x.byService(groups, four, closed), x.byPeer(groups, four)
	if len(two) < len(one) {
		one = two
	}
	var out []portacl.Entry
	for _, me := range mine {
		for _, e := range one {
			e.Src = me // Dst is the peer
			if dir == portacl.Out {
				e.Src, e.Dst = e.Dst, me
			}
			out = append(out, e)
		}
	}
	return out
}

// withErrors lets ICMP errors in from everybody: routers on the way report them, whoever may
// talk, and without them large packets vanish.
func (x *fabric) withErrors(own int, groups []peers) []peers {
	if x.w.Multicast(own) {
		return groups
	}
	for i := range groups {
		s := *groups[i].shape
		s.errors, s.always = errorsOf(s.four), nil
		groups[i].shape = &s
	}
	return groups
}

// shared is an entry with all peers that have it.
type shared struct {
	entry portacl.Entry
	peers packet.Builder
	addrs packet.Addrs
	rules []rule
	deny  packet.Addrs // of which the rules say that they do not have it
}

// byService writes permits, each for all peers that have it. What is left is dropped.
func (x *fabric) byService(groups []peers, four, closed bool) []portacl.Entry {
	var list []*shared
	index := map[portacl.Entry]*shared{}
	for _, g := range groups {
		for _, e := range x.template(g.shape, false) {
			if !e.Permit {
				continue
			}
			s := index[e]
			if s == nil {
				s = &shared{entry: e}
				index[e] = s
				list = append(list, s)
			}
			s.peers.AddSet(g.addrs)
		}
	}
	slices.SortStableFunc(list, func(a, b *shared) int { return rank(a.entry) - rank(b.entry) })
	var out []portacl.Entry
	put := func(s *shared) {
		for _, r := range s.rules {
			e := s.entry
			e.Dst, e.Permit = r.prefix, r.in
			out = append(out, e)
		}
	}
	// Those that say no to somebody come last: a packet that meets a no has met all permits
	// but those of the same kind behind it, which must have none for it.
	var last []*shared
	for _, s := range list {
		s.addrs = s.peers.Addrs()
		s.rules = cover(s.addrs, four)
		if s.deny = denied(s.addrs, s.rules); s.deny.IsEmpty() {
			put(s)
			continue
		}
		clash := slices.ContainsFunc(last, func(o *shared) bool {
			return meet(&s.entry, &o.entry) && (s.deny.Overlaps(o.addrs) || o.deny.Overlaps(s.addrs))
		})
		if !clash {
			last = append(last, s)
			continue
		}
		s.rules = nil
		for _, p := range s.addrs.Prefixes() {
			s.rules = append(s.rules, rule{p, true})
		}
		put(s)
	}
	for _, s := range last {
		put(s)
	}
	if closed {
		out = append(out, portacl.New(false, portacl.AnyProto, everybody(four), everybody(four)))
	}
	return out
}

// rank puts what is wide first: a device compares from the top, and a reader reads from there.
func rank(e portacl.Entry) int {
	switch {
	case e.Proto == portacl.AnyProto:
		return 0
	case !e.Layer4() && !e.Later:
		return 1
	case !e.SrcPorts.All():
		return 3
	}
	return 2
}

// byPeer decides everything for one group of peers after the other. The largest is written as
// everybody in the end: the others were decided before it.
func (x *fabric) byPeer(groups []peers, four bool) []portacl.Entry {
	order := slices.Clone(groups)
	count := func(g peers) int { return len(g.addrs.Prefixes()) }
	slices.SortStableFunc(order, func(a, b peers) int { return count(a) - count(b) })
	var out []portacl.Entry
	for n, g := range order {
		list := g.addrs.Prefixes()
		if n == len(order)-1 {
			list = []netip.Prefix{everybody(four)}
		}
		entries := x.template(g.shape, true)
		for _, p := range list {
			for _, e := range entries {
				e.Dst = p
				out = append(out, e)
			}
		}
	}
	return out
}

// template writes what passes between two parts, without their addresses. If it decides, it
// decides every packet; else it is permits, and what is left is dropped.
func (x *fabric) template(s *shape, decides bool) []portacl.Entry {
	var wholes, partial, none []int
	for proto := range 256 {
		switch {
		case s.whole(proto):
			wholes = append(wholes, proto)
		case s.any(proto):
			partial = append(partial, proto)
		default:
			none = append(none, proto)
		}
	}
	entry := func(permit bool, proto int) portacl.Entry {
		return portacl.New(permit, proto, netip.Prefix{}, netip.Prefix{})
	}
	if len(wholes) == 256 {
		return []portacl.Entry{entry(true, portacl.AnyProto)}
	}
	rest := decides && len(wholes) > len(none) // what passes unless something is said
	var out []portacl.Entry
	for _, proto := range partial {
		out = append(out, x.protocol(s, proto)...)
		if rest {
			out = append(out, entry(false, proto))
		}
	}
	said := wholes
	if rest {
		said = none
	}
	for _, proto := range said {
		out = append(out, entry(!rest, proto))
	}
	if decides {
		out = append(out, entry(rest, portacl.AnyProto))
	}
	return out
}

// protocol writes the permits of a protocol of which a part passes.
func (x *fabric) protocol(s *shape, proto int) []portacl.Entry {
	base := portacl.New(true, proto, netip.Prefix{}, netip.Prefix{})
	var out []portacl.Entry
	if x.f.Later && s.some(proto) {
		later := base
		later.Later = true
		out = append(out, later)
	}
	if packet.IsICMP(uint8(proto)) {
		services := s.opens.Union(compile.Replies(s.back)).Union(s.errors)
		for _, e := range s.extra {
			services = services.Union(e.services.Intersect(line(proto)))
		}
		return append(out, messages(base, services.Intersect(line(proto)).Subtract(s.cut))...)
	}
	if !packet.HasPorts(uint8(proto)) {
		return append(out, base) // of such a protocol everything passes or nothing
	}
	ports := func(services packet.Services, put func(e *portacl.Entry, p portacl.Ports)) {
		for _, span := range services.Intersect(line(proto)) {
			e := base
			put(&e, portacl.Ports{Lo: uint16(span.Lo), Hi: uint16(span.Hi)})
			out = append(out, e)
		}
	}
	ports(s.opens, func(e *portacl.Entry, p portacl.Ports) { e.DstPorts = p })
	for _, more := range s.extra {
		ports(more.services, func(e *portacl.Entry, p portacl.Ports) {
			e.DstPorts, e.SrcPorts = p, portacl.Ports{Lo: more.run.Lo, Hi: more.run.Hi}
		})
	}
	ports(s.back, func(e *portacl.Entry, p portacl.Ports) { e.SrcPorts, e.Established = p, proto == 6 })
	return out
}

// messages writes ICMP messages: by type, and by code where only some codes of one pass.
func messages(base portacl.Entry, services packet.Services) []portacl.Entry {
	var out []portacl.Entry
	for _, span := range services {
		lo, hi := span.Lo&0xffff, span.Hi&0xffff
		for lo <= hi {
			e := base
			e.Type = int(lo >> 8)
			next := lo + 1
			if lo&0xff == 0 && lo|0xff <= hi {
				next = lo | 0xff + 1
			} else {
				e.Code = int(lo & 0xff)
			}
			out = append(out, e)
			lo = next
		}
	}
	return out
}

// newcomers lets a device get addresses: it has none yet, or those of its link only.
func (x *fabric) newcomers(four bool) []portacl.Entry {
	var out []portacl.Entry
	permit := func(proto int, src string, edit func(*portacl.Entry)) {
		e := portacl.New(true, proto, netip.MustParsePrefix(src), everybody(four))
		if edit != nil {
			edit(&e)
		}
		out = append(out, e)
	}
	port := func(src, dst uint16) func(*portacl.Entry) {
		return func(e *portacl.Entry) {
			e.SrcPorts, e.DstPorts = portacl.Ports{Lo: src, Hi: src}, portacl.Ports{Lo: dst, Hi: dst}
		}
	}
	kind := func(n int) func(*portacl.Entry) { return func(e *portacl.Entry) { e.Type = n } }
	if four {
		if x.w.Wants(compile.EssentialDHCP) {
			permit(17, "0.0.0.0/32", port(68, 67))
		}
		if x.w.Wants(compile.EssentialIGMP) {
			permit(2, "0.0.0.0/32", nil)
		}
		return out
	}
	for _, src := range []string{"fe80::/10", "::/128"} {
		if x.w.Wants(compile.EssentialND) {
			for n := 133; n <= 137; n++ {
				permit(58, src, kind(n))
			}
		}
		if x.w.Wants(compile.EssentialMLD) {
			for _, n := range []int{130, 131, 132, 143} {
				permit(58, src, kind(n))
			}
		}
	}
	if x.w.Wants(compile.EssentialDHCP) {
		permit(17, "fe80::/10", port(546, 547))
	}
	return out
}

// Essential lists the traffic that passes whatever policy says, by the names that switch it
// off.
func Essential(points []compile.Point) []string {
	var out []string
	for _, name := range []string{compile.EssentialARP, compile.EssentialND, compile.EssentialMLD, compile.EssentialIGMP, compile.EssentialDHCP} {
		if slices.ContainsFunc(points, func(p compile.Point) bool {
			return p.Mode != policy.Observe && (!p.Off[name] || name == compile.EssentialARP)
		}) {
			out = append(out, name)
		}
	}
	return out
}
