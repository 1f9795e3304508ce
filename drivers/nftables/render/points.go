package render

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// pointChain names a point's own chains and sets. No name that points share has a
// dot: a point called "there" would otherwise get the chain of all points' judgements.
func pointChain(what, point string) string { return what + "." + point }

// learning says how a point takes up its work.
type learning int

const (
	learnNothing learning = iota // it has been at work
	learnPickup                  // its rules were lost: flows that live must be found again
	learnObserve                 // its first time: it observes before it drops
)

// pointParts are a point's chains and sets.
type pointParts struct {
	chains []*chain
	sets   []ruleset.Set
}

func renderPoint(p *compile.Point, learn learning, report reports) pointParts {
	var out pointParts
	hold := pointHolds(p, learn)
	out.sets = append(out.sets, hold...)
	out.chains = append(out.chains, stateChains(p, report)...)
	if p.Transit {
		out.transit(p, report)
	}
	if p.Endpoint {
		out.endpoint(p)
	}
	return out
}

// pointHolds are the windows of a point that starts: while they last, drops are
// only observed, and TCP flows seen first in mid-stream are judged both ways.
func pointHolds(p *compile.Point, learn learning) []ruleset.Set {
	window := func(name string, open bool) ruleset.Set {
		s := newSet(pointChain(name, p.Name), kindNfproto, ruleset.SetTimeout)
		s.Size = 16
		if open && p.Learn > 0 {
			for _, f := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
				s.Elements = append(s.Elements, ruleset.Element{Key: []byte{f}, Timeout: p.Learn})
			}
		}
		return s
	}
	return []ruleset.Set{window(setLearning, learn == learnObserve), window(setPickup, learn >= learnPickup)}
}

// stateChains judge what a base chain hands over: live flows by the mark that
// they bear, all else by the matrix.
func stateChains(p *compile.Point, report reports) []*chain {
	slow, judge := pointChain("slow", p.Name), pointChain("judge", p.Name)
	slowRelated, judgeRelated := pointChain("slow_related", p.Name), pointChain("judge_related", p.Name)
	deny, invalid, pickup := pointChain("deny", p.Name), pointChain("invalid", p.Name), pointChain("pickup", p.Name)
	observe := p.Mode == policy.Observe
	denied := newChain(deny).
		add(in(setDeny, false, metaMark)). // counts
		add(in(setObserved, false, metaMark), limited(), logged("bulkhead observed ")).
		add(jump(chainNote)).
		add(limited(), logged("bulkhead "+p.Name+" deny "))
	// A flow that was there before the rules may have been seen first from its
	// server's side: by these rules, or by tracking alone, which begins a moment before
	// a new table's rules do. TCP tells a beginning from a middle, so that its flows
	// can be found again while the point drops; UDP does not, so that only a point
	// that drops nothing yet may take a datagram for an answer.
	tracked := ctState("established,new", stateEstablished|stateNew)
	tcpEarly := []frag{tracked, notSYN(), goTo(pickup)}
	udpEarly := []frag{tracked, l4("udp", unix.IPPROTO_UDP), goTo(pickup)}
	judged := judgedBy(report, judge, chainJudge, chainPermit)
	badState := newChain(invalid).
		// The kernel opens no flow for ICMP messages that are no queries; they are
		// judged one by one. All else that fits no flow is nobody's.
		add(l4("icmp", unix.IPPROTO_ICMP), goTo(judge)).
		add(l4("ipv6-icmp", unix.IPPROTO_ICMPV6), goTo(judge))
	if observe {
		judged.add(tcpEarly...).add(udpEarly...)
		denied.add(goTo(chainPass))
		badState.addNamed("would be dropped: fits no flow", counted(), accept())
	} else {
		judged.add(append([]frag{in(pointChain(setPickup, p.Name), false, metaNfproto)}, tcpEarly...)...)
		judged.add(append([]frag{in(pointChain(setLearning, p.Name), false, metaNfproto)}, udpEarly...)...)
		denied.add(in(pointChain(setLearning, p.Name), false, metaNfproto), goTo(chainPass))
		denied.add(drop())
		badState.add(in(pointChain(setLearning, p.Name), false, metaNfproto), accept())
		badState.addNamed("fits no flow", counted(), drop())
	}
	judged.add(goTo(deny))
	chains := []*chain{
		// A change is under way: the mark of a flow that it concerns may name a verdict
		// which the flow no longer has. A packet shows the ends of its flow as the hook
		// judges them, whichever of the two has sent it.
		newChain(pointChain("held", p.Name)).
			add(in(setHoldAll, false, metaNfproto), goTo(slow)).
			add(in(setMoved4, false, saddr4), goTo(slow)).
			add(in(setMoved4, false, daddr4), goTo(slow)).
			add(in(setMoved6, false, saddr6), goTo(slow)).
			add(in(setMoved6, false, daddr6), goTo(slow)).
			permits(report, ctMark, accept()).
			add(goTo(slow)),
		newChain(slow).
			add(jump(chainFailsafe)).
			add(ctState("invalid", stateInvalid), goTo(invalid)).
			add(goTo(judge)),
		newChain(slowRelated).
			add(jump(chainFailsafe)).
			add(goTo(judgeRelated)),
		judged, judgedBy(report, judgeRelated, chainJudgeRelated, chainPermitRelated).add(goTo(deny)), denied, badState,
		// If the opposite direction is permitted, the flow goes on as one of that.
		newChain(pickup).
			add(masked(ctMark, VerdictMask, expr.CmpOpEq, ReversedBase), goTo(deny)).
			add(setMark(0)).
			add(clearPriority()).
			add(jump(chainReversed)).
			permits(report, metaMark, goTo(chainPickedUp)).
			add(jump(chainJudge)). // for the name under which it is counted
			add(goTo(deny)),
	}
	if p.Endpoint {
		state := newChain(pointChain("state", p.Name)).
			add(ctState("related", stateRelated), goTo(slowRelated))
		chains = append(chains, live(state, p, report))
	}
	return chains
}

// live lets the packets of flows go that bear the mark of a permit, and hands the
// others to the matrix. Every packet of every flow runs it, so that base chains of
// points that see whole flows have it in place, without a goto. Related packets never
// come here.
func live(c *chain, p *compile.Point, report reports) *chain {
	return c.
		add(in(setHold, false, metaNfproto), goTo(pointChain("held", p.Name))).
		permits(report, ctMark, accept()).
		add(goTo(pointChain("slow", p.Name)))
}

// judgedBy asks a judgement, and lets go what it permits.
func judgedBy(report reports, name, judgement, permitted string) *chain {
	return newChain(name).
		add(jump(judgement)).
		permits(report, metaMark, goTo(permitted)).
		// Either denied, or a permit that has expired: then what comes after it holds.
		add(markFrom(setAfter, false, metaMark)).
		permits(report, metaMark, goTo(permitted))
}

func (out *pointParts) transit(p *compile.Point, report reports) {
	base := baseChain(pointChain("forward", p.Name), hookForward, priorityFilter, basePolicy(p))
	related := newChain(pointChain("related", p.Name))
	// One question takes related packets off the way of all others.
	base.add(ctState("related", stateRelated), goTo(related.Name))
	if !p.Off[compile.EssentialErrors] {
		related.add(jump(chainRelated))
	}
	spoof := out.antiSpoof(p)
	for _, c := range []*chain{base, related} {
		if !p.Off[compile.EssentialDHCP] && !p.DHCPServers.IsEmpty() {
			c.add(in(setDHCP4, false, daddr4), l4("udp", unix.IPPROTO_UDP), port(udpDport, 67), accept())
			c.add(in(setDHCP4, false, saddr4), l4("udp", unix.IPPROTO_UDP), port(udpSport, 67), accept())
			c.add(in(setDHCP6, false, daddr6), l4("udp", unix.IPPROTO_UDP), port(udpDport, 547), accept())
			c.add(in(setDHCP6, false, saddr6), l4("udp", unix.IPPROTO_UDP), port(udpSport, 547), accept())
		}
		if spoof {
			c.add(jump(pointChain("spoof", p.Name)))
		}
	}
	related.add(goTo(pointChain("slow_related", p.Name)))
	out.chains = append(out.chains, live(base, p, report), related)
}

func basePolicy(p *compile.Point) uint32 {
	if p.Mode == policy.Observe {
		return policyAccept
	}
	return policyDrop
}

func (out *pointParts) endpoint(p *compile.Point) {
	own4, own6 := pointChain("own4", p.Name), pointChain("own6", p.Name)
	out.sets = append(out.sets,
		intervalSet(own4, kindAddr4, intervalElements(runsOf(p.Protects, true), nil)),
		intervalSet(own6, kindAddr6, intervalElements(runsOf(p.Protects, false), nil)))
	state := goTo(pointChain("state", p.Name))
	for _, hook := range []string{compile.HookInput, compile.HookOutput} {
		num, loKey, lo := uint32(hookInput), expr.MetaKeyIIFNAME, "iifname"
		if hook == compile.HookOutput {
			num, loKey, lo = hookOutput, expr.MetaKeyOIFNAME, "oifname"
		}
		base := baseChain(pointChain(hook, p.Name), num, priorityFilter, policyAccept)
		base.add(ifname(lo, loKey, "lo"), accept())
		essentialRules(base, p)
		for _, f := range []frag{in(own4, false, saddr4), in(own4, false, daddr4), in(own6, false, saddr6), in(own6, false, daddr6)} {
			base.add(f, state)
		}
		if hook == compile.HookInput {
			for _, m := range compile.Multicast().Prefixes() {
				base.add(toPrefix(m), state)
			}
		}
		base.addNamed("none of this point's assets", accept())
		out.chains = append(out.chains, base)
	}
}

// toPrefix matches destinations in a prefix.
func toPrefix(p netip.Prefix) frag {
	l := daddr4
	if p.Addr().Is6() {
		l = daddr6
	}
	text, loads := key(false, l)
	if p.IsSingleIP() {
		return frag{text + " " + p.Addr().String(), append(loads, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()})}
	}
	r := packet.PrefixRange(p)
	mask := make([]byte, p.Addr().BitLen()/8)
	for i, b := range r.From.AsSlice() {
		mask[i] = ^(b ^ r.To.AsSlice()[i])
	}
	return frag{text + " " + p.String(), append(loads,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()})}
}

// essentialRules pass what a network dies without, on hooks that see it.
func essentialRules(c *chain, p *compile.Point) {
	v4, v6 := ofFamily(unix.NFPROTO_IPV4), ofFamily(unix.NFPROTO_IPV6)
	if !p.Off[compile.EssentialErrors] {
		c.add(ctState("related", stateRelated), jump(chainRelated))
	}
	if !p.Off[compile.EssentialND] {
		c.add(v6, icmp6Type(133, 137), accept())
	}
	if !p.Off[compile.EssentialMLD] {
		c.add(v6, icmp6Type(130, 132), accept())
		c.add(v6, icmp6Type(143, 143), accept())
	}
	if !p.Off[compile.EssentialIGMP] {
		c.add(v4, l4("igmp", unix.IPPROTO_IGMP), accept())
	}
	if !p.Off[compile.EssentialDHCP] {
		udp := l4("udp", unix.IPPROTO_UDP)
		c.add(v4, udp, port(udpSport, 68), port(udpDport, 67), accept())
		c.add(v4, udp, port(udpSport, 67), port(udpDport, 68), accept())
		c.add(v6, udp, port(udpSport, 546), port(udpDport, 547), accept())
		c.add(v6, udp, port(udpSport, 547), port(udpDport, 546), accept())
	}
}

// EssentialList says in words what passes at a point whatever policy says.
func EssentialList(p *compile.Point) []string {
	var out []string
	say := func(name, text string) {
		if !p.Off[name] {
			out = append(out, fmt.Sprintf("%s: %s", name, text))
		}
	}
	say(compile.EssentialErrors, "ICMP errors about a permitted flow")
	if p.Transit && !p.DHCPServers.IsEmpty() {
		say(compile.EssentialDHCP, "to and from the servers "+p.DHCPServers.String()+", forwarded")
	}
	if p.Endpoint {
		say(compile.EssentialND, "neighbour and router discovery (ICMPv6 133 to 137)")
		say(compile.EssentialMLD, "multicast listener discovery (ICMPv6 130 to 132, 143)")
		say(compile.EssentialIGMP, "IGMP")
		say(compile.EssentialDHCP, "between DHCP clients and servers (udp 67/68, 546/547)")
	}
	return out
}
