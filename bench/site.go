package main

import (
	"context"
	"fmt"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/inventory"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// site is a generated site on its way into the kernel of this namespace, step by
// step as the commands go.
type site struct {
	assets []inventory.Asset
	book   *policy.Rulebook
	where  map[string][]string
	matrix *compile.Matrix
	point  compile.Point
	want   driver.Desired
	driver *nftables.Driver
	state  *nftables.State // what was rendered
	now    time.Time
}

// newSite takes over what a site directory says, and leaves what only the
// generator knows to the collector.
func newSite(e *estate.Estate) *site {
	s := &site{assets: e.Assets, book: e.Book, point: gateway(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s.open("")
	return s
}

// gateway is the point that generated sites declare: two zones, nothing checked
// against them, no time of learning.
func gateway() compile.Point {
	zone := func(name, iface string) compile.Zone {
		return compile.Zone{Name: name, Interfaces: []string{iface}, AntiSpoof: compile.SpoofOff}
	}
	return compile.Point{Name: "gw", Mode: policy.Enforce, Transit: true, Zones: []compile.Zone{zone("left", "eth1"), zone("right", "eth2")}}
}

// open makes the driver of a namespace.
func (s *site) open(netns string) {
	o := nftables.Options{Site: "estate", Netns: netns}
	for _, z := range s.point.Zones {
		o.Interfaces = append(o.Interfaces, z.Interfaces...)
	}
	s.driver = nftables.New(o)
}

// classify says who is in which group.
func (s *site) classify() error {
	c, diags := classify.Compile(s.book, nil)
	if diags.HasErrors() {
		return fmt.Errorf("a generated site has wrong expressions: %s", diags.All()[0].Message)
	}
	s.where = c.Classify(s.assets).Matches
	return nil
}

// compile works out what every class may open to every other.
func (s *site) compile() (err error) {
	s.matrix, err = compile.Compile(compile.Input{Assets: s.assets, Book: s.book, Where: s.where, Now: s.now})
	return err
}

// layout decides in which tables the device looks pairs up. An error is a refusal.
func (s *site) layout() (*compile.Layout, error) {
	points := []compile.Point{s.point}
	s.want = driver.Desired{Site: "estate", Points: points, View: compile.NewView(s.matrix, points), Now: s.now}
	return s.want.View.Layout(compile.DefaultBounds())
}

// prepare goes from assets in memory to a layout.
func (s *site) prepare() error {
	for _, f := range []func() error{s.classify, s.compile} {
		if err := f(); err != nil {
			return err
		}
	}
	_, err := s.layout()
	return err
}

// steps is prepare with a lap for each step.
func (s *site) steps(r *harness.Recorder) error {
	layout := func() error { _, err := s.layout(); return err }
	for _, x := range []struct {
		name string
		f    func() error
	}{{"classify", s.classify}, {"partition and compile", s.compile}, {"layout", layout}} {
		if err := x.f(); err != nil {
			return err
		}
		if err := r.Lap(x.name); err != nil {
			return err
		}
	}
	return nil
}

// render writes the state that enforces the site on a namespace that holds nothing.
func (s *site) render() error {
	out, err := s.driver.Render(s.want, nftables.Empty("estate"))
	if err != nil {
		return err
	}
	s.state = out.State.(*nftables.State)
	return nil
}

// load puts what was rendered into the kernel: one transaction.
func (s *site) load(ctx context.Context) error {
	have, err := s.driver.Read(ctx)
	if err != nil {
		return err
	}
	ch, err := s.driver.Diff(have, s.state)
	if err != nil {
		return err
	}
	return s.driver.Apply(ctx, ch)
}

// install does all of it.
func (s *site) install(ctx context.Context) error {
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.render(); err != nil {
		return err
	}
	return s.load(ctx)
}

// elements counts those that were rendered: sets that the kernel fills begin empty.
func (s *site) elements() (n int) {
	t := s.state.Table()
	for i := range t.Sets {
		n += len(t.Sets[i].Elements)
	}
	return n
}

// loaded checks with the kernel that it holds all that was rendered, and that one
// transaction brought it there.
func (s *site) loaded(ctx context.Context, r *harness.Recorder, c *kernel.Conn, before uint32) error {
	after, err := c.Generation(ctx)
	if err != nil {
		return err
	}
	r.Check(after == before+1, "one transaction brought the kernel from nothing to all of it")
	t := s.state.Table()
	counts, err := c.Counts(ctx, ruleset.FamilyInet, t.Name)
	if err != nil {
		return err
	}
	right := len(counts) == len(t.Sets)
	for i := range t.Sets {
		n := counts[t.Sets[i].Name]
		right = right && (!n.Known || int(n.Elements) == countedAs(&t.Sets[i]))
	}
	r.Check(right, "the kernel counts as many elements in every set as were rendered")
	r.Value("elements", harness.Count, float64(s.elements()))
	return nil
}

// countedAs is how many elements the kernel says a set has: a range of plain
// intervals, which is two elements, counts once.
func countedAs(s *ruleset.Set) int {
	n := len(s.Elements)
	if s.Flags&ruleset.SetInterval != 0 && s.Flags&ruleset.SetConcat == 0 {
		return n / 2
	}
	return n
}

// proof reads the kernel back and holds it against the policy.
func (s *site) proof(ctx context.Context, lap func(string) error) (prove.Result, error) {
	state, err := s.driver.Read(ctx)
	if err != nil {
		return prove.Result{}, err
	}
	if err := lap("read"); err != nil {
		return prove.Result{}, err
	}
	d, err := s.driver.Decode(state)
	if err != nil {
		return prove.Result{}, err
	}
	if err := lap("decode"); err != nil {
		return prove.Result{}, err
	}
	res := prove.Device(s.matrix, s.want.Points, d)
	return res[0], lap("prove")
}
