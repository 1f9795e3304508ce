package decode

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
)

// foreign looks at what others do on our path. A foreign chain that can only
// accept, count, log or translate addresses changes no verdict of ours, since an
// accept ends its own base chain only; everything else is named.
func (d *decoder) foreign() {
	hooks, ours := d.ourHooks()
	for i := range d.rs.Tables {
		t := &d.rs.Tables[i]
		own := t.Family == ruleset.FamilyInet && t.Name == d.opt.Table
		if t.Flags&unix.NFT_TABLE_F_DORMANT != 0 {
			continue
		}
		for k := range t.Chains {
			c := &t.Chains[k]
			if c.Hook == nil || own && executed(c) || !onPath(t.Family, c.Hook, hooks) {
				continue
			}
			w := &walker{d: d, t: t, base: c, ours: ours, seen: map[string]bool{}}
			if c.Policy != codeAccept && t.Family != ruleset.FamilyARP {
				w.drops(c, -1, "its policy drops")
			}
			w.chain(c)
		}
	}
}

// ourHooks lists the hooks on our paths, and for each the highest priority at
// which we still run there.
func (d *decoder) ourHooks() (map[uint32]bool, []place) {
	hooks := map[uint32]bool{}
	var ours []place
	t := d.rs.Table(ruleset.FamilyInet, d.opt.Table)
	if t == nil {
		return hooks, nil
	}
	for i := range t.Chains {
		if c := &t.Chains[i]; executed(c) {
			ours = append(ours, place{c.Hook.Num, c.Hook.Priority})
		}
	}
	for _, name := range hookNames() {
		if slices.ContainsFunc(ours, func(p place) bool { return p.hook == hookNumber(name) }) {
			for _, h := range hookPaths()[name] {
				hooks[h] = true
			}
		}
	}
	return hooks, ours
}

// place is where a base chain runs.
type place struct {
	hook     uint32
	priority int32
}

// onPath reports whether a chain of some family can see our packets. Bridge and
// ingress chains see packets before (and, bridged, after) the hooks of IP.
func onPath(f ruleset.Family, h *ruleset.Hook, hooks map[uint32]bool) bool {
	switch f {
	case ruleset.FamilyNetdev, ruleset.FamilyBridge:
		return len(hooks) > 0
	case ruleset.FamilyInet, ruleset.FamilyIPv4, ruleset.FamilyIPv6:
		return hooks[h.Num] || h.Num > unix.NF_INET_POST_ROUTING && len(hooks) > 0
	case ruleset.FamilyARP:
		return false
	}
	return len(hooks) > 0
}

// walker visits everything that a foreign base chain may run.
type walker struct {
	d    *decoder
	t    *ruleset.Table
	base *ruleset.Chain
	ours []place
	seen map[string]bool
}

// note names what may change what our rules do.
func (w *walker) note(c *ruleset.Chain, rule int, text string) { w.find(c, rule, text, "") }

// drops names what can do no more than drop: a packet has to pass every table, so that
// nothing passes by it that policy denies.
func (w *walker) drops(c *ruleset.Chain, rule int, text string) {
	w.find(c, rule, text, fmt.Sprintf("%s %s", w.t.Family, w.t.Name))
}

func (w *walker) find(c *ruleset.Chain, rule int, text, foreign string) {
	object := chainName(w.t, c)
	if rule >= 0 {
		object += " " + ruleName(rule, c.Rules[rule].Handle)
	}
	w.d.find(driver.Finding{Object: object, Text: "foreign, on our path: " + text, Foreign: foreign})
}

func (w *walker) chain(c *ruleset.Chain) {
	if w.seen[c.Name] {
		return
	}
	w.seen[c.Name] = true
	for i := range c.Rules {
		for _, e := range c.Rules[i].Exprs {
			w.expr(c, i, e)
		}
	}
}

// expr judges one foreign expression.
func (w *walker) expr(c *ruleset.Chain, rule int, e ruleset.Expr) {
	switch e.Name {
	case "nat", "masq", "redir":
		return
	case "flow_offload":
		w.note(c, rule, "offloads flows past our chains (flow add)")
		return
	case "match": // what follows in the rule may not be reached
		return
	case "target":
		w.target(c, rule, e)
		return
	}
	o := parseExpr(e)
	switch o.code {
	case opUnknown:
		w.note(c, rule, e.Name+": "+o.note)
	case opReject:
		w.drops(c, rule, "may reject packets")
	case opNotrack:
		w.note(c, rule, "takes packets out of connection tracking (notrack)")
	case opMetaSet:
		if o.key == unix.NFT_META_MARK && w.beforeOurs() {
			w.note(c, rule, "may set the packet mark before our chains run")
		}
	case opCtSet:
		if o.key == unix.NFT_CT_MARK {
			w.note(c, rule, "may set the connection mark")
		}
	case opImmediate:
		if o.verdict != nil {
			w.verdict(c, rule, o.verdict)
		}
	case opLookup:
		if o.oper == lookupVerdict {
			w.verdictMap(c, rule, o.set)
		}
	}
}

// target judges a target of iptables by its name (nft_compat): those that log, or
// translate addresses as nat does, change no verdict, and REJECT drops.
func (w *walker) target(c *ruleset.Chain, rule int, e ruleset.Expr) {
	a, err := parseAttrs(e.Data)
	name := strings.TrimRight(string(a[unix.NFTA_TARGET_NAME]), "\x00")
	switch {
	case err != nil:
		w.note(c, rule, "an iptables target, whose effect is not known")
	case slices.Contains([]string{"LOG", "NFLOG", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"}, name):
	case name == "REJECT":
		w.drops(c, rule, "may reject packets")
	default:
		w.note(c, rule, fmt.Sprintf("the iptables target %s, whose effect is not known", name))
	}
}

// verdictMap follows the verdicts of a map's elements.
func (w *walker) verdictMap(c *ruleset.Chain, rule int, name string) {
	s := w.t.Set(name)
	if s == nil || s.NotRead {
		w.note(c, rule, fmt.Sprintf("a verdict map @%s whose elements are not known", name))
		return
	}
	seen := map[ruleset.Verdict]bool{}
	for i := range s.Elements {
		v := s.Elements[i].Verdict
		if v == nil {
			if s.Elements[i].Flags&ruleset.ElemIntervalEnd == 0 {
				w.note(c, rule, fmt.Sprintf("a verdict map @%s with an element that holds no verdict", name))
			}
			continue
		}
		if !seen[*v] {
			seen[*v] = true
			w.verdict(c, rule, v)
		}
	}
}

func (w *walker) verdict(c *ruleset.Chain, rule int, v *ruleset.Verdict) {
	switch v.Code {
	case codeAccept, codeContinue, codeBreak, codeReturn:
	case codeJump, codeGoto:
		if next := w.t.Chain(v.Chain); next != nil {
			w.chain(next)
		} else {
			w.note(c, rule, "leads to a chain that is not there: "+v.Chain)
		}
	case codeDrop:
		w.drops(c, rule, "may drop packets")
	default:
		if v.Code&0xff == codeDrop {
			w.drops(c, rule, "may drop packets")
			return
		}
		w.note(c, rule, "may take packets away (queue or the like)")
	}
}

// beforeOurs reports whether the base chain may run before one of ours on the
// way of some packet.
func (w *walker) beforeOurs() bool {
	h := w.base.Hook
	if w.t.Family == ruleset.FamilyNetdev || w.t.Family == ruleset.FamilyBridge || h.Num > unix.NF_INET_POST_ROUTING {
		return true
	}
	for _, p := range w.ours {
		if p.hook == h.Num && h.Priority <= p.priority || precedes(h.Num, p.hook) {
			return true
		}
	}
	return false
}

// precedes reports whether a packet may pass hook a before hook b.
func precedes(a, b uint32) bool {
	switch a {
	case unix.NF_INET_PRE_ROUTING:
		return b == unix.NF_INET_FORWARD || b == unix.NF_INET_LOCAL_IN || b == unix.NF_INET_POST_ROUTING
	case unix.NF_INET_FORWARD, unix.NF_INET_LOCAL_OUT:
		return b == unix.NF_INET_POST_ROUTING
	}
	return false
}
