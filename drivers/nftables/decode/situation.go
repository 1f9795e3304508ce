package decode

import (
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// tracks are the services of new packets by what connection tracking makes of
// them; see the package comment for where this comes from.
type firsts struct{ fresh, invalid, untracked packet.Services }

func firstsOf(dom uint8) firsts {
	icmp := func(proto uint8, types ...[2]uint8) packet.Services {
		var spans []packet.Span
		for _, t := range types {
			spans = append(spans, packet.Span{
				Lo: packet.Point(proto, uint16(t[0])<<8), Hi: packet.Point(proto, uint16(t[1])<<8|0xff),
			})
		}
		return packet.Spans(spans)
	}
	var queries, discovery packet.Services
	if dom == dom4 {
		queries = icmp(1, [2]uint8{8, 8}, [2]uint8{13, 13}, [2]uint8{15, 15}, [2]uint8{17, 17})
	} else {
		queries = icmp(58, [2]uint8{128, 128}, [2]uint8{139, 139})
		discovery = icmp(58, [2]uint8{130, 136}, [2]uint8{143, 143})
	}
	return firsts{
		fresh:     packet.AllServices().Subtract(icmpServices()).Union(queries),
		invalid:   icmpServices().Subtract(queries).Subtract(discovery),
		untracked: discovery,
	}
}

// starts lists the states in which the packets of a situation enter a hook. A
// service that cannot occur in the situation enters as its first packet would.
// marks are those that an expected connection may have inherited.
func (m *machine) starts(hook string, t driver.Tracking, marks []uint32) [2][]state {
	var out [2][]state
	for fam := range out {
		dom := domOf(fam)
		f := firstsOf(dom)
		add := func(svc packet.Services, ct tracked, swap bool, mark uint32) {
			if len(svc) > 0 {
				out[fam] = append(out[fam], m.start(hook, dom, swap, svc, ct, word(mark)))
			}
		}
		switch t {
		case driver.TrackUntracked:
			add(packet.AllServices(), ctUntracked, false, 0)
			continue
		case driver.TrackNew:
			add(f.fresh, ctNew, false, 0)
		case driver.TrackForward:
			add(f.fresh, ctForward, false, 0)
		case driver.TrackReply:
			add(f.fresh, ctReply, true, 0)
		case driver.TrackRelated:
			for _, mark := range marks {
				add(f.fresh.Subtract(icmpServices()), ctRelated, false, mark)
			}
			add(f.fresh.Intersect(icmpServices()), ctNew, false, 0)
		}
		add(f.invalid, ctInvalid, false, 0)
		add(f.untracked, ctUntracked, false, 0)
	}
	return out
}

// established lists the states in which packets of flows that bear a mark enter.
func (m *machine) established(hook string, reply bool, mark uint32) [2][]state {
	var out [2][]state
	for fam := range out {
		dom := domOf(fam)
		ct := ctForward
		if reply {
			ct = ctReply
		}
		out[fam] = []state{m.start(hook, dom, reply, firstsOf(dom).fresh, ct, word(mark))}
	}
	return out
}

// turned lists the states in which packets of TCP flows that were picked up from
// their far end enter: they bear a reversed mark, and the direction that
// connection tracking names is the opposite of the flow's.
func (m *machine) turned(hook string, reply bool, mark uint32) [2][]state {
	var out [2][]state
	for fam := range out {
		ct := ctReply
		if reply {
			ct = ctForward
		}
		st := m.start(hook, domOf(fam), reply, protoServices(6), ct, word(mark))
		st.turned = true
		out[fam] = []state{st}
	}
	return out
}
