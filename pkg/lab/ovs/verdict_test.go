package ovs

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/lab"
)

// seen is a packet as a list sees it.
type seen struct {
	four               bool
	src, dst           netip.Addr
	proto              uint8
	known              bool // the protocol
	srcPort, dstPort   uint16
	kind, code         uint8
	flags              uint8
	first, later, deep bool // a first fragment, a later one; the transport header is there
}

// packets are those that a probe sends.
func packets(q *lab.Probe) []seen {
	p := seen{four: q.Dst.Is4(), src: q.Src, dst: q.Dst, proto: q.Proto, known: true, srcPort: q.SrcPort, dstPort: q.Num,
		kind: uint8(q.Num >> 8), code: uint8(q.Num), flags: q.Flags, deep: true}
	if p.flags == 0 {
		p.flags = lab.SYN
	}
	var out []seen
	for i := range max(q.Fragments, 1) {
		if q.Only > 0 && q.Only != i+1 {
			continue
		}
		x := p
		x.first, x.later = q.Fragments > 1 && i == 0, i > 0
		x.deep, x.known = !x.later, p.four || !x.later
		out = append(out, x)
	}
	return out
}

// matches says what an entry says, in the words of its comments: the test's own reading.
func (e *Entry) matchesPacket(p *seen) bool {
	in := func(list []Ports, port uint16) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(r Ports) bool { return r.From <= port && port <= r.To })
	}
	deep := len(e.SrcPorts)+len(e.DstPorts) > 0 || e.Type != nil || e.Established || e.Flags != 0
	switch {
	case e.Ethertype != IPv4 && e.Ethertype != IPv6, p.four != (e.Ethertype == IPv4),
		e.Proto != nil && (!p.known || *e.Proto != p.proto),
		e.Src.IsValid() && !e.Src.Contains(p.src), e.Dst.IsValid() && !e.Dst.Contains(p.dst),
		deep && !p.deep,
		!in(e.SrcPorts, p.srcPort), !in(e.DstPorts, p.dstPort),
		e.Type != nil && *e.Type != p.kind, e.Code != nil && *e.Code != p.code,
		e.Established && p.flags&(lab.ACK|lab.RST) == 0, p.flags&e.Flags != e.Flags:
		return false
	}
	return map[Fragments]bool{AnyFragment: true, WholePacket: !p.first && !p.later, AnyPiece: p.first || p.later,
		FirstPiece: p.first, LaterPiece: p.later, NotLater: !p.later}[e.Fragments]
}

func (a ACLs) permits(port int, d Direction, p *seen) bool {
	for _, l := range a {
		if l.Port != port || l.Direction != d {
			continue
		}
		for i := range l.Entries {
			if l.Entries[i].matchesPacket(p) {
				return l.Entries[i].Permit
			}
		}
		return !(p.four && l.Drop4 || !p.four && l.Drop6)
	}
	return true
}

// arrives tells whether all of a probe gets through the lists.
func arrives(s *Switch, a ACLs, q *lab.Probe) bool {
	from, to := slices.Index(s.hosts, q.From)+1, slices.Index(s.hosts, s.Net.Owner(q.Dst))+1
	for _, p := range packets(q) {
		if !a.permits(from, In, &p) || !a.permits(to, Out, &p) {
			return false
		}
	}
	return true
}

// What the random lists and probes are about is few, so that they meet.
var (
	somePorts = []uint16{0, 1, 22, 80, 443, 1023, 1024, 32768, 50000, 65535}
	someTypes = []uint16{0, 3<<8 | 1, 3<<8 | 4, 8 << 8, 11 << 8, 13 << 8}
	types6    = []uint16{1 << 8, 1<<8 | 4, 2 << 8, 3 << 8, 128 << 8, 129 << 8}
	protocols = []uint8{1, 6, 17, 47, 132, 255}
)

func drawAddr(t *rapid.T, s *Switch, four bool, name string) netip.Addr {
	host := rapid.SampledFrom(s.Net.Hosts()).Draw(t, name)
	return s.Net.Addr(host, four)
}

func drawPrefix(t *rapid.T, s *Switch, four bool, name string) netip.Prefix {
	a := drawAddr(t, s, four, name)
	p, err := a.Prefix(rapid.SampledFrom([]int{0, 8, a.BitLen() - 2, a.BitLen() - 1, a.BitLen(), a.BitLen()}).Draw(t, name+" bits"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func drawPorts(t *rapid.T, name string) []Ports {
	var out []Ports
	for range rapid.SampledFrom([]int{0, 0, 1, 1, 2}).Draw(t, name) {
		a, b := rapid.SampledFrom(somePorts).Draw(t, name+" a"), rapid.SampledFrom(somePorts).Draw(t, name+" b")
		out = append(out, Ports{min(a, b), max(a, b)})
	}
	return out
}

// drawEntry draws an entry that the switch can do.
func drawEntry(t *rapid.T, s *Switch) Entry {
	four := rapid.Bool().Draw(t, "four")
	e := Entry{Permit: rapid.Bool().Draw(t, "permit"), Ethertype: IPv6}
	kinds := types6
	if four {
		e.Ethertype, kinds = IPv4, someTypes
	}
	if rapid.Bool().Draw(t, "src") {
		e.Src = drawPrefix(t, s, four, "src")
	}
	if rapid.Bool().Draw(t, "dst") {
		e.Dst = drawPrefix(t, s, four, "dst")
	}
	e.Fragments = Fragments(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 3, 4, 5}).Draw(t, "fragments"))
	proto := rapid.SampledFrom(append(protocols, 0, 0)).Draw(t, "proto")
	if proto == 1 && !four {
		proto = protoICMPv6
	}
	if proto == 0 || e.Fragments == LaterPiece && !four {
		return e
	}
	e.Proto = &proto
	if e.Fragments == LaterPiece {
		return e
	}
	switch proto {
	case protoTCP, protoUDP, protoSCTP:
		e.SrcPorts, e.DstPorts = drawPorts(t, "src ports"), drawPorts(t, "dst ports")
		if proto == protoTCP {
			e.Established = rapid.IntRange(0, 3).Draw(t, "established") == 0
			e.Flags = rapid.SampledFrom([]uint8{0, 0, 0, lab.SYN, lab.ACK, lab.SYN | lab.ACK}).Draw(t, "flags")
		}
	case protoICMP, protoICMPv6:
		k := rapid.SampledFrom(kinds).Draw(t, "type")
		if rapid.Bool().Draw(t, "has type") {
			e.Type = new(uint8(k >> 8))
			if rapid.Bool().Draw(t, "has code") {
				e.Code = new(uint8(k))
			}
		}
	}
	return e
}

func drawACLs(s *Switch) *rapid.Generator[ACLs] {
	return rapid.Custom(func(t *rapid.T) ACLs {
		var out ACLs
		for port := 1; port <= s.Ports(); port++ {
			for _, d := range []Direction{In, Out} {
				if rapid.IntRange(0, 2).Draw(t, "list") == 0 {
					continue
				}
				l := List{Port: port, Direction: d, Drop4: rapid.Bool().Draw(t, "drop4"), Drop6: rapid.Bool().Draw(t, "drop6")}
				for range rapid.IntRange(0, 8).Draw(t, "entries") {
					l.Entries = append(l.Entries, drawEntry(t, s))
				}
				out = append(out, l)
			}
		}
		return out
	})
}

func drawProbe(s *Switch) *rapid.Generator[lab.Probe] {
	return rapid.Custom(func(t *rapid.T) lab.Probe {
		four := rapid.Bool().Draw(t, "four")
		from := rapid.SampledFrom(s.Net.Hosts()).Draw(t, "from")
		to := rapid.SampledFrom(slices.DeleteFunc(s.Net.Hosts(), func(h string) bool { return h == from })).Draw(t, "to")
		q := lab.Probe{From: from, Src: s.Net.Addr(from, four), Dst: s.Net.Addr(to, four), Proto: rapid.SampledFrom(protocols).Draw(t, "proto")}
		if rapid.IntRange(0, 4).Draw(t, "spoofed") == 0 {
			q.Src = drawAddr(t, s, four, "src")
		}
		switch q.Proto {
		case protoTCP, protoUDP, protoSCTP:
			q.Num = rapid.SampledFrom(somePorts).Draw(t, "port")
			q.SrcPort = max(rapid.SampledFrom(somePorts).Draw(t, "src port"), 1) // 0 is one that the prober chooses
			if q.Proto == protoTCP {
				q.Flags = rapid.SampledFrom([]uint8{0, lab.ACK, lab.SYN | lab.ACK, lab.RST, lab.FIN | lab.ACK, lab.PSH}).Draw(t, "flags")
			}
		case protoICMP:
			q.Num = rapid.SampledFrom(someTypes).Draw(t, "type")
			if !four {
				q.Proto, q.Num = protoICMPv6, rapid.SampledFrom(types6).Draw(t, "type")
			}
		}
		if q.Proto != 47 && q.Proto != 255 && q.Proto != protoSCTP && rapid.IntRange(0, 2).Draw(t, "cut") == 0 {
			q.Fragments = rapid.IntRange(2, 3).Draw(t, "fragments")
			q.Only = rapid.IntRange(0, q.Fragments).Draw(t, "only")
		}
		return q
	})
}

// Real packets fare as the lists say, whatever they say.
func TestRandomListsAgainstPackets(t *testing.T) {
	s := newSwitch(t, Options{Hosts: Hosts(3)})
	p := newProber(t, s)
	lists, probe := drawACLs(s), drawProbe(s)
	begin, verdicts, arrived := time.Now(), 0, 0
	for round := range tries.Of(30) {
		a := lists.Example(round)
		if err := s.SetACLs(t.Context(), a); err != nil {
			t.Fatalf("%+v: %v", a, err)
		}
		var probes []lab.Probe
		for i := range 200 {
			probes = append(probes, probe.Example(round*1000+i))
		}
		expect(t, s, p, fmt.Sprintf("round %d", round), probes, func(q *lab.Probe) bool {
			verdicts++
			got := arrives(s, a, q)
			if got {
				arrived++
			}
			return got
		})
	}
	if tries.All && (arrived < verdicts/10 || arrived > verdicts*9/10) {
		t.Errorf("%d of %d packets pass: the lists say too little", arrived, verdicts)
	}
	t.Logf("%d verdicts, %d of them to pass, in %s", verdicts, arrived, time.Since(begin))
}
