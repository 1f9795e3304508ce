package estate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"bulkhead/pkg/policy"
)

// Protocol numbers.
const (
	icmp, tcp, udp, gre, esp, icmpv6 = 1, 6, 17, 47, 50, 58
	echo4, echo6                     = 8 << 8, 128 << 8
)

// service is a service of the catalogue: its name, the literals that it is
// written with, and what they stand for.
type service struct {
	name     string
	literals []string
	ranges   []policy.Range
}

// catalogue draws the services that policies choose from: 140 TCP ports, 30 UDP
// ports, 20 ranges, ICMP (all of it and echo, of each family and of both: five),
// two bare protocols, all TCP, all UDP and any. These are 200.
func catalogue(r *random) []service {
	var out []service
	for _, port := range r.sample(maxPort, 140) {
		out = append(out, one("tcp", tcp, port+1, port+1))
	}
	for _, port := range r.sample(maxPort, 30) {
		out = append(out, one("udp", udp, port+1, port+1))
	}
	for _, from := range r.sample(maxPort-maxRange, 20) {
		to := from + 2 + r.below(maxRange)
		if len(out)%2 == 0 {
			out = append(out, one("tcp", tcp, from+1, to))
		} else {
			out = append(out, one("udp", udp, from+1, to))
		}
	}
	whole := func(protos ...uint8) (rs []policy.Range) {
		for _, p := range protos {
			rs = append(rs, policy.Range{Proto: p, Hi: math.MaxUint16})
		}
		return rs
	}
	echo := []policy.Range{{Proto: icmp, Lo: echo4, Hi: echo4 | 255}, {Proto: icmpv6, Lo: echo6, Hi: echo6 | 255}}
	every := make([]uint8, 256)
	for i := range every {
		every[i] = uint8(i)
	}
	return append(out,
		service{"icmp-4", []string{"icmp"}, whole(icmp)},
		service{"icmp-6", []string{"icmpv6"}, whole(icmpv6)},
		service{"echo-4", []string{"icmp/echo-request"}, echo[:1]},
		service{"echo-6", []string{"icmpv6/echo-request"}, echo[1:]},
		service{"ping", []string{"icmp/echo-request", "icmpv6/echo-request"}, echo},
		service{"bare-gre", []string{"gre"}, whole(gre)},
		service{"bare-esp", []string{"esp"}, whole(esp)},
		service{"all-tcp", []string{"tcp"}, whole(tcp)},
		service{"all-udp", []string{"udp"}, whole(udp)},
		service{"everything", []string{"any"}, whole(every...)},
	)
}

// Ports are drawn below those that systems choose for clients; a range is two
// ports wide at least, and this wide at most.
const (
	maxPort  = 32767
	maxRange = 1024
)

func one(name string, proto uint8, lo, hi int) service {
	ports := fmt.Sprint(lo)
	if hi != lo {
		ports = fmt.Sprintf("%d-%d", lo, hi)
	}
	return service{
		name: name + "-" + ports, literals: []string{name + "/" + ports},
		ranges: []policy.Range{{Proto: proto, Lo: uint16(lo), Hi: uint16(hi)}},
	}
}

// literal is a service that a policy names by what it is.
func literal(name string, proto uint8, port int) service {
	s := one(name, proto, port, port)
	s.name = s.literals[0]
	return s
}

// ranges joins what several services stand for: in order, without overlap.
func ranges(list []service) []policy.Range {
	var all []policy.Range
	for _, s := range list {
		all = append(all, s.ranges...)
	}
	slices.SortFunc(all, func(a, b policy.Range) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Lo, b.Lo), cmp.Compare(a.Hi, b.Hi))
	})
	var out []policy.Range
	for _, r := range all {
		if n := len(out) - 1; n >= 0 && out[n].Proto == r.Proto && int(r.Lo) <= int(out[n].Hi)+1 {
			out[n].Hi = max(out[n].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// addServices gives the site a catalogue of named services.
func (e *Estate) addServices(list []service) {
	if len(list) == 0 {
		return
	}
	p := newPage(servicesFile, "services")
	for _, s := range list {
		at := p.put("  %s: [%s]", s.name, strings.Join(s.literals, ", "))
		e.Book.Services = append(e.Book.Services, policy.Service{Name: s.name, Ranges: s.ranges, Pos: right(at, 2)})
	}
	slices.SortFunc(e.Book.Services, func(a, b policy.Service) int { return cmp.Compare(a.Name, b.Name) })
	e.policyText[servicesFile] = p.text.String()
}
