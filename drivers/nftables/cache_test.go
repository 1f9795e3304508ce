package nftables_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// A driver that decoded other states before gives a state the meaning that one gives
// it which decoded none: states that come back, states that differ in one thing, and
// states with other handles.
func TestDecodedBeforeIsDecodedAnew(t *testing.T) {
	tries.Checks(t, 40, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{MaxAssets: 5, MaxPolicies: 5})
		want := desired(t, w, []compile.Point{small()})
		options := nftables.Options{Site: "test", Interfaces: ifaces}
		if rapid.Bool().Draw(t, "by tables") {
			options.Pairs = 1
		}
		old := nftables.New(options)
		var kept prove.Cache
		r, err := old.Render(want, nil)
		if err != nil {
			t.Fatal(err)
		}
		tables := []*ruleset.Table{r.State.(*nftables.State).Table()}
		for range rapid.IntRange(2, 6).Draw(t, "steps") {
			base := rapid.SampledFrom(tables).Draw(t, "table")
			if _, err := old.Decode(stateWith(base)); err != nil { // what the change is held against
				t.Fatal(err)
			}
			tb := copyTable(base)
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0:
				rapid.SampledFrom(mutants).Draw(t, "mutant").apply(t, tb)
			case 1:
				changeElement(t, tb)
			case 2:
				changeRule(t, tb)
			case 3:
				renumber(tb, rapid.Uint64Range(1, 9).Draw(t, "handle"))
			}
			tables = append(tables, tb)
			got, err := old.Decode(stateWith(tb))
			if err != nil {
				t.Fatal(err)
			}
			anew, err := nftables.New(options).Decode(stateWith(tb))
			if err != nil {
				t.Fatal(err)
			}
			sameMeaning(t, got, anew)
			a, b := kept.Device(want.View.Matrix, want.Points, got), prove.Device(want.View.Matrix, want.Points, anew)
			if options.Pairs == 0 && !reflect.DeepEqual(a, b) || a[0].Proved != b[0].Proved || len(a[0].Wrong) != len(b[0].Wrong) {
				t.Fatalf("proved otherwise:\n%+v\n%+v", a, b)
			}
		}
	})
}

func stateWith(tb *ruleset.Table) *nftables.State {
	return &nftables.State{Site: "test", Ruleset: &ruleset.Ruleset{Tables: []ruleset.Table{*copyTable(tb)}}}
}

func changeElement(t *rapid.T, tb *ruleset.Table) {
	s := &tb.Sets[rapid.IntRange(0, len(tb.Sets)-1).Draw(t, "set")]
	if len(s.Elements) == 0 {
		return
	}
	n := rapid.IntRange(0, len(s.Elements)-1).Draw(t, "element")
	e := &s.Elements[n]
	switch rapid.IntRange(0, 4).Draw(t, "of element") {
	case 0:
		e.Key[rapid.IntRange(0, len(e.Key)-1).Draw(t, "byte")] ^= 1
	case 1:
		if len(e.Data) > 0 {
			e.Data[0] ^= 1
		}
	case 2:
		s.Elements = append(s.Elements[:n:n], s.Elements[n+1:]...)
	case 3:
		e.Timeout = time.Minute
	case 4:
		e.Opaque = true
	}
}

func changeRule(t *rapid.T, tb *ruleset.Table) {
	c := &tb.Chains[rapid.IntRange(0, len(tb.Chains)-1).Draw(t, "chain")]
	if len(c.Rules) == 0 {
		return
	}
	n := rapid.IntRange(0, len(c.Rules)-1).Draw(t, "rule")
	if rapid.Bool().Draw(t, "drop it") {
		c.Rules = append(c.Rules[:n:n], c.Rules[n+1:]...)
		return
	}
	c.Rules[n].Exprs = c.Rules[n].Exprs[:len(c.Rules[n].Exprs)-1]
}

func renumber(tb *ruleset.Table, by uint64) {
	for i := range tb.Chains {
		for k := range tb.Chains[i].Rules {
			tb.Chains[i].Rules[k].Handle += by
		}
	}
}

// sameMeaning compares what two decodings say, pair by pair.
func sameMeaning(t *rapid.T, got, want *driver.Decoded) {
	if !reflect.DeepEqual(got.Findings, want.Findings) || len(got.Relations) != len(want.Relations) {
		t.Fatalf("%d relations, findings %v, instead of %d, %v", len(got.Relations), got.Findings, len(want.Relations), want.Findings)
	}
	for i := range got.Relations {
		a, b := got.Relations[i].Flat(), want.Relations[i].Flat()
		if a.Situation != b.Situation || !reflect.DeepEqual(a.Src, b.Src) || !reflect.DeepEqual(a.Dst, b.Dst) {
			t.Fatalf("other parts in %v", b.Situation)
		}
		for s := range a.Src {
			for d := range a.Dst {
				if x, y := a.Permit(s, d), b.Permit(s, d); !x.Equal(y) {
					t.Fatalf("%v instead of %v in %v", x, y, b.Situation)
				}
			}
		}
		from, to := a.Src[0].First(), a.Dst[len(a.Dst)-1].First()
		if x, y := a.Why(from, to, 6<<16|80), b.Why(from, to, 6<<16|80); x != y {
			t.Fatalf("%q instead of %q", x, y)
		}
	}
}
