package aws

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// installed names the points that groups on interfaces stand for.
func installed(s *State) []string {
	on := map[string]bool{}
	for i := range s.Interfaces {
		on[s.identity(&s.Interfaces[i])] = true
	}
	var out []string
	for _, g := range s.Groups {
		if g.Ours && g.Of == "" && on[g.Key] {
			out = append(out, g.Points...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Decode gives a state its meaning: what every group on each judged interface lets through,
// ours or not. The same holds at both hooks, because both ends are looked at: a flow passes
// if the sender's groups let it out and the receiver's let it in.
func (d *Driver) Decode(s driver.State) (*driver.Decoded, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	m := &meaning{s: st, sets: map[string]int{}}
	m.judges()
	m.constants()
	m.cut()
	m.memo = m.answers()
	out := &driver.Decoded{Installed: installed(st), Findings: m.findings}
	// Only DHCP's clients are told from others by their port, so that answers are shared.
	others := m.answers()
	clients := map[uint16]answers{68: m.answers(), 546: m.answers()}
	for _, hook := range []string{"input", "output"} {
		for _, run := range [][2]uint16{{0, 67}, {68, 68}, {69, 545}, {546, 546}, {547, 65535}} {
			memo, ok := clients[run[0]]
			if !ok {
				memo = others
			}
			out.Relations = append(out.Relations, m.relation(hook, run, memo))
		}
	}
	return out, nil
}

// allow is all rules of one direction about the same services: which peers they have
// together. Rule by rule every prefix would be a set of its own, and cut all others.
type allow struct {
	peers    int // index of a set
	services packet.Services
	rules    []one
}

// one is a rule of a group, with its peers.
type one struct {
	peers packet.Addrs
	rule  *Rule
	group *Group
}

// judge is a set of groups that interfaces carry: they fare alike.
type judge struct {
	groups  []string
	members []*Interface
	vpc     string
	addrs   int        // index of a set
	lets    [2][]allow // in, out

}

// meaning is a state while it is decoded.
type meaning struct {
	s        *State
	findings []driver.Finding
	sets     map[string]int // index by contents
	list     []packet.Addrs
	judged   []*judge
	parts    []packet.Addrs
	in       []packet.Bits // part -> sets
	by       [][]*judge    // part -> who judges it
	memo     answers       // of filtered

	services, groupAddrs, wide4, wide6 int // sets of addresses that AWS treats apart
	resolver                           map[string]int
}

func (m *meaning) set(a packet.Addrs) int {
	k := a.Key()
	n, ok := m.sets[k]
	if !ok {
		n = len(m.list)
		m.sets[k] = n
		m.list = append(m.list, a)
	}
	return n
}

func (m *meaning) finding(object, format string, args ...any) {
	f := driver.Finding{Object: object, Text: fmt.Sprintf(format, args...)}
	if !slices.Contains(m.findings, f) {
		m.findings = append(m.findings, f)
	}
}

// judges collects the interfaces that bear an identity group of ours.
func (m *meaning) judges() {
	index := map[string]*judge{}
	skipped := map[string][]string{}
	for i := range m.s.Interfaces {
		n := &m.s.Interfaces[i]
		identities := 0
		for _, k := range n.Groups {
			// A function's own group judges nothing until it is somebody's.
			if g := m.s.group(k); g != nil && g.Ours && g.Of == "" && (g.Function == "" || len(g.Points) > 0) {
				identities++
			}
		}
		if n.Service != "" {
			skipped[n.Service] = append(skipped[n.Service], n.ID)
		}
		if identities == 0 {
			for _, k := range n.Groups {
				if g := m.s.group(k); g != nil && g.Ours && g.Of != "" {
					m.finding("interface "+n.ID, "it carries %q, which is part of another group of ours that it does not carry", g.Name)
				}
			}
			continue
		}
		if identities > 1 {
			m.finding("interface "+n.ID, "it carries %d of our identity groups: their rules hold together", identities)
		}
		k := n.VPC + " " + strings.Join(n.Groups, " ")
		if index[k] == nil {
			index[k] = &judge{groups: n.Groups, vpc: n.VPC}
			m.judged = append(m.judged, index[k])
		}
		index[k].members = append(index[k].members, n)
	}
	for _, j := range m.judged {
		var b packet.Builder
		for _, n := range j.members {
			for _, a := range n.Addrs {
				b.AddPrefix(a)
			}
		}
		j.addrs = m.set(b.Addrs())
		m.rules(j)
	}
	for _, service := range sortedKeys(skipped) {
		ids := skipped[service]
		text := fmt.Sprintf("%d interfaces belong to the service and are left alone: %s", len(ids), strings.Join(ids[:min(len(ids), 5)], ", "))
		m.findings = append(m.findings, driver.Finding{Object: fmt.Sprintf("service %q", service), Text: text, Harmless: true})
	}
}

func sortedKeys[V any](in map[string]V) []string {
	var out []string
	for k := range in {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (m *meaning) rules(j *judge) {
	index := [2]map[string]int{{}, {}}
	for _, k := range j.groups {
		g := m.s.group(k)
		if g == nil {
			m.finding("interface "+j.members[0].ID, "it carries group %q, whose rules are not known", k)
			continue
		}
		for i := range g.Rules {
			r := &g.Rules[i]
			svc, ok := ruleServices(r)
			if !ok {
				m.finding(m.name(g, r), "rule of a protocol that is not understood")
				continue
			}
			way := 0
			if r.Egress {
				way = 1
			}
			k := svc.String()
			n, ok := index[way][k]
			if !ok {
				n = len(j.lets[way])
				index[way][k] = n
				j.lets[way] = append(j.lets[way], allow{services: svc})
			}
			a := &j.lets[way][n]
			a.rules = append(a.rules, one{m.peers(g, r), r, g})
		}
	}
	for way := range j.lets {
		for i := range j.lets[way] {
			a := &j.lets[way][i]
			var b packet.Builder
			for _, r := range a.rules {
				b.AddSet(r.peers)
			}
			a.peers = m.set(b.Addrs())
		}
	}
}

func (m *meaning) name(g *Group, r *Rule) string {
	id := r.ID
	if id == "" {
		id = "(new)"
	}
	return fmt.Sprintf("rule %s of group %q (%s): %s", id, g.Name, g.ID, r)
}

// peers is whom a rule is about.
func (m *meaning) peers(g *Group, r *Rule) packet.Addrs {
	switch {
	case r.Unknown != "":
		m.finding(m.name(g, r), "%s: whom it lets through is not known", r.Unknown)
		return packet.Addrs{}
	case r.List != "":
		i := slices.IndexFunc(m.s.Lists, func(l List) bool { return l.ID == r.List })
		if i < 0 || m.s.Lists[i].Unread != "" {
			why := "it was not read"
			if i >= 0 {
				why = m.s.Lists[i].Unread
			}
			m.finding(m.name(g, r), "what prefix list %s holds is not known: %s", r.List, why)
			return packet.Addrs{}
		}
		return packet.AddrsOf(m.s.Lists[i].Entries...)
	case r.Peer == "":
		return packet.AddrsOf(r.Prefix)
	}
	var b packet.Builder
	for i := range m.s.Interfaces {
		n := &m.s.Interfaces[i]
		if !slices.Contains(n.Groups, r.Peer) || n.VPC != g.VPC && !m.peered(n.VPC, g.VPC) {
			continue
		}
		for _, a := range n.Addrs {
			b.AddPrefix(a)
		}
	}
	return b.Addrs()
}

func (m *meaning) peered(a, b string) bool {
	return slices.Contains(m.s.Active, [2]string{min(a, b), max(a, b)})
}

// ruleServices is what a rule is about on the service line. From and To of icmp are a type
// and a code (EC2 API reference, IpPermission).
func ruleServices(r *Rule) (packet.Services, bool) {
	whole := func(p uint32) packet.Services { return packet.Services{{Lo: p << 16, Hi: p<<16 | 0xffff}} }
	proto := uint32(0)
	switch r.Protocol {
	case "-1":
		return packet.AllServices(), true
	case "tcp":
		proto = 6
	case "udp":
		proto = 17
	case "icmp", "icmpv6":
		proto = 1
		if r.Protocol == "icmpv6" {
			proto = 58
		}
		switch {
		case r.From == -1:
			return whole(proto), r.To == -1
		case r.From < 0 || r.From > 255 || r.To < -1 || r.To > 255:
			return nil, false
		case r.To == -1:
			return packet.Services{{Lo: proto<<16 | uint32(r.From)<<8, Hi: proto<<16 | uint32(r.From)<<8 | 0xff}}, true
		}
		at := proto<<16 | uint32(r.From)<<8 | uint32(r.To)
		return packet.Services{{Lo: at, Hi: at}}, true
	default:
		n, err := strconv.ParseUint(r.Protocol, 10, 8)
		if err != nil {
			return nil, false
		}
		return whole(uint32(n)), true // ports of other protocols are ignored, and all pass
	}
	if r.From == -1 && r.To == -1 {
		return whole(proto), true
	}
	if r.From < 0 || r.To > 65535 || r.From > r.To {
		return nil, false
	}
	return packet.Services{{Lo: proto<<16 | uint32(r.From), Hi: proto<<16 | uint32(r.To)}}, true
}

// constants adds the addresses that AWS treats apart, and checks that each address is on one
// judged interface.
func (m *meaning) constants() {
	parse := func(list ...string) int {
		var out []netip.Prefix
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return m.set(packet.AddrsOf(out...))
	}
	m.set(packet.AddrsOf(netip.MustParsePrefix("0.0.0.0/0"))) // parts are of one family
	m.services = parse("169.254.169.123/32", "169.254.169.253/32", "169.254.169.254/32", "fd00:ec2::123/128", "fd00:ec2::253/128", "fd00:ec2::254/128")
	m.groupAddrs = parse("224.0.0.0/4", "255.255.255.255/32", "ff00::/8")
	m.wide4, m.wide6 = parse("255.255.255.255/32"), parse("ff02::1:2/128")
	m.resolver = map[string]int{}
	for _, v := range m.s.VPCs {
		if v.Primary.IsValid() {
			b := v.Primary.Masked().Addr().As4()
			b[3] += 2 // a network of a VPC is a /16 to a /28, and its base even
			m.resolver[v.ID] = m.set(packet.AddrsOf(netip.PrefixFrom(netip.AddrFrom4(b), 32)))
		}
	}
}

func (m *meaning) cut() {
	for _, c := range packet.Partition(m.list) {
		m.parts, m.in = append(m.parts, c.Addrs), append(m.in, c.In)
	}
	m.by = make([][]*judge, len(m.parts))
	for _, j := range m.judged {
		for p := range m.parts {
			if !m.in[p].Has(j.addrs) {
				continue
			}
			if m.by[p] = append(m.by[p], j); len(m.by[p]) > 1 {
				m.finding("address "+m.parts[p].First().String(), "it is on interfaces %s and %s, whose groups differ: which of them a flow meets is not known",
					m.by[p][0].members[0].ID, j.members[0].ID)
			}
		}
	}
}

// side is what the groups of one end let through: way 0 into part at, from peer; way 1 out
// of at, to peer.
func (m *meaning) side(way, at, peer int) packet.Services {
	out := packet.AllServices()
	for _, j := range m.by[at] {
		var mine packet.Services
		for i := range j.lets[way] {
			if a := &j.lets[way][i]; m.in[peer].Has(a.peers) {
				mine = mine.Union(a.services)
			}
		}
		out = out.Intersect(mine)
	}
	return out
}

// filtered is what groups let through between two parts, of what they judge.
func (m *meaning) filtered(src, dst int) packet.Services {
	return m.memo.get(src, dst, func() packet.Services {
		s := m.side(1, src, dst)
		if !s.IsEmpty() {
			s = s.Intersect(m.side(0, dst, src))
		}
		return s
	})
}

// answers remembers what was worked out between two parts. Each answer is one value however
// often it is given, by which the proof knows it again.
type answers struct {
	of    []packet.Services
	known []bool
	n     int
}

func (m *meaning) answers() answers {
	n := len(m.parts)
	return answers{make([]packet.Services, n*n), make([]bool, n*n), n}
}

func (a answers) get(src, dst int, f func() packet.Services) packet.Services {
	k := src*a.n + dst
	if !a.known[k] {
		a.of[k], a.known[k] = f(), true
	}
	return a.of[k]
}

// passes adds what passes whatever groups say, and takes away what a VPC does not carry.
func (m *meaning) passes(src, dst int, run [2]uint16) packet.Services {
	udp := func(port uint32) packet.Services { return packet.Services{{Lo: 17<<16 | port, Hi: 17<<16 | port}} }
	var out packet.Services
	switch {
	case m.in[dst].Has(m.services) && len(m.by[dst]) == 0:
		return packet.AllServices()
	case !m.in[dst].Has(m.groupAddrs):
		out = m.filtered(src, dst)
	case m.in[dst].Has(m.wide4) && run[0] == 68 && run[1] == 68:
		out = udp(67)
	case m.in[dst].Has(m.wide6) && run[0] == 546 && run[1] == 546:
		out = udp(547)
	}
	if !m.parts[dst].First().Is4() {
		out = out.Union(packet.Services{{Lo: 58<<16 | 133<<8, Hi: 58<<16 | 137<<8 | 255}}) // RFC 4861
	}
	for _, j := range m.by[src] {
		if n, ok := m.resolver[j.vpc]; ok && m.in[dst].Has(n) {
			out = out.Union(udp(53)).Union(packet.Services{{Lo: 6<<16 | 53, Hi: 6<<16 | 53}})
		}
	}
	return out
}

func (m *meaning) relation(hook string, run [2]uint16, memo answers) driver.Relation {
	return driver.Relation{
		Situation: driver.Situation{Hook: hook, Tracking: driver.TrackNew, SrcPortLo: run[0], SrcPortHi: run[1]},
		Src:       m.parts, Dst: m.parts,
		Permit: func(i, j int) packet.Services {
			return memo.get(i, j, func() packet.Services { return m.passes(i, j, run) })
		},
		Why: m.why,
	}
}

// why names what decides a flow.
func (m *meaning) why(src, dst netip.Addr, service uint32) string {
	part := func(a netip.Addr) int {
		return slices.IndexFunc(m.parts, func(s packet.Addrs) bool { return s.Contains(a) })
	}
	i, j := part(src), part(dst)
	if m.in[j].Has(m.groupAddrs) {
		return "a VPC, which carries no multicast but its own DHCP and neighbour discovery"
	}
	if m.in[j].Has(m.services) {
		return "a service of AWS that security groups do not filter"
	}
	var by []string
	peer := [2]netip.Addr{src, dst}
	for way, ends := range [][2]int{{j, i}, {i, j}} {
		for _, at := range m.by[ends[0]] {
			name := ""
			for _, a := range at.lets[way] {
				for _, r := range a.rules {
					if name == "" && a.services.Contains(service) && r.peers.Contains(peer[way]) {
						name = m.name(r.group, r.rule)
					}
				}
			}
			if name == "" {
				return fmt.Sprintf("no %s rule of the groups of interface %s", []string{"inbound", "outbound"}[way], at.members[0].ID)
			}
			by = append(by, name)
		}
	}
	if len(by) == 0 {
		return "no group of ours on an interface of either end"
	}
	return strings.Join(by, ", and ")
}
