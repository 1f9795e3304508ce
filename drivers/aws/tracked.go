package aws

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bulkhead/pkg/packet"
)

// AWS's timeouts of tracked flows where an interface has none of its own (EC2 user guide,
// "Idle connection tracking timeout").
const (
	trackTCP    = 432000 * time.Second
	trackStream = 180 * time.Second
	trackUDP    = 30 * time.Second
	trackOther  = 600 * time.Second
)

// maxTracked bounds how many rules notes name; the changes themselves are in the plan.
const maxTracked = 8

// tracked names the rules that go while flows which they let in live on: security groups
// are asked when a flow begins, and a flow that is tracked passes until it is silent for
// long enough. An operator who revokes a rule to end a session must hear that it does not.
func tracked(have, next *State) []string {
	before, after := have.carriers(), next.carriers()
	index := map[string]*outlived{}
	var list []*outlived
	for i := range have.Interfaces {
		h := &have.Interfaces[i]
		n := next.iface(h.ID)
		if n == nil || have.identity(h) == "" && next.identity(n) == "" {
			continue
		}
		was, is := have.rulesOn(h, before), next.rulesOn(n, after)
		for _, r := range was {
			if covered(r, is) {
				continue
			}
			text := lives(r, was, h.Tracking)
			if text == "" {
				continue
			}
			k := fmt.Sprintf("%s %s", r, text)
			if index[k] == nil {
				index[k] = &outlived{rule: r, text: text}
				list = append(list, index[k])
			}
			if on := &index[k].on; len(*on) == 0 || (*on)[len(*on)-1] != h.ID {
				*on = append(*on, h.ID)
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b *outlived) int { return cmp.Or(a.rule.compare(b.rule), strings.Compare(a.text, b.text)) })
	var out []string
	for _, o := range list[:min(len(list), maxTracked)] {
		out = append(out, fmt.Sprintf("no longer permitted: %s, on %s; what is open stays open: %s", o.rule, someOf(o.on, 2), o.text))
	}
	if n := len(list) - maxTracked; n > 0 {
		out = append(out, fmt.Sprintf("no longer permitted: %d more rules, whose open flows stay open in the same way", n))
	}
	return append(out, "security groups end no flow that they let in; to end one now, deny it in the subnet's network ACL for a while, or end it at one of its ends")
}

// outlived is a rule that goes, and what becomes of its flows.
type outlived struct {
	rule Rule
	text string
	on   []string // interfaces
}

// someOf names the first of a list and counts the rest.
func someOf(list []string, n int) string {
	if len(list) <= n+1 {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}

// rulesOn are the rules of all groups of an interface that are known. Groups of ours that
// they name are the addresses of who carries them: that another way of saying the same is
// written ends nothing.
func (s *State) rulesOn(n *Interface, on map[string][]*Interface) []Rule {
	var out []Rule
	for _, k := range n.Groups {
		if g := s.group(k); g != nil {
			out = append(out, sortedRules(s.spelt(g.Rules, on))...)
		}
	}
	slices.SortFunc(out, Rule.compare)
	return slices.Compact(out)
}

// covered reports whether rules let through at least what one does.
func covered(r Rule, by []Rule) bool {
	var b packet.Builder
	for _, o := range by {
		if o.Egress != r.Egress || !o.holds(r) {
			continue
		}
		switch {
		case o.Peer != "" || o.List != "":
			if o.Peer == r.Peer && o.List == r.List {
				return true
			}
		default:
			b.AddPrefix(o.Prefix)
		}
	}
	if !r.Prefix.IsValid() {
		return false
	}
	return packet.AddrsOf(r.Prefix).Subtract(b.Addrs()).IsEmpty()
}

// holds reports whether a rule is about all services of another. -1 in From is all of them.
func (r Rule) holds(o Rule) bool {
	switch {
	case r.Protocol == "-1":
		return true
	case r.Protocol != o.Protocol:
		return false
	case r.From == -1 && r.To == -1:
		return true
	case strings.HasPrefix(r.Protocol, "icmp"): // a type and a code
		return r.From == o.From && (r.To == -1 || r.To == o.To)
	}
	return o.From >= r.From && o.To <= r.To && o.From != -1
}

// lives says what flows of a rule live on and how long; "" if none does.
func lives(r Rule, with []Rule, t Timeouts) string {
	long := func(d, standard time.Duration) string { return span(cmp.Or(d, standard)) }
	tcp := fmt.Sprintf("TCP until it is silent for %s", long(t.TCP, trackTCP))
	udp := fmt.Sprintf("UDP until it is silent for %s (%s of more than one request)", long(t.UDP, trackUDP), long(t.Stream, trackStream))
	// AWS tracks ICMP always; how long, it does not say.
	icmp := "ICMP for as long as AWS tracks it"
	other := fmt.Sprintf("other protocols until they are silent for %s", span(trackOther))
	// What is not tracked is judged packet by packet, and ends at once.
	ends := func(proto, what string) string {
		if !untracked(r, with, proto) {
			return what
		}
		return what + ", and that only if a load balancer, NAT or transit gateway is in between"
	}
	switch r.Protocol {
	case "tcp":
		return ends("tcp", tcp)
	case "udp":
		return ends("udp", udp)
	case "icmp", "icmpv6":
		return icmp
	case "-1":
		return strings.Join([]string{ends("tcp", tcp), ends("udp", udp), icmp, other}, "; ")
	}
	return fmt.Sprintf("until silent for %s", span(trackOther))
}

// untracked reports whether flows of a rule are not tracked: it is about every address, and
// answers pass by a rule of the other direction to every address, on every port (EC2 user
// guide, "Untracked connections").
func untracked(r Rule, with []Rule, proto string) bool {
	everyone := func(p netip.Prefix) bool { return p.IsValid() && p.Bits() == 0 }
	if !everyone(r.Prefix) {
		return false
	}
	return slices.ContainsFunc(with, func(o Rule) bool {
		if o.Egress == r.Egress || !everyone(o.Prefix) || o.Prefix.Addr().Is4() != r.Prefix.Addr().Is4() {
			return false
		}
		return o.Protocol == "-1" || o.Protocol == proto && (o.From == -1 || o.From == 0 && o.To == 65535)
	})
}

// span is a duration as people say it.
func span(d time.Duration) string {
	units := []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}}
	for _, u := range units {
		if d >= u.d && d%u.d == 0 {
			if d == u.d {
				return "1 " + u.name
			}
			return fmt.Sprintf("%d %ss", d/u.d, u.name)
		}
	}
	return d.String()
}
