package aws_test

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"bulkhead/drivers/aws"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// large is an estate in one VPC: instances in classes of the same size, and rules from one
// class to another. Neighbours in address are of different classes, so that no prefix
// stands for a class. The state holds no group of ours yet.
func large(t testing.TB, instances, classes, rules int) (driver.Desired, *aws.State) {
	t.Helper()
	w := &policy.World{Book: &policy.Rulebook{}, Where: map[string][]string{}, Now: policytest.Epoch}
	s := &aws.State{Site: drivertest.Site, Limits: aws.Limits{Rules: aws.DefaultRules, Groups: aws.DefaultGroups},
		VPCs:   []aws.VPC{{ID: "vpc-1", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Primary: netip.MustParsePrefix("10.0.0.0/16"), Group: "sg-default"}},
		Groups: []aws.Group{{Key: "sg-empty", ID: "sg-empty", Name: "empty", VPC: "vpc-1"}},
		Names:  map[string][]string{"vpc-1": {"default", "empty"}}, There: []string{"sg-default", "sg-empty"}}
	members := make([][]string, classes)
	var set []netip.Prefix
	for i := range instances {
		a := netip.AddrFrom4([4]byte{10, 0, byte(16 + i/250), byte(2 + i%250)})
		p := netip.PrefixFrom(a, 32)
		set = append(set, p)
		id := fmt.Sprintf("i-%05d", i)
		members[i%classes] = append(members[i%classes], id)
		w.Assets = append(w.Assets, inventory.Asset{ID: id, Kind: inventory.Instance, Addresses: []netip.Prefix{p}})
		s.Interfaces = append(s.Interfaces, aws.Interface{ID: fmt.Sprintf("eni-%05d", i), VPC: "vpc-1", Addrs: []netip.Prefix{p}, Groups: []string{"sg-empty"}})
	}
	for k, list := range members {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: fmt.Sprintf("class-%03d", k), Members: list, Isolate: policy.IsolateBoth})
	}
	for _, name := range []string{policy.GroupAny, policy.GroupUnknown, policy.GroupUnidentified} {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Isolate: policy.IsolateNone})
	}
	for i := range rules {
		port := uint16(1000 + i%40)
		w.Book.Policies = append(w.Book.Policies, policy.Policy{Name: fmt.Sprintf("p%03d", i), Action: policy.Allow,
			From: []string{fmt.Sprintf("class-%03d", i%classes)}, To: []string{fmt.Sprintf("class-%03d", (i*7+i/classes+1)%classes)},
			Ranges: []policy.Range{{Proto: 6, Lo: port, Hi: port}}, Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce})
	}
	policy.SortPolicies(w.Book.Policies)
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	points := []compile.Point{{Name: "cloud", Mode: policy.Enforce, Endpoint: true, Protects: packet.AddrsOf(set...)}}
	return driver.Desired{Site: drivertest.Site, Now: w.Now, Points: points, View: compile.NewView(m, points)}, s
}

// planned makes a plan of a state that was read: rendering, residue, the calls, and the
// proof of what would be installed.
func planned(t testing.TB, want driver.Desired, have *aws.State, named bool) *aws.State {
	t.Helper()
	d, err := aws.New(drivertest.Site, aws.Settings{Region: region, References: named})
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Render(want, have)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Diff(have, r.State); err != nil {
		t.Fatal(err)
	}
	m, err := d.Decode(r.State)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prove.Device(want.View.Matrix, want.Points, m, r.Residue...) {
		if !p.Proved {
			t.Fatalf("not proved: %s", text(p))
		}
	}
	return stateOf(r.State)
}

// The figure that docs/aws.md gives: a plan of 1,000 instances in 200 classes with
// 500 rules, from a state that was read.
func BenchmarkPlan(b *testing.B) {
	for _, c := range []struct{ instances, classes, rules int }{{100, 20, 50}, {1000, 200, 500}} {
		want, have := large(b, c.instances, c.classes, c.rules)
		installed := planned(b, want, have, false)
		for name, have := range map[string]*aws.State{"first": have, "settled": installed} {
			b.Run(fmt.Sprintf("%s/%d", name, c.instances), func(b *testing.B) {
				b.ReportAllocs()
				before := cpu(b)
				for b.Loop() {
					planned(b, want, have, false)
				}
				b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/op")
			})
		}
	}
}

// cpu is what the process has used, the collector included.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Ten times the classes are a hundred times the pairs. What is judged one by one grows with
// what policy says, and not with who it says it of.
func TestPairsAreNotJudgedOneByOne(t *testing.T) {
	for _, classes := range []int{20, 200} {
		want, have := large(t, 2*classes, classes, classes*5/2)
		one, all := aws.Compared(want, have)
		t.Logf("%d classes: %d of %d pairs", classes, one, all)
		if one > 4000 {
			t.Errorf("%d classes: %d of %d pairs were judged one by one", classes, one, all)
		}
	}
}

// A plan of a large region is proved, and planned again it is empty.
func TestLargeRegion(t *testing.T) {
	for _, named := range []bool{false, true} {
		want, have := large(t, 200, 40, 100)
		installed := planned(t, want, have, named)
		d, err := aws.New(drivertest.Site, aws.Settings{Region: region, References: named})
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.Render(want, installed)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := d.Diff(installed, r.State); err != nil || !c.Empty() {
			t.Fatalf("references %v: %v, %d calls", named, err, len(c.Ops))
		}
	}
}
