package aws_test

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/drivers/aws"
	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
)

// held is what a region holds at one moment.
type held struct {
	groups map[string]awstest.Group
	ifaces map[string]awstest.Interface
}

func (e *site) held() held {
	out := held{map[string]awstest.Group{}, map[string]awstest.Interface{}}
	for _, g := range e.r.Groups() {
		out.groups[g.ID] = g
	}
	for _, n := range e.r.Interfaces() {
		out.ifaces[n.ID] = n
	}
	return out
}

// least is how few mutating calls lead from one to the other. It looks at the two alone: a
// group whose rules change takes one call a direction to add up to 1,000 and one to remove as
// many, a new one is made and loses its first rules, one that goes is deleted, and an
// interface changes its set by one call. Tags that differ take one.
func least(from, to held) (n int) {
	for id, g := range to.groups {
		old, ok := from.groups[id]
		if !ok {
			n += 2
		} else if !maps.Equal(old.Tags, g.Tags) {
			n++
		}
		for _, egress := range []bool{false, true} {
			n += batches(g.Rules, old.Rules, egress)
			if ok {
				n += batches(old.Rules, g.Rules, egress)
			}
		}
	}
	for id := range from.groups {
		if _, ok := to.groups[id]; !ok {
			n++
		}
	}
	for id, i := range to.ifaces {
		old := from.ifaces[id]
		if !slices.Equal(slices.Sorted(slices.Values(old.Groups)), slices.Sorted(slices.Values(i.Groups))) {
			n++
		}
		if !maps.Equal(old.Tags, i.Tags) {
			n++
		}
	}
	return n
}

// batches is how many calls it takes to add the rules of one list that are not in another.
func batches(in, not []awstest.Rule, egress bool) int {
	n := 0
	for _, r := range in {
		if r.Egress == egress && !slices.ContainsFunc(not, func(o awstest.Rule) bool { return o.ID == r.ID }) {
			n++
		}
	}
	return (n + 999) / 1000
}

// The calls of a change are as few as there can be, and as many as the plan says.
func TestCallsAreTheLeast(t *testing.T) {
	e := newEstate(t)
	e.s.Exclusive = true
	list := append(stages(t), driver.Desired{Site: drivertest.Site})
	for i, from := range list {
		for j, to := range list {
			if i == j {
				continue
			}
			e.bring(t, from)
			old := e.held()
			said := e.said(t, to)["api calls of this change"]
			e.w.ResetCalls()
			if err := e.try(to); err != nil {
				t.Fatal(err)
			}
			made, few := len(e.w.Mutations()), least(old, e.held())
			if made*10 > few*11 {
				t.Errorf("from %d to %d: %d calls, and %d would do", i, j, made, few)
			}
			if said != made {
				t.Errorf("from %d to %d: the plan says %d calls, and it took %d", i, j, said, made)
			}
		}
	}
}

// said is what a plan says of resources.
func (e *estate) said(t testing.TB, want driver.Desired) map[string]int {
	t.Helper()
	r, err := e.driver().Render(want, e.read(t))
	if err != nil {
		t.Fatal(err)
	}
	return used(r)
}

func used(r *driver.Rendered) map[string]int {
	out := map[string]int{}
	for _, u := range r.Usage {
		out[u.Resource] = u.Used
	}
	return out
}

// Where nothing changed, a pass is nothing but reads, and those are in pages: AWS gives a
// read of everything at once less than half the rate.
func TestNothingChangedIsReads(t *testing.T) {
	e := newEstate(t)
	want := simple(t)
	e.bring(t, want)
	e.w.ResetCalls()
	e.proved(t, want)
	log := e.w.Calls()
	if len(log) == 0 {
		t.Fatal("nothing was read")
	}
	for _, c := range log {
		named := c.Params["GroupId.1"] != "" || c.Params["PrefixListId"] != ""
		paged := c.Params["MaxResults"] != "" || c.Params["MaxRecords"] != "" // EC2's, and Auto Scaling's
		if c.Mutating || !paged && !named {
			t.Errorf("%s %v", c.Action, c.Params)
		}
	}
}

// AWS takes a thousand rules in one call: more of one direction are more calls, and no more
// than it takes.
func TestThousandRulesInACall(t *testing.T) {
	d, err := aws.New(drivertest.Site, aws.Settings{Region: region})
	if err != nil {
		t.Fatal(err)
	}
	group := func(n int) *aws.State {
		g := aws.Group{Key: "vpc-1/bulkhead test 1", ID: "sg-1", Name: "bulkhead test 1", VPC: "vpc-1", Ours: true}
		for i := range n {
			g.Rules = append(g.Rules, aws.Rule{Protocol: "tcp", From: 1 + i, To: 1 + i, Prefix: netip.MustParsePrefix("192.0.2.0/24")})
		}
		return &aws.State{Site: drivertest.Site, Groups: []aws.Group{g},
			Interfaces: []aws.Interface{{ID: "eni-1", VPC: "vpc-1", Groups: []string{g.Key}}}}
	}
	for n, calls := range map[int]int{1: 1, 1000: 1, 1001: 2, 2500: 3} {
		for _, way := range [][2]*aws.State{{group(0), group(n)}, {group(n), group(0)}} {
			c, err := d.Diff(way[0], way[1])
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Ops) != calls {
				t.Errorf("%d rules take %d calls, not %d", n, len(c.Ops), calls)
			}
		}
	}
}

// The plan tells how long AWS's throttles make it take at least: to move N interfaces takes
// (N-100)/5 seconds, to make N groups (N-50)/5, one beside the other.
func TestThrottledTime(t *testing.T) {
	const seconds = "seconds that these calls take by AWS's throttles"
	d, err := aws.New(drivertest.Site, aws.Settings{Region: region})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ instances, classes, seconds int }{{40, 40, 0}, {60, 60, 2}, {300, 40, 40}} {
		want, have := large(t, c.instances, c.classes, c.classes)
		r, err := d.Render(want, have)
		if err != nil {
			t.Fatal(err)
		}
		if got := used(r)[seconds]; got != c.seconds {
			t.Errorf("%d interfaces and %d groups take %d s, not %d", c.instances, c.classes, got, c.seconds)
		}
	}
}

// Every mutating call is in the plan, action by action, as the endpoint's log counts them.
func TestEveryCallIsPlanned(t *testing.T) {
	e := newEstate(t)
	want := simple(t)
	have := e.read(t)
	r, err := e.driver().Render(want, have)
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.driver().Diff(have, r.State)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	e.w.ResetCalls()
	if err := e.driver().Apply(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	for _, c := range e.w.Mutations() {
		count[c.Action]++
	}
	var said []string
	for _, op := range c.Ops {
		said = append(said, strings.Fields(op.ID)[1])
	}
	for action, n := range count {
		planned := 0
		for _, s := range said {
			if s == action {
				planned++
			}
		}
		if action == "RevokeSecurityGroupEgress" {
			planned += count["CreateSecurityGroup"]
		}
		if planned != n {
			t.Errorf("%s: planned %d times, made %d times", action, planned, n)
		}
	}
}
