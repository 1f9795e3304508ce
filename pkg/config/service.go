package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// ParseService reads one service literal:
//
//	tcp/443, udp/6000-6999, sctp/3868, dccp/5004, udplite/5004
//	tcp, udp, icmp, ...            every port, or every type
//	icmp/echo-request, icmp/3, icmp/3:4, icmpv6/135
//	proto/47                       a protocol by number, every port of it
//	any                            all 256 protocols
//
// The ranges are in canonical form: in order, without overlap.
func ParseService(s string) ([]policy.Range, error) {
	if s == "any" {
		out := make([]policy.Range, 256)
		for i := range out {
			out[i] = policy.Range{Proto: uint8(i), Hi: math.MaxUint16}
		}
		return out, nil
	}
	name, arg, slash := strings.Cut(s, "/")
	if name == "proto" {
		return parseProto(s, arg)
	}
	proto, ok := protocolNumber(name)
	if !ok {
		m := &strict.Mistake{Message: fmt.Sprintf("unknown protocol %q in service %q", name, s)}
		m.Hint = diag.DidYouMean(name, protocolNames())
		return nil, m
	}
	whole := policy.Range{Proto: proto, Hi: math.MaxUint16}
	switch {
	case !slash:
		return []policy.Range{whole}, nil
	case arg == "":
		return nil, fmt.Errorf("service %q ends after the slash", s)
	case HasTypes(proto):
		return parseType(s, proto, arg)
	case !HasPorts(proto):
		return nil, fmt.Errorf("service %q: protocol %q has no ports", s, name)
	}
	lo, hi, err := parsePorts(s, arg)
	if err != nil {
		return nil, err
	}
	return []policy.Range{{Proto: proto, Lo: lo, Hi: hi}}, nil
}

func parseProto(s, arg string) ([]policy.Range, error) {
	n, err := number(arg, 255)
	if err != nil {
		return nil, fmt.Errorf("service %q: a protocol is a number from 0 to 255", s)
	}
	return []policy.Range{{Proto: uint8(n), Hi: math.MaxUint16}}, nil
}

func parsePorts(s, arg string) (lo, hi uint16, err error) {
	first, last, isRange := strings.Cut(arg, "-")
	if !isRange {
		last = first
	}
	a, errA := number(first, math.MaxUint16)
	b, errB := number(last, math.MaxUint16)
	switch {
	case errA != nil || errB != nil:
		return 0, 0, &strict.Mistake{
			Message: fmt.Sprintf("service %q: a port is a number from 0 to 65535", s),
			Hint:    "write one port (tcp/443) or a range (udp/6000-6999)",
		}
	case a > b:
		return 0, 0, &strict.Mistake{
			Message: fmt.Sprintf("service %q: the range is the wrong way round", s), Hint: fmt.Sprintf("did you mean %d-%d?", b, a),
		}
	}
	return uint16(a), uint16(b), nil
}

// parseType reads an ICMP or ICMPv6 type by name or number, with or without a
// code. A type without a code is all its codes.
func parseType(s string, proto uint8, arg string) ([]policy.Range, error) {
	typ, code, hasCode := strings.Cut(arg, ":")
	t, err := number(typ, 255)
	if err != nil {
		named, ok := icmpTypes(proto)[typ]
		if !ok {
			names := make([]string, 0, 32)
			for n := range icmpTypes(proto) {
				names = append(names, n)
			}
			slices.Sort(names)
			return nil, &strict.Mistake{
				Message: fmt.Sprintf("service %q: unknown type %q", s, typ),
				Hint:    cmp.Or(diag.DidYouMean(typ, names), "write a type's name, its number, or type:code"),
			}
		}
		t = int(named)
	}
	r := policy.Range{Proto: proto, Lo: uint16(t) << 8, Hi: uint16(t)<<8 | 255}
	if hasCode {
		c, err := number(code, 255)
		if err != nil {
			return nil, fmt.Errorf("service %q: a code is a number from 0 to 255", s)
		}
		r.Lo |= uint16(c)
		r.Hi = r.Lo
	}
	return []policy.Range{r}, nil
}

// number reads a decimal number from 0 to limit, without sign, space or leading
// zero, so that each number has one spelling.
func number(s string, limit int) (int, error) {
	if s == "" || len(s) > 5 || len(s) > 1 && s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > limit {
		return 0, fmt.Errorf("%q is not a number up to %d", s, limit)
	}
	return n, nil
}

// mergeRanges puts ranges in order and joins those that overlap or touch.
func mergeRanges(in []policy.Range) []policy.Range {
	rs := slices.Clone(in)
	slices.SortFunc(rs, func(a, b policy.Range) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Lo, b.Lo), cmp.Compare(a.Hi, b.Hi))
	})
	var out []policy.Range
	for _, r := range rs {
		if n := len(out) - 1; n >= 0 && out[n].Proto == r.Proto && int(r.Lo) <= int(out[n].Hi)+1 {
			out[n].Hi = max(out[n].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}
