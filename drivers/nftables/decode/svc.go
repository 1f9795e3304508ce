package decode

import (
	"sync"

	"bulkhead/pkg/packet"
)

// Protocols by what their transport header begins with.
// They are made once: rules that load from the transport header ask for them, and
// a large ruleset executes millions of those.
var (
	portSet = sync.OnceValue(func() packet.Services { return protoServices(6, 17, 33, 132, 136) })
	icmpSet = sync.OnceValue(func() packet.Services { return protoServices(1, 58) })
	bareSet = sync.OnceValue(func() packet.Services {
		return packet.AllServices().Subtract(portSet()).Subtract(icmpSet())
	})
)

func portServices() packet.Services { return portSet() }

func icmpServices() packet.Services { return icmpSet() }

// otherServices are those of protocols whose header means nothing here.
func otherServices() packet.Services { return bareSet() }

func protoServices(protos ...uint8) packet.Services {
	spans := make([]packet.Span, len(protos))
	for i, p := range protos {
		spans[i] = packet.Span{Lo: packet.Point(p, 0), Hi: packet.Point(p, 0xffff)}
	}
	return packet.Spans(spans)
}

// protoNum is a rectangle of the service line: protocols by numbers.
type protoNum struct {
	pLo, pHi uint32
	nums     []packet.Span // within 0 to 0xffff; nil is all of them
}

func anyService() protoNum { return protoNum{0, 255, nil} }

// within cuts a service set down to a rectangle.
func (r protoNum) within(s packet.Services) packet.Services {
	if r.pLo > r.pHi {
		return nil
	}
	box := packet.Services{{Lo: r.pLo << 16, Hi: r.pHi<<16 | 0xffff}}
	if r.nums == nil {
		return s.Intersect(box)
	}
	if r.pLo == r.pHi {
		return s.Intersect(shifted(nil, r.pLo, r.nums))
	}
	s = s.Intersect(box)
	var want []packet.Span
	next := uint32(0)
	for _, sp := range s {
		for p := max(next, sp.Lo>>16); p <= sp.Hi>>16; p++ {
			want = shifted(want, p, r.nums)
			next = p + 1
		}
	}
	return s.Intersect(packet.Spans(want))
}

func shifted(out []packet.Span, proto uint32, nums []packet.Span) packet.Services {
	for _, n := range nums {
		out = append(out, packet.Span{Lo: proto<<16 | n.Lo, Hi: proto<<16 | n.Hi})
	}
	return out
}

// and intersects two rectangles.
func (r protoNum) and(o protoNum) protoNum {
	out := protoNum{pLo: max(r.pLo, o.pLo), pHi: min(r.pHi, o.pHi), nums: r.nums}
	switch {
	case r.nums == nil:
		out.nums = o.nums
	case o.nums != nil:
		out.nums = append([]packet.Span{}, packet.Services(r.nums).Intersect(o.nums)...)
	}
	return out
}

// without subtracts. Most rules do the same with all services that come to them,
// which is seen without looking at each.
func without(s, o packet.Services) packet.Services {
	if len(s) == 0 || len(s) == len(o) && &s[0] == &o[0] {
		return nil
	}
	if len(o) == 0 {
		return s
	}
	return s.Subtract(o)
}

// unions unites many sets. Most of what is united is there already; what is not waits,
// so that a thousand sets are not copied a thousand times.
type unions struct {
	done packet.Services
	more []packet.Span
}

func (u *unions) add(s packet.Services) {
	switch {
	case len(s) == 0 || len(s) == len(u.done) && &s[0] == &u.done[0] || holdsAll(u.done, s):
	case len(u.done) == 0:
		u.done = s
	default:
		u.more = append(u.more, s...)
		if len(u.more) > 64+4*len(u.done) {
			u.done = u.all()
		}
	}
}

func (u *unions) all() packet.Services {
	if len(u.more) > 0 {
		u.done = u.done.Union(packet.Spans(u.more))
		u.more = u.more[:0]
	}
	return u.done
}

// holdsAll reports whether all of o is in s.
func holdsAll(s, o packet.Services) bool {
	i := 0
	for _, sp := range o {
		for i < len(s) && s[i].Hi < sp.Lo {
			i++
		}
		if i == len(s) || s[i].Lo > sp.Lo || s[i].Hi < sp.Hi {
			return false
		}
	}
	return true
}

// count is the number of points of a set.
func count(s packet.Services) int {
	n := 0
	for _, sp := range s {
		n += int(sp.Hi-sp.Lo) + 1
	}
	return n
}

// answered gives the ICMP or ICMPv6 type that answers a request (icmp_invmap).
func answered(typ byte) byte {
	switch typ {
	case 8:
		return 0
	case 13, 15, 17, 128, 139:
		return typ + 1
	}
	return typ
}

// numByte gives the byte that symNum idx names, for one number.
func numByte(idx uint8, num uint32) byte {
	switch idx {
	case 0:
		return byte(num >> 8)
	case 1:
		return byte(num)
	}
	return answered(byte(num >> 8))
}

// sweep collects the numbers from 0 to last for which f holds.
func sweep(last uint32, f func(uint32) bool) []packet.Span {
	out := []packet.Span{}
	for v := uint32(0); v <= last; v++ {
		if !f(v) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Hi+1 == v {
			out[n-1].Hi = v
		} else {
			out = append(out, packet.Span{Lo: v, Hi: v})
		}
	}
	return out
}

// interned numbers service sets, so that states compare by number.
type interned struct {
	sets  []packet.Services
	index map[uint64][]int32
}

func newInterned() *interned {
	in := &interned{index: map[uint64][]int32{}}
	in.id(nil)
	return in
}

func (in *interned) id(s packet.Services) int32 {
	h := uint64(14695981039346656037)
	for _, sp := range s {
		h = (h ^ (uint64(sp.Lo)<<24 | uint64(sp.Hi))) * 1099511628211
		h ^= h >> 29
	}
	for _, i := range in.index[h] {
		if in.sets[i].Equal(s) {
			return i
		}
	}
	i := int32(len(in.sets))
	in.sets = append(in.sets, s)
	in.index[h] = append(in.index[h], i)
	return i
}
