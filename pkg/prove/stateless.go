package prove

import (
	"fmt"
	"net/netip"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// stateless tells the hooks at which a device keeps no state: those where it says what it
// does with segments that open nothing (driver.TrackMid).
func stateless(d *driver.Decoded) map[string]bool {
	out := map[string]bool{}
	for i := range d.Relations {
		if s := d.Relations[i].Situation; s.Tracking == driver.TrackMid {
			out[s.Hook] = true
		}
	}
	return out
}

// Stateless makes the expectation that of a device that keeps no state: Answers gives what
// must pass besides what opens flows.
func (e *Expected) Stateless() {
	back := *e
	back.s.SrcPortLo, back.s.SrcPortHi, back.s.Tracking = 0, 65535, driver.TrackNew
	back.memo = map[[2]int]packet.Services{}
	e.back, e.answers = &back, map[[2]int]packet.Services{}
}

// Answers gives the services of packets from one part to another that must pass because they
// belong to permitted flows of the other direction, or report an error about one of either. It
// is empty unless the device keeps no state.
func (e *Expected) Answers(src, dst int) packet.Services {
	if e.back == nil {
		return nil
	}
	key := [2]int{src, dst}
	if s, ok := e.answers[key]; ok {
		return s
	}
	s := e.answered(e.Addrs[src].First(), e.Addrs[dst].First(), e.class[src], e.class[dst])
	e.answers[key] = s
	return s
}

func (e *Expected) answered(src, dst netip.Addr, srcClass, dstClass int) packet.Services {
	if src.Is4() != dst.Is4() || compile.Multicast().Contains(src) || compile.Multicast().Contains(dst) {
		return nil // who is asked by a group address answers from its own
	}
	asked := e.back.permit(dst, src, dstClass, srcClass)
	reports := len(asked) > 0 || len(e.back.permit(src, dst, srcClass, dstClass)) > 0
	return answering(e.s, asked, reports, src)
}

// answering gives what of a situation answers flows of some services, sent by src to whom may
// open them. reports is set where ICMP errors are to pass, because the two may talk.
func answering(s driver.Situation, asked packet.Services, reports bool, src netip.Addr) packet.Services {
	var out packet.Services
	switch s.Tracking {
	case driver.TrackLater:
		return laterAnswers(asked)
	case driver.TrackMid:
		return compile.Answers(asked, s.SrcPortLo, s.SrcPortHi).Intersect(tcp)
	case driver.TrackNew:
		out = compile.Answers(asked, s.SrcPortLo, s.SrcPortHi).Subtract(tcp)
		if reports {
			out = out.Union(errorsOf(src))
		}
	}
	return out
}

var tcp = packet.Services{{Lo: 6 << 16, Hi: 6<<16 | 0xffff}}

// laterAnswers gives the services of which a later fragment of an answer may be a piece. It has no
// ports, so that it may be of any service of its protocol.
func laterAnswers(asked packet.Services) packet.Services {
	out := compile.Replies(asked)
	next := uint32(0)
	for _, span := range asked {
		for proto := max(next, span.Lo>>16); proto <= span.Hi>>16; proto++ {
			next = proto + 1
			whole := packet.Services{{Lo: proto << 16, Hi: proto<<16 | 0xffff}}
			switch {
			case packet.HasPorts(uint8(proto)):
				out = out.Union(whole)
			case !packet.IsICMP(uint8(proto)):
				out = out.Union(whole.Intersect(asked))
			}
		}
	}
	return out
}

// errorsOf gives the ICMP errors of an address's own family.
func errorsOf(a netip.Addr) packet.Services {
	of := uint32(58)
	if a.Is4() {
		of = 1
	}
	return compile.ICMPErrors().Intersect(packet.Services{{Lo: of << 16, Hi: of<<16 | 0xffff}})
}

// opens gives what can occur in a situation of a device that keeps no state.
func opens(t driver.Tracking) packet.Services {
	if t == driver.TrackMid {
		return tcp
	}
	return packet.AllServices()
}

// answer says of a packet that was dropped and must pass that it answers a flow.
func answer(c *Counterexample) {
	c.Answer = true
	c.Policy = fmt.Sprintf("it belongs to a flow that %s may open to %s, or reports an error about one between them", c.Dst, c.Src)
}
