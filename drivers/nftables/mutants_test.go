package nftables_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// copyTable copies a table deeply enough to break it.
func copyTable(t *ruleset.Table) *ruleset.Table {
	c := *t
	c.Chains = slices.Clone(t.Chains)
	for i := range c.Chains {
		c.Chains[i].Rules = slices.Clone(t.Chains[i].Rules)
	}
	c.Sets = slices.Clone(t.Sets)
	for i := range c.Sets {
		c.Sets[i].Elements = slices.Clone(t.Sets[i].Elements)
		for k := range c.Sets[i].Elements {
			e := &c.Sets[i].Elements[k]
			e.Key, e.KeyEnd, e.Data = bytes.Clone(e.Key), bytes.Clone(e.KeyEnd), bytes.Clone(e.Data)
		}
	}
	return &c
}

// A mutant is one way to break a rendered table, as a compiler's mistake would.
// It reports whether there was anything to break.
type mutant struct {
	name  string
	apply func(t *rapid.T, tb *ruleset.Table) bool
}

func pickElement(t *rapid.T, tb *ruleset.Table, sets ...string) (*ruleset.Set, int) {
	var have []string
	for _, n := range sets {
		if s := tb.Set(n); s != nil && len(s.Elements) > 0 {
			have = append(have, n)
		}
	}
	if len(have) == 0 {
		return nil, 0
	}
	s := tb.Set(rapid.SampledFrom(have).Draw(t, "set"))
	return s, rapid.IntRange(0, len(s.Elements)-1).Draw(t, "element")
}

func without(s *ruleset.Set, i int) { s.Elements = slices.Delete(s.Elements, i, i+1) }

var mutants = []mutant{
	{"drop an address", func(t *rapid.T, tb *ruleset.Table) bool {
		s, i := pickElement(t, tb, "host4", "host6")
		if s == nil {
			return false
		}
		without(s, i)
		return true
	}},
	{"widen by one", func(t *rapid.T, tb *ruleset.Table) bool {
		// The next address gets the word of this one.
		s, i := pickElement(t, tb, "host4", "host6")
		if s == nil {
			return false
		}
		e := s.Elements[i]
		next := bytes.Clone(e.Key)
		next[len(next)-1]++
		for k := range s.Elements {
			if bytes.Equal(s.Elements[k].Key, next) {
				s.Elements[k].Data = e.Data
				return true
			}
		}
		s.Elements = append(s.Elements, ruleset.Element{Key: next, Data: e.Data})
		return true
	}},
	{"port off by one", func(t *rapid.T, tb *ruleset.Table) bool {
		s, i := pickElement(t, tb, "svc", "svcr")
		if s == nil {
			return false
		}
		e := &s.Elements[i]
		if e.KeyEnd != nil {
			if e.KeyEnd[9] == 255 {
				return false
			}
			e.KeyEnd[9]++
			return true
		}
		if e.Key[9] == 255 {
			return false
		}
		e.Key[9]++
		return !slices.ContainsFunc(s.Elements[:i], func(o ruleset.Element) bool { return bytes.Equal(o.Key, e.Key) }) &&
			!slices.ContainsFunc(s.Elements[i+1:], func(o ruleset.Element) bool { return bytes.Equal(o.Key, e.Key) })
	}},
	{"drop the IPv6 half", func(t *rapid.T, tb *ruleset.Table) bool {
		h, n := tb.Set("host6"), tb.Set("net6")
		some := len(h.Elements)+len(n.Elements) > 0
		h.Elements, n.Elements = nil, nil
		return some
	}},
	{"drop a pair", func(t *rapid.T, tb *ruleset.Table) bool {
		s, i := pickElement(t, tb, "pair")
		if s == nil {
			return false
		}
		without(s, i)
		return true
	}},
	{"flip an action", func(t *rapid.T, tb *ruleset.Table) bool {
		from, to := tb.Set("permit"), tb.Set("deny")
		if rapid.Bool().Draw(t, "which way") {
			from, to = to, from
		}
		if len(from.Elements) == 0 {
			return false
		}
		i := rapid.IntRange(0, len(from.Elements)-1).Draw(t, "element")
		to.Elements = append(to.Elements, from.Elements[i])
		without(from, i)
		return true
	}},
	{"another ruleset", func(t *rapid.T, tb *ruleset.Table) bool {
		s, i := pickElement(t, tb, "pair")
		if s == nil {
			return false
		}
		other := s.Elements[rapid.IntRange(0, len(s.Elements)-1).Draw(t, "other")]
		if bytes.Equal(other.Data, s.Elements[i].Data) {
			return false
		}
		s.Elements[i].Data = other.Data
		return true
	}},
	{"empty is any", func(t *rapid.T, tb *ruleset.Table) bool {
		// Every address gets the word of one class.
		s, i := pickElement(t, tb, "net4")
		if s == nil || s.Elements[i].Flags&ruleset.ElemIntervalEnd != 0 {
			return false
		}
		word := s.Elements[i].Data
		tb.Set("host4").Elements = nil
		s.Elements = []ruleset.Element{{Key: []byte{0, 0, 0, 0}, Data: word}}
		return true
	}},
	{"default allow", func(t *rapid.T, tb *ruleset.Table) bool {
		c := tb.Chain("judge_deny")
		c.Rules = []ruleset.Rule{tb.Chain("judge_default").Rules[2]}
		return true
	}},
	{"drop a rule", func(t *rapid.T, tb *ruleset.Table) bool {
		i := rapid.IntRange(0, len(tb.Chains)-1).Draw(t, "chain")
		c := &tb.Chains[i]
		if len(c.Rules) == 0 {
			return false
		}
		k := rapid.IntRange(0, len(c.Rules)-1).Draw(t, "rule")
		c.Rules = slices.Delete(c.Rules, k, k+1)
		return true
	}},
	{"swap two rules", func(t *rapid.T, tb *ruleset.Table) bool {
		i := rapid.IntRange(0, len(tb.Chains)-1).Draw(t, "chain")
		c := &tb.Chains[i]
		if len(c.Rules) < 2 {
			return false
		}
		k := rapid.IntRange(0, len(c.Rules)-2).Draw(t, "rule")
		c.Rules[k], c.Rules[k+1] = c.Rules[k+1], c.Rules[k]
		return true
	}},
	{"accept first", func(t *rapid.T, tb *ruleset.Table) bool {
		pass := tb.Chain("pass").Rules
		i := rapid.IntRange(0, len(tb.Chains)-1).Draw(t, "chain")
		c := &tb.Chains[i]
		if c.Name == "pass" {
			return false
		}
		at := rapid.IntRange(0, len(c.Rules)).Draw(t, "at")
		c.Rules = slices.Insert(c.Rules, at, pass[len(pass)-1])
		return true
	}},
}

// Every mutant is found, with a packet that really is treated otherwise, or it
// changes nothing that a packet can show.
func TestMutantsAreFound(t *testing.T) {
	for _, mu := range mutants {
		t.Run(strings.ReplaceAll(mu.name, " ", "-"), func(t *testing.T) {
			found, equivalent := 0, 0
			tries.Checks(t, 30, func(t *rapid.T) {
				w := policytest.World(t, policytest.Options{MaxAssets: 6, MaxPolicies: 6})
				d := nftables.New(nftables.Options{Site: "test", Interfaces: ifaces})
				want := desired(t, w, []compile.Point{small()})
				r, err := d.Render(want, nil)
				if err != nil {
					t.Fatal(err)
				}
				broken := copyTable(r.State.(*nftables.State).Table())
				if !mu.apply(t, broken) {
					return
				}
				state := &nftables.State{Site: "test", Ruleset: &ruleset.Ruleset{Tables: []ruleset.Table{*broken}}}
				dec, err := d.Decode(state)
				if err != nil {
					t.Fatal(err)
				}
				res := prove.Device(want.View.Matrix, want.Points, dec)[0]
				if res.Proved {
					equivalent++
					mustBeEquivalent(t, w, want, dec)
					return
				}
				found++
				for _, c := range res.Wrong {
					mustBeTrue(t, want, &c)
				}
			})
			t.Logf("%d found, %d equivalent", found, equivalent)
		})
	}
}

func small() compile.Point { return compile.Point{Name: "gw", Mode: policy.Enforce, Transit: true} }

// mustBeTrue checks a counterexample against the reference: policy says the
// opposite of what the device does.
func mustBeTrue(t *rapid.T, want driver.Desired, c *prove.Counterexample) {
	permit := want.View.Matrix.Verdict(c.Src, c.Dst, c.Service).Permit
	if c.Situation.Expired {
		return // the reference knows the present only
	}
	if permit == c.Passes {
		t.Fatalf("false witness: %s", c.String())
	}
}

// mustBeEquivalent enumerates what a packet could show: the ends of every
// interval, every pair, every service bound.
func mustBeEquivalent(t *rapid.T, w *policy.World, want driver.Desired, dec *driver.Decoded) {
	addrs := policytest.Addresses(w)
	for _, rel := range dec.Relations {
		if rel.Situation.Hook != compile.HookForward || rel.Situation.Tracking != driver.TrackNew || rel.Situation.Expired {
			continue
		}
		part := func(sets []packet.Addrs, i int) int {
			return slices.IndexFunc(sets, func(s packet.Addrs) bool { return s.Contains(addrs[i]) })
		}
		for i := range addrs {
			for j := range addrs {
				if i == j || addrs[i].Is4() != addrs[j].Is4() {
					continue
				}
				got := rel.Permit(part(rel.Src, i), part(rel.Dst, j))
				for _, s := range policytest.Services(w) {
					f := policy.Flow{Src: addrs[i], Dst: addrs[j], Proto: uint8(s[0]), Num: s[1]}
					if f.Proto == 1 && !f.Src.Is4() || f.Proto == 58 && f.Src.Is4() {
						continue
					}
					if got.Contains(packet.Point(f.Proto, f.Num)) != w.Decide(f).Permit {
						t.Fatalf("the proof missed %s", fmt.Sprint(f))
					}
				}
			}
		}
	}
}

// A ruleset that lost everything that looks at source ports tells no two of them
// apart, and must not be proved for it: what answers a failsafe flow or a DHCP
// client would be dropped.
func TestLostSourcePortRulesAreFound(t *testing.T) {
	world := permits()
	world.Now = policytest.Epoch
	for name, lose := range map[string]func(tb *ruleset.Table){
		"failsafe": func(tb *ruleset.Table) {
			for _, c := range []string{"failsafe", "failsafe_untracked"} {
				ch := tb.Chain(c)
				ch.Rules = slices.DeleteFunc(ch.Rules, func(r ruleset.Rule) bool { return strings.Contains(r.Text, "@fs_port") })
			}
		},
		"dhcp": func(tb *ruleset.Table) {
			for _, c := range []string{"input.host-1", "output.host-1"} {
				ch := tb.Chain(c)
				ch.Rules = slices.DeleteFunc(ch.Rules, func(r ruleset.Rule) bool { return strings.Contains(r.Text, "udp sport") })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := nftables.New(nftables.Options{Site: "test"})
			point := host(policy.Enforce)
			point.Failsafe = point.Failsafe[:1]
			want := desired(t, world, []compile.Point{point})
			r, err := d.Render(want, nil)
			if err != nil {
				t.Fatal(err)
			}
			mustProve(t, d, want, r.State)
			broken := copyTable(r.State.(*nftables.State).Table())
			lose(broken)
			res := proveState(t, d, want, &nftables.State{Site: "test", Ruleset: &ruleset.Ruleset{Tables: []ruleset.Table{*broken}}})
			if res.Proved || len(res.Wrong) == 0 {
				t.Errorf("proved without the rules: %+v", res)
			}
		})
	}
}
