package decode

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Verdict codes (linux/netfilter.h and nf_tables.h).
const (
	codeDrop     = 0
	codeAccept   = 1
	codeContinue = -1
	codeBreak    = -2
	codeJump     = -3
	codeGoto     = -4
	codeReturn   = -5
)

// priorityConntrack is where entries are looked up or made (NF_IP_PRI_CONNTRACK).
const priorityConntrack = -200

// rule is one compiled rule.
type rule struct {
	ops    []op
	handle uint64
	only   uint8 // the family that the rule begins by asking for; 0 if none
	over   *overlay
}

// chain is one compiled chain. Its rules have the positions off to off+len-1;
// off+len is its end.
type chain struct {
	name  string
	off   int32
	rules []rule
	src   *ruleset.Chain
}

// step is one base chain on a hook path.
type step struct {
	chain  int
	hook   uint32
	drop   bool // the policy
	before bool // runs before connection tracking
	last   bool
}

// program is one table, ready to run.
type program struct {
	table   *ruleset.Table
	chains  []chain
	byName  map[string]int
	chainAt []int32 // position -> chain
	steps   []step
	starts  map[string]int32 // hook name -> first step
	loops   map[string]bool  // chains that can reach themselves
	// markReads numbers the rules that look at the flow's mark; nil if there are too
	// many.
	markReads map[*rule]int
	markTests []markTest // by number
}

// hookPaths lists the hooks that a packet passes on its way, for each hook that
// relations are made of.
func hookPaths() map[string][]uint32 {
	return map[string][]uint32{
		"forward": {unix.NF_INET_PRE_ROUTING, unix.NF_INET_FORWARD, unix.NF_INET_POST_ROUTING},
		"input":   {unix.NF_INET_PRE_ROUTING, unix.NF_INET_LOCAL_IN},
		"output":  {unix.NF_INET_LOCAL_OUT, unix.NF_INET_POST_ROUTING},
	}
}

func hookNames() []string { return []string{"forward", "input", "output"} }

func hookNumber(name string) uint32 {
	switch name {
	case "forward":
		return unix.NF_INET_FORWARD
	case "input":
		return unix.NF_INET_LOCAL_IN
	}
	return unix.NF_INET_LOCAL_OUT
}

// compile parses a table's chains and lays out its hook paths.
func compile(t *ruleset.Table, note func(driver string, text string)) *program {
	p := &program{table: t, byName: map[string]int{}, starts: map[string]int32{}, loops: map[string]bool{}}
	for i := range t.Chains {
		c := &t.Chains[i]
		if _, dup := p.byName[c.Name]; dup {
			note(chainName(t, c), "not proved: two chains have this name")
			continue
		}
		p.byName[c.Name] = len(p.chains)
		out := chain{name: c.Name, off: int32(len(p.chainAt)), src: c}
		for _, r := range c.Rules {
			cr := rule{handle: r.Handle}
			for _, e := range r.Exprs {
				cr.ops = append(cr.ops, parseExpr(e))
			}
			cr.only = familyOf(cr.ops)
			cr.over = overlayOf(&cr)
			out.rules = append(out.rules, cr)
		}
		for range len(c.Rules) + 1 {
			p.chainAt = append(p.chainAt, int32(len(p.chains)))
		}
		p.chains = append(p.chains, out)
	}
	p.findLoops()
	p.findMarkReads()
	p.layPaths(note)
	return p
}

// familyOf finds that a rule begins with `meta nfproto == X`, so that it need not
// be executed for the other family.
func familyOf(ops []op) uint8 {
	if len(ops) < 2 || ops[0].code != opMetaLoad || ops[0].key != unix.NFT_META_NFPROTO ||
		ops[1].code != opCmp || ops[1].oper != unix.NFT_CMP_EQ || ops[1].sreg != ops[0].dreg || ops[1].n != 1 {
		return 0
	}
	switch ops[1].data[0] {
	case unix.NFPROTO_IPV4:
		return dom4
	case unix.NFPROTO_IPV6:
		return dom6
	}
	return 0
}

// layPaths makes the list of base chains for each hook of the table.
func (p *program) layPaths(note func(string, string)) {
	paths := hookPaths()
	for _, name := range hookNames() {
		if !p.hooked(hookNumber(name)) {
			continue
		}
		p.starts[name] = int32(len(p.steps))
		for _, hook := range paths[name] {
			p.appendHook(hook, name, note)
		}
		p.steps[len(p.steps)-1].last = true
	}
	for i := range p.chains {
		c := p.chains[i].src
		if c.Hook == nil {
			continue
		}
		if c.Hook.Num > unix.NF_INET_POST_ROUTING {
			note(chainName(p.table, c), "not proved: a chain at the ingress hook is not modelled")
		}
		if c.Flags&chainOffload != 0 {
			note(chainName(p.table, c), "not proved: the chain is offloaded to hardware")
		}
	}
}

// chainOffload is NFT_CHAIN_HW_OFFLOAD.
const chainOffload = 0x2

// executed reports whether a base chain sees every packet of its hook. A nat
// chain sees the first of a connection only, and is judged as foreign ones are.
func executed(c *ruleset.Chain) bool {
	return c.Hook != nil && c.Type != "nat" && c.Hook.Num <= unix.NF_INET_POST_ROUTING
}

func (p *program) hooked(hook uint32) bool {
	return slices.ContainsFunc(p.chains, func(c chain) bool { return executed(c.src) && c.src.Hook.Num == hook })
}

func (p *program) appendHook(hook uint32, path string, note func(string, string)) {
	var at []int
	for i := range p.chains {
		if c := p.chains[i].src; executed(c) && c.Hook.Num == hook {
			at = append(at, i)
		}
	}
	slices.SortStableFunc(at, func(a, b int) int {
		return int(int64(p.chains[a].src.Hook.Priority) - int64(p.chains[b].src.Hook.Priority))
	})
	for k, i := range at {
		c := p.chains[i].src
		tracks := hook == unix.NF_INET_PRE_ROUTING || hook == unix.NF_INET_LOCAL_OUT
		if k > 0 && p.chains[at[k-1]].src.Hook.Priority == c.Hook.Priority {
			note(chainName(p.table, c), fmt.Sprintf("not proved: its order with chain %s is not defined (%s)", p.chains[at[k-1]].name, path))
		}
		if tracks && c.Hook.Priority == priorityConntrack {
			note(chainName(p.table, c), "not proved: its order with connection tracking is not defined")
		}
		p.steps = append(p.steps, step{
			chain: i, hook: hook, drop: c.Policy != codeAccept,
			before: tracks && c.Hook.Priority < priorityConntrack,
		})
	}
}

// targets lists the chains that a rule may transfer to.
func (p *program) targets(r *rule) []*ruleset.Verdict {
	var out []*ruleset.Verdict
	for i := range r.ops {
		o := &r.ops[i]
		if o.verdict != nil {
			out = append(out, o.verdict)
		}
		if o.code == opLookup && o.oper == lookupVerdict {
			if s := p.table.Set(o.set); s != nil {
				seen := map[ruleset.Verdict]bool{}
				for k := range s.Elements {
					if v := s.Elements[k].Verdict; v != nil && !seen[*v] {
						seen[*v] = true
						out = append(out, v)
					}
				}
			}
		}
	}
	return out
}

// findLoops marks the chains from which a packet could return to themselves. The
// kernel refuses such tables; a value that claims one is not executed.
func (p *program) findLoops() {
	const (
		fresh = iota
		open
		done
	)
	mark := make([]int, len(p.chains))
	var visit func(i int)
	visit = func(i int) {
		mark[i] = open
		for k := range p.chains[i].rules {
			for _, v := range p.targets(&p.chains[i].rules[k]) {
				if v.Code != codeJump && v.Code != codeGoto {
					continue
				}
				j, ok := p.byName[v.Chain]
				switch {
				case !ok:
				case mark[j] == open:
					p.loops[p.chains[j].name] = true
				case mark[j] == fresh:
					visit(j)
				}
			}
		}
		mark[i] = done
	}
	for i := range p.chains {
		if mark[i] == fresh {
			visit(i)
		}
	}
}

// begins reports whether a position is the first rule of a chain.
func (p *program) begins(pos int32) bool { return p.chains[p.chainAt[pos]].off == pos }

// at finds the chain and the index of the rule at a position; the index is the
// number of rules at the chain's end.
func (p *program) at(pos int32) (*chain, int) {
	c := &p.chains[p.chainAt[pos]]
	return c, int(pos - c.off)
}

func tableName(t *ruleset.Table) string { return "table " + familyName(t.Family) + " " + t.Name }

func chainName(t *ruleset.Table, c *ruleset.Chain) string {
	return tableName(t) + " chain " + c.Name
}

func ruleName(n int, handle uint64) string {
	if handle == 0 {
		return fmt.Sprintf("rule %d", n+1)
	}
	return fmt.Sprintf("rule %d (handle %d)", n+1, handle)
}

func familyName(f ruleset.Family) string {
	switch f {
	case ruleset.FamilyInet:
		return "inet"
	case ruleset.FamilyIPv4:
		return "ip"
	case ruleset.FamilyIPv6:
		return "ip6"
	case ruleset.FamilyARP:
		return "arp"
	case ruleset.FamilyNetdev:
		return "netdev"
	case ruleset.FamilyBridge:
		return "bridge"
	}
	return fmt.Sprintf("family %d", f)
}
