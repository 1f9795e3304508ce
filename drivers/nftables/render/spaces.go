package render

import (
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// stage says what earlier spaces decided of a flow.
type stage struct {
	suffix  string
	partial string // what stands for a partial verdict here
	end     string // chain of the default
}

var (
	stageOpen = stage{"", setPartial, chainDefault}
	stageOut  = stage{"_out", setIn, chainDefault + "_into"} // the egress side is allowed
	stageIn   = stage{"_in", setOut, chainDefault + "_from"} // the ingress side is allowed
)

// spaces judges by several tables. Each space asks a part of the two words; where
// that finds a ruleset, and the ruleset says something of the service, the flow is
// decided. Policies that judge one side only can leave a flow with one side
// allowed and the other open: then the spaces that follow are asked for the other
// side alone, by chains of their own.
//
// The spaces follow each other in one chain and not by goto: the kernel counts a
// goto like a jump, and refuses a way through more than 16 chains.
func (d direction) spaces(s *matrixSets) []*chain {
	first := d.words(newChain(d.name), s)
	d.walk(first, s, 0, stageOpen)
	out := []*chain{first, d.ask(s, stageOpen),
		newChain(d.services()).
			add(l4("icmp", unix.IPPROTO_ICMP), goTo(d.types)).
			add(l4("ipv6-icmp", unix.IPPROTO_ICMPV6), goTo(d.types)).
			add(goTo(d.ports)),
	}
	if !s.layout.Sided {
		return out
	}
	for _, st := range []stage{stageOut, stageIn} {
		out = append(out, d.ask(s, st))
		for k := range s.layout.Spaces {
			c := d.again(newChain(d.after(k, st)), s)
			d.walk(c, s, k+1, st)
			out = append(out, c)
		}
	}
	for k := range s.layout.Spaces {
		out = append(out, d.half(k))
	}
	return out
}

// sidedDefaults are the defaults of flows of which one side is allowed already.
func sidedDefaults() []*chain {
	return []*chain{
		newChain(stageOut.end).
			add(masked(metaPriority, classInto, expr.CmpOpNeq, 0), goTo(chainDefaultDeny)).
			add(setMark(verdictDefaultPermit)),
		newChain(stageIn.end).
			add(masked(metaMark, classEgress, expr.CmpOpNeq, 0), goTo(chainDefaultDeny)).
			add(setMark(verdictDefaultPermit)),
	}
}

// services is the chain that asks a ruleset for the packet's service.
func (d direction) services() string { return d.name + "_services" }

// after is the chain of a flow with one side allowed by a space.
func (d direction) after(k int, st stage) string {
	return fmt.Sprintf("%s_after%d%s", d.name, k+1, st.suffix)
}

// walk asks the spaces from one on. What is in the mark tells how each went: the
// source's word if the space has nothing to say, a verdict if it decided.
func (d direction) walk(c *chain, s *matrixSets, from int, st stage) {
	for k := from; k < len(s.layout.Spaces); k++ {
		// A pair that is not there ends the rule: most spaces have nothing to say.
		c.add(markFromParts(pairSet(k), s.masks[k][0], s.masks[k][1]), jump(d.name+"_ask"+st.suffix))
		if s.layout.Sided && st == stageOpen {
			c.add(masked(metaMark, partialBits, expr.CmpOpEq, partialBits), goTo(d.halfName(k)))
		}
		c.add(masked(metaMark, verdictBit, expr.CmpOpNeq, 0), ret())
	}
	c.add(goTo(st.end))
}

// ask asks the ruleset of a pair, and brings the source's word back if that says
// nothing.
func (d direction) ask(s *matrixSets, st stage) *chain {
	c := newChain(d.name + "_ask" + st.suffix).add(jump(d.services()))
	if st != stageOpen {
		c.add(masked(metaMark, partialBits, expr.CmpOpEq, verdictBit), ret())
		c.add(markFrom(st.partial, false, metaMark))
		c.add(masked(metaMark, partialBits, expr.CmpOpEq, verdictBit), ret())
	} else {
		c.add(masked(metaMark, verdictBit, expr.CmpOpNeq, 0), ret())
	}
	return d.again(c, s)
}

func (d direction) halfName(k int) string { return fmt.Sprintf("%s_half%d", d.name, k+1) }

// half goes on with the side that is open, if the other one is allowed.
func (d direction) half(k int) *chain {
	return newChain(d.halfName(k)).
		add(masked(metaMark, partialEgress, expr.CmpOpNeq, 0), goTo(d.after(k, stageOut))).
		add(masked(metaMark, partialIngress, expr.CmpOpNeq, 0), goTo(d.after(k, stageIn))).
		add(markFrom(setPartial, false, metaMark))
}
