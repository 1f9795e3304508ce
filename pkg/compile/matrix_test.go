package compile_test

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
)

func input(w *policy.World) compile.Input {
	return compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now}
}

func mustCompile(t interface{ Fatal(...any) }, w *policy.World) *compile.Matrix {
	m, err := compile.Compile(input(w))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// name gives the name of the policy that decided, or "".
func name(m *compile.Matrix, i int) string {
	if i == compile.Default {
		return ""
	}
	return m.Policies[i].Name
}

func sideName(s policy.Side) string {
	if s.Policy == nil {
		return ""
	}
	return s.Policy.Name
}

// The compiler agrees with the reference evaluator on every interesting flow:
// the verdict, the deciding policies, and what observed policies would do.
func TestMatrixIsDecide(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{})
		m := mustCompile(t, w)
		checkCells(t, m)
		contested := contestedAddrs(w)
		services := policytest.Services(w)
		addrs := policytest.Addresses(w)
		for _, src := range addrs {
			for _, dst := range addrs {
				if src == dst {
					continue
				}
				for _, s := range services {
					f := policy.Flow{Src: src, Dst: dst, Proto: uint8(s[0]), Num: s[1]}
					want := w.Decide(f)
					got := m.Verdict(src, dst, packet.Point(f.Proto, f.Num))
					if got.Permit != want.Permit {
						t.Fatalf("%+v: compiled permit=%v, Decide says %v (egress %q ingress %q)", f, got.Permit, want.Permit, sideName(want.Egress), sideName(want.Ingress))
					}
					if got.Differs != (want.Shadow != want.Permit) {
						t.Fatalf("%+v: compiled differs=%v, Decide says shadow %v enforced %v", f, got.Differs, want.Shadow, want.Permit)
					}
					if contested[src] || contested[dst] {
						continue
					}
					if name(m, got.Egress) != sideName(want.Egress) || name(m, got.Ingress) != sideName(want.Ingress) {
						t.Fatalf("%+v: compiled names %q and %q, Decide %q and %q", f, name(m, got.Egress), name(m, got.Ingress), sideName(want.Egress), sideName(want.Ingress))
					}
				}
			}
		}
	})
}

func contestedAddrs(w *policy.World) map[netip.Addr]bool {
	n := map[netip.Addr]map[string]bool{}
	for _, a := range w.Assets {
		for _, p := range a.Addresses {
			if a.Kind.ClaimsMachine() && p.IsSingleIP() {
				if n[p.Addr()] == nil {
					n[p.Addr()] = map[string]bool{}
				}
				n[p.Addr()][a.ID] = true
			}
		}
	}
	out := map[netip.Addr]bool{}
	for a, ids := range n {
		out[a] = len(ids) > 1
	}
	return out
}

// With nobody there to compute anew, what a verdict becomes at its deadline never
// permits what policy does not permit then.
func TestDeadlineFailsClosed(t *testing.T) {
	tries.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{})
		m := mustCompile(t, w)
		addrs, services := policytest.Addresses(w), policytest.Services(w)
		for h := 1; h <= 4; h++ {
			later := *w
			later.Now = policytest.Epoch.Add(time.Duration(h) * time.Hour)
			for _, src := range addrs {
				for _, dst := range addrs {
					if src == dst {
						continue
					}
					for _, s := range services {
						o := m.Verdict(src, dst, packet.Point(uint8(s[0]), s[1]))
						if !o.Deadline.IsZero() && !later.Now.Before(o.Deadline) {
							o = &m.Outcomes[o.After]
						}
						f := policy.Flow{Src: src, Dst: dst, Proto: uint8(s[0]), Num: s[1]}
						if o.Permit && !later.Decide(f).Permit {
							t.Fatalf("%d h later %+v is still permitted, and policy denies it", h, f)
						}
					}
				}
			}
		}
	})
}

// Cells cover the whole line, in order, without a gap or an overlap.
func checkCells(t *rapid.T, m *compile.Matrix) {
	for _, c := range m.Cells {
		next := uint32(0)
		for i, s := range c {
			if s.Span.Lo != next || s.Span.Hi < s.Span.Lo {
				t.Fatalf("segment %d of %+v does not continue at %d", i, c, next)
			}
			if i > 0 && c[i-1].Outcome == s.Outcome {
				t.Fatalf("segments %d and %d of %+v are not merged", i-1, i, c)
			}
			next = s.Span.Hi + 1
		}
		if next != packet.MaxService+1 {
			t.Fatalf("%+v ends at %d", c, next)
		}
	}
}
