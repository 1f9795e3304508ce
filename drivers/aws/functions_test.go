package aws_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/aws"
	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/aws/ec2api"
	"bulkhead/pkg/driver"
)

// lambda is an estate with a function fn, and others that share its interface.
type lambda struct {
	*estate
	theirs string // their group
}

func newLambda(t *testing.T, names ...string) *lambda {
	e := &lambda{estate: newEstate(t)}
	env(t, e.w.AddAccount(account).AddKey("functions", "ec2:*", "autoscaling:*", "lambda:*"))
	e.s.Exclusive, e.s.Functions, e.s.Patience = true, true, 20*time.Second
	e.theirs = e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "theirs", Ingress: []awstest.RuleSpec{{Protocol: "tcp", From: 22, CIDR: "10.0.0.0/24"}},
		Egress: []awstest.RuleSpec{{Protocol: "tcp", From: 80, To: 80, CIDR: "10.0.0.0/16"}, {Protocol: "tcp", From: 5432, To: 5432, CIDR: "10.0.0.0/16"}}})
	for _, name := range append(names, "fn") {
		e.r.AddFunction(awstest.FunctionSpec{Name: name, Subnets: []string{e.sub}, Groups: []string{e.theirs}})
	}
	t.Cleanup(func() { delete(machines, "fn") })
	e.learn()
	return e
}

// learn is what the inventory does: it finds where the function is.
func (e *lambda) learn() {
	n := e.r.InterfacesOfFunction("fn")
	machines["fn"] = []string{n[0].Private[0].String()}
}

func (e *lambda) groups(name string) []string {
	for _, f := range e.r.Functions() {
		if f.Name == name {
			return f.Groups
		}
	}
	return nil
}

// reach is what the function may begin, and who may call it, wherever it is.
func (e *lambda) reach() (out []string) {
	n := e.r.InterfacesOfFunction("fn")
	if len(n) != 1 {
		return []string{"nowhere"}
	}
	for _, port := range []uint16{22, 80, 443, 5432} {
		for _, other := range []struct{ id, addr string }{{e.web, "10.0.0.10"}, {e.app, "10.0.0.11"}, {e.db, "10.0.0.12"}} {
			a := netip.MustParseAddr(other.addr)
			if e.w.Leaves(awstest.Flow{From: n[0].ID, To: other.id, Src: n[0].Private[0], Dst: a, Protocol: 6, Port: port}) {
				out = append(out, "to "+other.addr+" "+string(rune('0'+port%10)))
			}
			if e.w.Enters(awstest.Flow{From: other.id, To: n[0].ID, Src: a, Dst: n[0].Private[0], Protocol: 6, Port: port}) {
				out = append(out, "from "+other.addr+" "+string(rune('0'+port%10)))
			}
		}
	}
	return out
}

func calls(t testing.TB, says ...say) driver.Desired {
	return desired(t, map[string][]string{"fn": {"fn"}, "app": {"app"}, "db": {"db"}}, says, "fn", "app", "db")
}

// A function is moved once, to a group of its own that lets through what it had; when its
// address is known the rules change in place.
func TestFunctionIsAdopted(t *testing.T) {
	e := newLambda(t, "other")
	away := e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "away"})
	e.r.AddFunction(awstest.FunctionSpec{Name: "apart", Subnets: []string{e.sub}, Groups: []string{away}})
	want := calls(t, say{"fn", "app", 80})
	old := e.reach()
	e.w.OnMutation(nil, func(c awstest.Call) {
		if now := e.reach(); !slices.Equal(now, old) {
			t.Errorf("after %s the function's side lets through %q, and did %q", c.Action, now, old)
		}
	})
	if n := strings.Join(e.notes(t, want), "\n"); !strings.Contains(n, `function "fn" moves to an interface of its own, with another address`) || !strings.Contains(n, `"other" moves`) || strings.Contains(n, "apart") {
		t.Error(n)
	}
	if err := e.try(want); err != nil {
		t.Fatal(err)
	}
	e.w.OnMutation(nil, nil)
	if g := e.groups("fn"); len(g) != 1 || g[0] == e.theirs {
		t.Fatalf("the function has %q", g)
	}
	if g := e.groups("other"); len(g) != 1 || g[0] == e.theirs || g[0] == e.groups("fn")[0] {
		t.Fatalf("the function that had the same address has %q", g)
	}
	if g := e.groups("apart"); !slices.Equal(g, []string{away}) {
		t.Fatalf("a function that no point protects has %q", g)
	}
	if now := e.reach(); !slices.Equal(now, old) {
		t.Fatalf("the function's side lets through %q, and did %q", now, old)
	}
	// Until the address is known there is nothing more to do.
	if err := e.try(want); err != nil {
		t.Fatal(err)
	}
	before := machines["fn"][0]
	e.learn()
	if machines["fn"][0] == before {
		t.Fatal("the function has the address that it had: the test shows nothing")
	}
	want = calls(t, say{"fn", "app", 80})
	e.bring(t, want)
	if now := e.reach(); !slices.Equal(now, []string{"to 10.0.0.11 0"}) {
		t.Fatalf("%q", now)
	}
	// Another policy is a matter of rules, and never of the function again.
	ruled, next := e.reach(), []string{"to 10.0.0.12 2"}
	e.w.OnMutation(nil, func(c awstest.Call) {
		for _, f := range e.reach() {
			if !slices.Contains(ruled, f) && !slices.Contains(next, f) {
				t.Errorf("after %s passes %s", c.Action, f)
			}
		}
	})
	e.bring(t, calls(t, say{"fn", "db", 5432}))
	e.w.OnMutation(nil, nil)
	if now := e.reach(); !slices.Equal(now, next) {
		t.Fatalf("%q", now)
	}
	if n := e.w.CountCalls("UpdateFunctionConfiguration"); n != 2 {
		t.Errorf("two functions were updated %d times", n)
	}
	if n := e.w.CountCalls("ModifyNetworkInterfaceAttribute"); n != 2 {
		t.Errorf("%d interfaces were changed, and two are not a function's", n)
	}
}

// It is let go to the groups that it had, and its own group goes when nobody carries it.
func TestFunctionIsLetGo(t *testing.T) {
	for _, off := range []bool{false, true} {
		e := newLambda(t, "other")
		e.w.FunctionLag(0)
		if err := e.try(calls(t, say{"fn", "app", 80})); err != nil {
			t.Fatal(err)
		}
		e.learn()
		want := calls(t, say{"fn", "app", 80})
		e.bring(t, want)
		if off {
			e.s.Functions = false
		} else {
			want.Points = nil
		}
		for range 2 {
			if err := e.try(want); err != nil {
				t.Fatal(err)
			}
		}
		if g := e.groups("fn"); !slices.Equal(g, []string{e.theirs}) {
			t.Errorf("the function has %q", g)
		}
		for _, g := range e.r.Groups() {
			if g.Tags["bulkhead:function"] != "" {
				t.Errorf("group %q is left: %v", g.Name, g.Tags)
			}
		}
	}
}

// Lambda keeps the interface that a function has left, and the group on it cannot go: it stays
// without meaning anything, and goes later.
func TestFunctionInterfaceLingers(t *testing.T) {
	e := newLambda(t)
	e.w.LingeringInterfaces(true)
	e.w.FunctionLag(0)
	if err := e.try(calls(t, say{"fn", "app", 80})); err != nil {
		t.Fatal(err)
	}
	e.learn()
	want := calls(t, say{"fn", "app", 80})
	e.bring(t, want)
	if now := e.reach(); !slices.Equal(now, []string{"to 10.0.0.11 0"}) {
		t.Fatalf("%q", now)
	}
	left := func() (n int) {
		for _, g := range e.r.Groups() {
			if g.Tags["bulkhead:function"] != "" {
				n++
			}
		}
		return n
	}
	want.Points = nil
	for range 3 {
		if err := e.try(want); err != nil {
			t.Fatal(err)
		}
	}
	if left() != 1 || !slices.Equal(e.groups("fn"), []string{e.theirs}) {
		t.Fatalf("%d groups are left, and the function has %q", left(), e.groups("fn"))
	}
	e.w.LingeringInterfaces(false)
	if err := e.try(want); err != nil {
		t.Fatal(err)
	}
	if left() != 0 {
		t.Fatal("the group is left")
	}
}

// A trial that is not confirmed puts a function back to what it had, from what was written
// down; so does one that got no further than any call.
func TestFunctionTrialIsUndone(t *testing.T) {
	for k := 0; ; k++ {
		e := newLambda(t)
		e.w.FunctionLag(0) // TestFunctionUpdateIsWaitedFor waits
		want := calls(t, say{"fn", "app", 80})
		b, err := aws.Encode(e.read(t))
		if err != nil {
			t.Fatal(err)
		}
		old := e.reach()
		n, cut := 0, false
		e.w.Script(func(c awstest.Call) awstest.Outcome {
			if c.Mutating {
				n++
			}
			if cut = cut || k > 0 && n == k; cut {
				return awstest.Outcome{Code: "UnauthorizedOperation"}
			}
			return awstest.Outcome{}
		})
		err = e.try(want)
		e.w.Script(nil)
		if (err == nil) == cut {
			t.Fatalf("%d: %v", k, err)
		}
		back, err := aws.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		d := e.driver()
		c, err := d.Diff(e.read(t), back)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Apply(context.Background(), c); err != nil {
			t.Fatalf("%d: %v", k, err)
		}
		if g := e.groups("fn"); !slices.Equal(g, []string{e.theirs}) || !slices.Equal(e.reach(), old) {
			t.Fatalf("%d: the function has %q", k, g)
		}
		// And forward again, from whatever is left.
		e.learn()
		if err := e.try(calls(t, say{"fn", "app", 80})); err != nil {
			t.Fatal(err)
		}
		e.learn()
		e.bring(t, calls(t, say{"fn", "app", 80}))
		if k > 0 && !cut {
			if k < 8 {
				t.Errorf("only %d calls", k)
			}
			return
		}
	}
}

// What cannot be done to a function is said, and keeps nothing else from being done.
func TestFunctionIsNotAdopted(t *testing.T) {
	e := newLambda(t)
	e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "db", Ingress: []awstest.RuleSpec{{Protocol: "tcp", From: 5432, Group: e.theirs}}})
	want := calls(t, say{"fn", "app", 80})
	if n := strings.Join(e.notes(t, want), "\n"); !strings.Contains(n, `function "fn" is not put under policy: a rule of some group names its group "theirs"`) {
		t.Error(n)
	}
	if err := e.try(want); err != nil {
		t.Fatal(err)
	}
	if g := e.groups("fn"); !slices.Equal(g, []string{e.theirs}) || len(e.find(e.app).Groups) != 1 || e.find(e.app).Groups[0] == e.empty {
		t.Errorf("the function has %q, and app %q", g, e.find(e.app).Groups)
	}
	// Without the word nobody so much as asks for functions.
	off := newLambda(t)
	off.s.Functions = false
	if err := off.try(calls(t, say{"fn", "app", 80})); err != nil {
		t.Fatal(err)
	}
	if n := off.w.CountCalls("ListFunctions") + off.w.CountCalls("UpdateFunctionConfiguration"); n != 0 || !slices.Equal(off.groups("fn"), []string{off.theirs}) {
		t.Errorf("%d calls, and it has %q", n, off.groups("fn"))
	}
}

// An update that AWS takes its time for is waited for; one that is under way already, too.
func TestFunctionUpdateIsWaitedFor(t *testing.T) {
	e := newLambda(t)
	e.w.FunctionLag(5)
	if err := e.try(calls(t, say{"fn", "app", 80})); err != nil {
		t.Fatal(err)
	}
	if n := e.w.CountCalls("GetFunctionConfiguration"); n < 6 {
		t.Errorf("it was looked at %d times", n)
	}
}

// The policy with functions is enough and the least, too.
func TestLeastPolicyOfFunctions(t *testing.T) {
	full := allowed(t, ec2api.Observe, ec2api.Enforce, ec2api.ManageFunctions)
	plain := allowed(t, ec2api.Observe, ec2api.Enforce)
	for _, action := range append([]string{""}, full...) {
		if action != "" && slices.Contains(plain, action) && !strings.HasPrefix(action, "ec2:Describe") {
			continue // TestLeastPolicy
		}
		e := newLambda(t)
		env(t, e.w.AddAccount(account).AddKey("least", slices.DeleteFunc(slices.Clone(full), func(a string) bool { return a == action })...))
		told := e.notesOrError(calls(t, say{"fn", "app", 80}))
		if action == "" {
			if strings.Contains(told, "denied") {
				t.Fatal(told)
			}
			continue
		}
		if strings.HasPrefix(action, "ec2:DescribeManaged") {
			continue // no rule here names a list
		}
		if !strings.Contains(told, `"Action":["`+action+`"]`) {
			t.Errorf("without %s: %s", action, told)
		}
	}
}

func (e *lambda) notesOrError(want driver.Desired) string {
	d, ctx := e.driver(), context.Background()
	have, err := d.Read(ctx)
	if err != nil {
		return err.Error()
	}
	r, err := d.Render(want, have)
	if err != nil {
		return err.Error()
	}
	c, err := d.Diff(have, r.State)
	if err == nil {
		err = d.Apply(ctx, c)
	}
	if err != nil {
		return err.Error()
	}
	return strings.Join(r.Notes, "\n")
}
