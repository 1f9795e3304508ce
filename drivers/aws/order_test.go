package aws_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"bulkhead/drivers/aws/awstest"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// estate is four machines of three tiers in one VPC, and one behind a peering.
type estate struct {
	*site
	web, web2, app, db, far string
	farVPC, peering         string
}

func newEstate(t testing.TB) *estate {
	e := &estate{site: newSite(t)}
	on := []string{e.empty}
	e.web, e.web2 = e.eni(on, "10.0.0.10", "2001:db8::10"), e.eni(on, "10.0.0.13", "2001:db8::13")
	e.app, e.db = e.eni(on, "10.0.0.11", "2001:db8::11"), e.eni(on, "10.0.0.12")
	e.farVPC = e.r.AddVPC("far", "10.1.0.0/16")
	sub := e.r.AddSubnet(e.farVPC, region+"a", "10.1.0.0/16", "")
	nothing := e.r.AddGroup(awstest.GroupSpec{VPC: e.farVPC, Name: "empty", Egress: []awstest.RuleSpec{}})
	e.far = e.r.AddInterface(awstest.InterfaceSpec{Subnet: sub, Private: []string{"10.1.0.10"}, Groups: []string{nothing}})
	e.peering = e.r.AddPeering(e.vpc, e.r, e.farVPC)
	return e
}

func (e *estate) all() []string { return []string{e.web, e.web2, e.app, e.db, e.far} }

var machines = map[string][]string{
	"web": {"10.0.0.10", "2001:db8::10"}, "web2": {"10.0.0.13", "2001:db8::13"}, "app": {"10.0.0.11", "2001:db8::11"}, "db": {"10.0.0.12"}, "far": {"10.1.0.10"},
}

// say is a sentence of policy: from, to, port.
type say struct {
	from, to string
	port     uint16
}

// ranges are what a sentence is about: a port of TCP, pings where the port is 0, everything
// where it is 65535.
func (s say) ranges() []policy.Range {
	switch s.port {
	case 0:
		return []policy.Range{{Proto: 1, Lo: 8 << 8, Hi: 8<<8 | 255}, {Proto: 58, Lo: 128 << 8, Hi: 128<<8 | 255}}
	case 65535:
		var out []policy.Range
		for p := range 256 {
			out = append(out, policy.Range{Proto: uint8(p), Hi: 65535})
		}
		return out
	}
	return []policy.Range{{Proto: 6, Lo: s.port, Hi: s.port}}
}

// desired compiles a world in which groups of machines are isolated.
func desired(t testing.TB, groups map[string][]string, says []say, protects ...string) driver.Desired {
	t.Helper()
	return desiredOf(t, machines, groups, says, protects...)
}

func desiredOf(t testing.TB, machines, groups map[string][]string, says []say, protects ...string) driver.Desired {
	t.Helper()
	w := &policy.World{Book: &policy.Rulebook{}, Where: map[string][]string{}, Now: policytest.Epoch}
	var set []netip.Prefix
	for _, name := range slices.Sorted(maps.Keys(machines)) {
		a := inventory.Asset{ID: name, Kind: inventory.Server, Labels: map[string]string{}}
		for _, s := range machines[name] {
			x := netip.MustParseAddr(s)
			p := netip.PrefixFrom(x, x.BitLen())
			a.Addresses = append(a.Addresses, p)
			if slices.Contains(protects, name) {
				set = append(set, p)
			}
		}
		w.Assets = append(w.Assets, a)
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Members: groups[name], Isolate: policy.IsolateBoth})
	}
	for _, name := range []string{policy.GroupAny, policy.GroupUnknown, policy.GroupUnidentified} {
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Isolate: policy.IsolateNone})
	}
	for _, name := range []string{"office", "all"} {
		at := map[string]string{"office": "192.0.2.0/24", "all": "0.0.0.0/0"}[name]
		w.Book.Groups = append(w.Book.Groups, policy.Group{Name: name, Prefixes: []netip.Prefix{netip.MustParsePrefix(at)}, Isolate: policy.IsolateNone})
	}
	for i, s := range says {
		w.Book.Policies = append(w.Book.Policies, policy.Policy{Name: fmt.Sprintf("p%d", i), Action: policy.Allow, From: []string{s.from}, To: []string{s.to},
			Ranges: s.ranges(), Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce})
	}
	policy.SortPolicies(w.Book.Policies)
	m, err := compile.Compile(compile.Input{Assets: w.Assets, Book: w.Book, Where: w.Where, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	points := []compile.Point{{Name: "cloud", Mode: policy.Enforce, Endpoint: true, Protects: packet.AddrsOf(set...)}}
	return driver.Desired{Site: drivertest.Site, Now: w.Now, Points: points, View: compile.NewView(m, points)}
}

var probes = []awstest.Probe{{Protocol: 6, Port: 80}, {Protocol: 6, Port: 443}, {Protocol: 6, Port: 5432}, {Protocol: 6, Port: 22}, {Protocol: 17, Port: 9},
	{Protocol: 1, Type: 8}, {Protocol: 58, Type: 128}}

func (e *estate) permitted() map[awstest.Flow]bool {
	out := map[awstest.Flow]bool{}
	for _, f := range e.w.Permitted(e.all(), probes...) {
		out[f] = true
	}
	return out
}

// bring applies and demands a proof of what is read back.
func (e *estate) bring(t testing.TB, want driver.Desired) {
	t.Helper()
	if err := e.try(want); err != nil {
		t.Fatal(err)
	}
	e.proved(t, want)
}

func (e *estate) try(want driver.Desired) error {
	d := e.driver()
	have, err := d.Read(context.Background())
	if err != nil {
		return err
	}
	r, err := d.Render(want, have)
	if err != nil {
		return err
	}
	c, err := d.Diff(have, r.State)
	if err != nil {
		return err
	}
	return d.Apply(context.Background(), c)
}

func (e *estate) proved(t failer, want driver.Desired) {
	t.Helper()
	d := e.driver()
	now, err := d.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Render(want, now)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := d.Diff(now, r.State); !c.Empty() {
		t.Fatalf("a second plan is not empty: %+v", c.Ops)
	}
	m, err := d.Decode(now)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Points) == 0 {
		return
	}
	for _, p := range prove.Device(want.View.Matrix, want.Points, m, r.Residue...) {
		if !p.Proved {
			t.Fatalf("not proved: %+v", p)
		}
	}
}

// The stories that classes change by: members move, rules change, machines come and go.
func stages(t testing.TB) []driver.Desired {
	three := []string{"web", "web2", "app", "db", "far"}
	return []driver.Desired{
		desired(t, map[string][]string{"web": {"web", "web2"}, "app": {"app"}, "db": {"db"}, "far": {"far"}},
			[]say{{"web", "app", 80}, {"app", "db", 5432}, {"web", "web", 22}, {"far", "web", 443}}, three...),
		// web2 becomes an application server, and app a database: two move at once.
		desired(t, map[string][]string{"web": {"web"}, "app": {"web2"}, "db": {"app", "db"}, "far": {"far"}},
			[]say{{"web", "app", 80}, {"app", "db", 5432}, {"web", "web", 22}, {"far", "web", 443}}, three...),
		// Rules and members change together.
		desired(t, map[string][]string{"web": {"web", "app"}, "app": {"web2", "db"}, "far": {"far"}},
			[]say{{"web", "app", 443}, {"web", "web", 80}, {"far", "app", 22}, {"app", "far", 22}}, three...),
		// Some are let go, and others are judged.
		desired(t, map[string][]string{"web": {"web"}, "app": {"app"}}, []say{{"web", "app", 80}}, "web", "app"),
		desired(t, map[string][]string{"web": {"web2"}, "db": {"db"}, "far": {"far"}}, []say{{"web", "db", 5432}, {"far", "web", 443}}, "web2", "db", "far"),
		// The other end is nobody's whom a point protects; then a class grows while its rules change.
		desired(t, map[string][]string{"web": {"web"}, "app": {"app", "web2"}, "db": {"db"}}, []say{{"web", "db", 5432}}, "web", "app", "web2"),
		desired(t, map[string][]string{"web": {"web", "app"}, "app": {"web2"}, "db": {"db"}}, []say{{"web", "db", 80}}, "web", "app", "web2"),
	}
}

// After every single call what is permitted lies between the old state and the new one, as
// the world's own judge has it. Interfaces that begin or cease to be judged are left out
// where the groups of others on them say something else than "everything", which is what
// their side counts as.
func TestEveryCallStaysBetween(t *testing.T) {
	for _, named := range []bool{false, true} {
		t.Run(fmt.Sprintf("references %v", named), func(t *testing.T) { everyCall(t, named) })
	}
}

func everyCall(t *testing.T, named bool) {
	e := newEstate(t)
	e.s.References = named
	list := stages(t)
	for i, from := range list {
		for j, to := range list {
			if i == j {
				continue
			}
			open := i >= 3 || j >= 3
			if open {
				continue // see TestLettingGo
			}
			e.bring(t, from)
			old := e.permitted()
			var seen []map[awstest.Flow]bool
			e.w.OnMutation(nil, func(awstest.Call) { seen = append(seen, e.permitted()) })
			e.bring(t, to)
			e.w.OnMutation(nil, nil)
			next := e.permitted()
			if len(seen) < 3 {
				t.Fatalf("from %d to %d by %d calls", i, j, len(seen))
			}
			e.between(t, fmt.Sprintf("from %d to %d", i, j), old, next, seen)
		}
	}
}

// failer is what testing's and rapid's tests have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func (e *estate) between(t failer, says string, old, next map[awstest.Flow]bool, seen []map[awstest.Flow]bool) {
	t.Helper()
	for n, now := range seen {
		for f := range now {
			if !old[f] && !next[f] {
				t.Fatalf("%s: after call %d of %d %v passes, and must not before or after", says, n+1, len(seen), f)
			}
		}
		for f := range old {
			if next[f] && !now[f] {
				t.Fatalf("%s: after call %d of %d %v is dropped, and must pass before and after", says, n+1, len(seen), f)
			}
		}
	}
}

// The same where machines begin and cease to be judged; their own groups let everything
// pass then.
func TestLettingGo(t *testing.T) {
	for _, named := range []bool{false, true} {
		t.Run(fmt.Sprintf("references %v", named), func(t *testing.T) { lettingGo(t, named) })
	}
}

func lettingGo(t *testing.T, named bool) {
	e := newEstate(t)
	e.s.References = named
	e.s.Exclusive = true
	for _, id := range e.all() {
		vpc := e.vpc
		if id == e.far {
			vpc = e.farVPC
		}
		wide := e.r.AddGroup(awstest.GroupSpec{VPC: vpc, Name: "wide " + id, Ingress: []awstest.RuleSpec{{CIDR: "0.0.0.0/0"}, {CIDR: "::/0"}}})
		if id == e.far {
			e.r.AddRules(wide, true, awstest.RuleSpec{CIDR: "::/0"})
		}
		e.r.SetGroups(id, wide)
	}
	before := e.dump(true)
	list := append(stages(t), driver.Desired{Site: drivertest.Site})
	for i, from := range list {
		for j, to := range list {
			if i == j {
				continue
			}
			e.bring(t, from)
			old := e.permitted()
			var seen []map[awstest.Flow]bool
			e.w.OnMutation(nil, func(awstest.Call) { seen = append(seen, e.permitted()) })
			e.bring(t, to)
			e.w.OnMutation(nil, nil)
			e.between(t, fmt.Sprintf("from %d to %d", i, j), old, e.permitted(), seen)
		}
	}
	e.bring(t, driver.Desired{Site: drivertest.Site})
	if string(e.dump(true)) != string(before) {
		t.Fatal("what was taken over was not put back as it was")
	}
}

// A controller that dies at any call leaves what lies between old and new, and one that
// knows nothing of it ends the change.
func TestCrashAtEveryCall(t *testing.T) {
	for _, named := range []bool{false, true} {
		t.Run(fmt.Sprintf("references %v", named), func(t *testing.T) { crashes(t, named) })
	}
}

func crashes(t *testing.T, named bool) {
	list := stages(t)
	for i, from := range list {
		to := list[(i+1)%len(list)]
		if i >= 2 {
			break
		}
		for k := 1; ; k++ {
			e := newEstate(t)
			e.s.References = named
			e.bring(t, from)
			old := e.permitted()
			n := 0
			e.w.Script(func(c awstest.Call) awstest.Outcome {
				if c.Mutating {
					n++
				}
				if n >= k {
					return awstest.Outcome{Code: "UnauthorizedOperation"}
				}
				return awstest.Outcome{}
			})
			err := e.try(to)
			e.w.Script(nil)
			now := e.permitted()
			if err == nil {
				if n >= k {
					t.Fatalf("call %d failed, and the change is said to be made", k)
				}
				break
			}
			if errors.Is(err, driver.ErrRefused) && k > 1 {
				t.Fatalf("call %d failed, and nothing is said to be done: %v", k, err)
			}
			e.bring(t, to)
			e.between(t, fmt.Sprintf("stage %d, call %d", i, k), old, e.permitted(), []map[awstest.Flow]bool{now})
			for _, g := range e.r.Groups() {
				if g.Tags["bulkhead:site"] == drivertest.Site && !slices.ContainsFunc(e.r.Interfaces(), func(n awstest.Interface) bool { return slices.Contains(n.Groups, g.ID) }) {
					t.Fatalf("stage %d, call %d: group %q is left over", i, k, g.Name)
				}
			}
		}
	}
}
