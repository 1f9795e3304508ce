package prove_test

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// Of a part of a matrix a device is proved if it does what policy says between every
// class that is asked as a source and every one that is asked as a destination, a class
// and itself among them although it may have one address here: that stands for others.
// What the device does with anybody else is no matter.
func TestPartsOfAnyMake(t *testing.T) {
	right, wrong, alone, unasked := 0, 0, 0, 0
	tries.Check(t, func(t *rapid.T) {
		w := policytest.World(t, policytest.Options{Plain: rapid.IntRange(0, 3).Draw(t, "plain") > 0, MaxPolicies: 10})
		in := compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now}
		all, err := compile.Compile(in)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		var ends [2]packet.Addrs
		for c := range all.Classes {
			first := all.Classes[c].Addrs.First()
			for side := range ends {
				if r.IntN(3) > 0 {
					ends[side] = ends[side].Union(packet.AddrRanges([]packet.Range{{From: first, To: first}}))
				}
			}
		}
		if ends[0].IsEmpty() || ends[1].IsEmpty() {
			return
		}
		m, err := compile.Part(in, ends[0], ends[1])
		if err != nil {
			t.Fatal(err)
		}
		points := []compile.Point{gateway()}
		if _, err := compile.NewView(m, points).Layout(compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 64, SpaceCost: 3}); err != nil {
			t.Fatal(err)
		}
		o := newOtherwise(r, m)
		if rapid.Bool().Draw(t, "spoilt") {
			o.spoil()
		}
		d := o.decoded()
		want, self := true, true
		for i := range m.Classes {
			for j := range m.Classes {
				src, dst := m.Classes[i].Addrs.First(), m.Classes[j].Addrs.First()
				if src.Is4() != dst.Is4() {
					continue
				}
				cases := o.cases[1]
				if src.Is4() {
					cases = o.cases[0]
				}
				if m.Permitted(i, j).Equal(driver.Permits(cases, src, dst)) {
					continue
				}
				switch {
				case !m.Asked(i, false) || !m.Asked(j, true):
					unasked++
				case i == j:
					self = false
				default:
					want = false
				}
			}
		}
		if got := prove.Device(m, points, d)[0]; got.Proved != (want && self) {
			t.Fatalf("proved %v; between classes right: %v, within each: %v; %v %v", got.Proved, want, self, got.Wrong, got.Findings)
		}
		switch {
		case want && self:
			right++
		case want:
			alone++
		default:
			wrong++
		}
	})
	t.Logf("%d right, %d wrong, %d wrong within a class alone; %d pairs that nobody asks of were otherwise", right, wrong, alone, unasked)
	if tries.All && (right == 0 || wrong == 0 || alone == 0 || unasked == 0) {
		t.Error("the test shows nothing")
	}
}
