package render

import (
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Names of the chains that all points of a table share.
const (
	chainJudge       = "judge"
	chainThere       = "judge_there"
	chainBack        = "judge_back"
	chainPort        = "judge_port"
	chainBackPort    = "judge_back_port"
	chainType        = "judge_type"
	chainBackType    = "judge_back_type"
	chainProtocol    = "judge_protocol"
	chainDefault     = "judge_default"
	chainDefaultDeny = "judge_deny"
	chainReversed    = "judge_reversed"
	chainPermit      = "permitted"

	chainJudgeRelated  = "judge_related"
	chainPermitRelated = "permitted_related"

	chainPickedUp  = "picked_up"
	chainPass      = "pass"
	chainRelated   = "icmp_errors"
	chainFailsafe  = "failsafe"
	chainRaw       = "failsafe_untracked"
	chainNote      = "note"
	chainNoteBack  = "note_back"
	chainNoteType  = "note_type"
	chainNoteOther = "note_other"
)

// chain collects rules and keeps the first error, so that chains read as lists.
type chain struct {
	ruleset.Chain
	err error
}

func newChain(name string) *chain { return &chain{Chain: ruleset.Chain{Name: name}} }

// Hook numbers (NF_INET_*) and priorities of the inet family.
const (
	hookPrerouting = 0
	hookInput      = 1
	hookForward    = 2
	hookOutput     = 3
	priorityRaw    = -300
	priorityFilter = 0
	policyDrop     = 0
	policyAccept   = 1
)

func baseChain(name string, hook uint32, priority int32, policy uint32) *chain {
	c := newChain(name)
	c.Type, c.Hook, c.Policy = "filter", &ruleset.Hook{Num: hook, Priority: priority}, policy
	return c
}

func (c *chain) add(frags ...frag) *chain { return c.addNamed("", frags...) }

func (c *chain) addNamed(comment string, frags ...frag) *chain {
	r, err := rule(comment, frags...)
	if err != nil && c.err == nil {
		c.err = err
	}
	c.Rules = append(c.Rules, r)
	return c
}

// permits does something with what is permitted.
func (c *chain) permits(r reports, id load, then frag, where ...frag) *chain {
	c.add(append(slices.Clone(where), in(setPermit, false, id), then)...)
	if r.timed {
		c.add(append(slices.Clone(where), in(setPermitTimed, false, id), then)...)
	}
	return c
}

// judgeChains look a flow's verdict up and leave its id in the packet's mark.
// They are entered by jump and end by return.
func judgeChains(s *matrixSets) []*chain {
	chains := []*chain{
		newChain(chainJudge).
			add(setMark(0)).
			add(clearPriority()).
			add(masked(ctMark, VerdictMask, expr.CmpOpEq, ReversedBase), goTo(chainReversed)).
			add(ctReply(), goTo(chainBack)).
			add(goTo(chainThere)),
		// A helper's new connection and an ICMP error are flows of their own: the
		// direction and the mark that they show belong to somebody else's.
		newChain(chainJudgeRelated).
			add(setMark(0)).
			add(clearPriority()).
			add(goTo(chainThere)),
		newChain(chainReversed).
			add(ctReply(), goTo(chainThere)).
			add(goTo(chainBack)),
		portChain(chainPort, thDport),
		portChain(chainBackPort, thSport),
		// ICMP has its type and code where others have the source port. An answer's
		// own type is not the query's: the flow remembers that.
		portChain(chainType, thSport),
		backTypeChain(),
		newChain(chainProtocol).
			add(markFrom(setProto, false, metaMark, metaL4)).
			add(masked(metaMark, verdictBit, expr.CmpOpNeq, 0), ret()).
			add(markFrom(setRest, false, metaMark)),
		newChain(chainDefault).
			add(masked(metaMark, classEgress, expr.CmpOpNeq, 0), goTo(chainDefaultDeny)).
			add(masked(metaPriority, classInto, expr.CmpOpNeq, 0), goTo(chainDefaultDeny)).
			add(setMark(verdictDefaultPermit)),
		newChain(chainDefaultDeny).
			add(setMark(verdictDefaultDeny)),
	}
	for _, d := range directions() {
		if s.layout.Single {
			chains = append(chains, d.onePair(s))
		} else {
			chains = append(chains, d.spaces(s)...)
		}
	}
	if s.layout.Sided {
		chains = append(chains, sidedDefaults()...)
	}
	return chains
}

// direction is what a judgement reads of a packet that goes with its flow, or
// against it.
type direction struct {
	name                   string
	src4, dst4, src6, dst6 load
	ports, types           string
}

func directions() []direction {
	return []direction{
		{chainThere, saddr4, daddr4, saddr6, daddr6, chainPort, chainType},
		{chainBack, daddr4, saddr4, daddr6, saddr6, chainBackPort, chainBackType},
	}
}

// words looks the words of both addresses up: those of prefixes, which hold every
// address, and then those of single ones.
func (d direction) words(c *chain, s *matrixSets) *chain {
	for _, set := range s.wordSets(true) {
		c.add(markFrom(set, false, d.src4)).add(priorityFrom(set, d.dst4))
	}
	for _, set := range s.wordSets(false) {
		c.add(markFrom(set, false, d.src6)).add(priorityFrom(set, d.dst6))
	}
	return c
}

// again looks the word of the source up once more: a ruleset's id took its place.
func (d direction) again(c *chain, s *matrixSets) *chain {
	for _, set := range s.wordSets(true) {
		c.add(markFrom(set, false, d.src4))
	}
	for _, set := range s.wordSets(false) {
		c.add(markFrom(set, false, d.src6))
	}
	return c
}

// wordSets lists the maps of one family's words in the order of their lookups:
// prefixes first, single addresses override them.
func (s *matrixSets) wordSets(four bool) []string {
	if four {
		return slices.Concat(s.nets4, s.hosts4)
	}
	return slices.Concat(s.nets6, s.hosts6)
}

// onePair judges by one table of all pairs.
func (d direction) onePair(s *matrixSets) *chain {
	return d.words(newChain(d.name), s).
		add(markFrom(setPair, false, metaMark, metaPriority)).
		// No ruleset: nothing but the two classes' own defaults.
		add(masked(metaMark, rulesetBase, expr.CmpOpEq, 0), goTo(chainDefault)).
		add(l4("icmp", unix.IPPROTO_ICMP), goTo(d.types)).
		add(l4("ipv6-icmp", unix.IPPROTO_ICMPV6), goTo(d.types)).
		add(goTo(d.ports))
}

// backTypeChain is portChain for ICMP against a flow's direction. nft gives the
// number in a flow's tuple a type only in a rule that names the protocol.
func backTypeChain() *chain {
	found := masked(metaMark, verdictBit, expr.CmpOpNeq, 0)
	icmp, icmp6 := l4("icmp", unix.IPPROTO_ICMP), l4("ipv6-icmp", unix.IPPROTO_ICMPV6)
	return newChain(chainBackType).
		add(icmp, markFrom(setSvc, false, metaMark, metaL4, ctOrigDst)).
		add(icmp6, markFrom(setSvc, false, metaMark, metaL4, ctOrigDst)).
		add(found, ret()).
		add(icmp, markFrom(setSvcRange, true, metaMark, metaL4, ctOrigDst)).
		add(icmp6, markFrom(setSvcRange, true, metaMark, metaL4, ctOrigDst)).
		add(found, ret()).
		add(goTo(chainProtocol))
}

func portChain(name string, number load) *chain {
	found := masked(metaMark, verdictBit, expr.CmpOpNeq, 0)
	return newChain(name).
		add(markFrom(setSvc, false, metaMark, metaL4, number)).
		add(found, ret()).
		add(markFrom(setSvcRange, true, metaMark, metaL4, number)).
		add(found, ret()).
		add(goTo(chainProtocol))
}

// passChains let a permitted packet go and remember the verdict with its flow.
func passChains(report reports) []*chain {
	// Every new flow runs these: they are there only where something is reported.
	reported := func(c *chain) *chain {
		if report.observed {
			c.add(in(setObserved, false, metaMark), limited(), logged("bulkhead observed "))
		}
		if report.logged {
			c.add(in(setLogged, false, metaMark), limited(), logged("bulkhead permit "))
		}
		return c
	}
	return []*chain{
		reported(newChain(chainPermit)).
			// The kernel may track these without telling ports apart, so each packet is
			// judged by itself.
			add(in(setFlat, false, metaL4), goTo(chainPass)).
			add(masked(ctMark, VerdictMask, expr.CmpOpEq, ReversedBase), goTo(chainPickedUp)).
			add(flowMark()).
			add(goTo(chainPass)),
		reported(newChain(chainPermitRelated)).
			// An ICMP error bears the mark of the flow that it reports on.
			add(l4("icmp", unix.IPPROTO_ICMP), goTo(chainPass)).
			add(l4("ipv6-icmp", unix.IPPROTO_ICMPV6), goTo(chainPass)).
			// A connection that a helper expected bears its master's mark until it has its
			// own; whether that one was reversed says nothing of it.
			add(flowMark()).
			add(goTo(chainPass)),
		newChain(chainPickedUp).
			add(orMark(reversedBit)).
			add(flowMark()).
			add(goTo(chainPass)),
		newChain(chainPass).
			// Whoever looks at the packet next finds no numbers of ours on it.
			add(setMark(0)).
			add(clearPriority()).
			add(accept()),
		newChain(chainRelated).
			permits(report, ctMark, accept(), l4("icmp", unix.IPPROTO_ICMP)).
			permits(report, ctMark, accept(), l4("ipv6-icmp", unix.IPPROTO_ICMPV6)),
	}
}

// noteChains count dropped flows in sets that rules write, by their ends and
// service. A full set changes nothing but what is remembered.
func noteChains() []*chain {
	return []*chain{
		newChain(chainNote).
			add(l4("icmp", unix.IPPROTO_ICMP), goTo(chainNoteType)).
			add(l4("ipv6-icmp", unix.IPPROTO_ICMPV6), goTo(chainNoteType)).
			add(notIn(setPorted, metaL4), goTo(chainNoteOther)).
			add(ctReply(), goTo(chainNoteBack)).
			// A TCP flow seen first in mid-stream: which end is the server is not known, and
			// it would be counted under a port of the client's.
			add(ctState("new", stateNew), notSYN(), ret()).
			add(noted(setDrop4, saddr4, daddr4, metaL4, thDport, metaMark)).
			add(noted(setDrop6, saddr6, daddr6, metaL4, thDport, metaMark)),
		newChain(chainNoteBack).
			add(noted(setDrop4, daddr4, saddr4, metaL4, thSport, metaMark)).
			add(noted(setDrop6, daddr6, saddr6, metaL4, thSport, metaMark)),
		newChain(chainNoteType).
			add(noted(setDrop4, saddr4, daddr4, metaL4, thSport, metaMark)).
			add(noted(setDrop6, saddr6, daddr6, metaL4, thSport, metaMark)),
		newChain(chainNoteOther).
			add(noted(setDropX4, saddr4, daddr4, metaL4, metaMark)).
			add(noted(setDropX6, saddr6, daddr6, metaL4, metaMark)),
	}
}
