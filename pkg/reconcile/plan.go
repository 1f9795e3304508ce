package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
)

// Options of one run.
type Options struct {
	// Enforced tells which points have enforced before.
	Enforced map[string]bool
	// Only limits the run to some points; empty is all.
	Only []string
	// Lasting refuses devices that hold a change on trial: what they enforce now is not
	// what they will. For whoever is going to act by the plan.
	Lasting bool
	// Confirmed gives what a point was last confirmed to hold, and when; nil is never.
	// If the function is nil, nothing is known of any point.
	Confirmed func(point string) (*apply.Record, time.Time, error)
	// Moved names devices of which single addresses were moved since they were last applied
	// to: what they hold is to be written down where it is what they have to hold.
	Moved []string
	// Last gives what the brakes compare with, see LastApplied. It is asked where the
	// plan changes something. nil: nothing is compared, and the plan says so.
	Last func() (last *Baseline, why string, err error)
}

// Result is a plan with what carries it out.
type Result struct {
	Plan *plan.Plan
	Jobs []apply.Job
	// Held are the devices of Options.Moved that hold what they have to, with changes that
	// change nothing.
	Held []apply.Job
}

// RunOnce reads every device and plans its change, with proof of what is there
// and of what would be installed. It writes nothing.
func (s *Site) RunOnce(ctx context.Context, devices []*Device, opt Options) (*Result, error) {
	p := s.newPlan()
	r := &Result{Plan: p}
	parts, err := s.planAll(ctx, devices, opt)
	if err != nil {
		return nil, err
	}
	byKey := map[string]int{}
	var all []compile.Point
	for i, part := range parts {
		p.Points = append(p.Points, part.points...)
		r.Jobs, r.Held = append(r.Jobs, part.jobs...), append(r.Held, part.held...)
		if part.omitted != "" {
			p.FlowsOmitted = part.omitted
		}
		mergeFlows(p, part.flows, byKey)
		all = append(all, devices[i].Points...)
	}
	plan.SortFlows(p.Flows)
	slices.SortFunc(p.Points, func(a, b plan.Point) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	s.Matrix.Exclusive(func() { p.Uncovered = compile.Coverage(s.Matrix, s.effective(all, p)) })
	if err := s.brakes(p, devices, opt); err != nil {
		return nil, err
	}
	if err := p.Seal(); err != nil {
		return nil, err
	}
	return r, nil
}

// effective notes at each point whether it can be counted on.
func (s *Site) effective(all []compile.Point, p *plan.Plan) []compile.Point {
	var out []compile.Point
	for _, pt := range all {
		i := slices.IndexFunc(p.Points, func(x plan.Point) bool { return x.Name == pt.Name })
		if i < 0 {
			// Left out of this run on purpose: it is counted on, and the plan says so.
			p.Warnings = append(p.Warnings, fmt.Sprintf("point %s was not looked at; coverage takes it as enforcing", pt.Name))
			out = append(out, pt)
			continue
		}
		switch row := &p.Points[i]; {
		case row.Status == plan.Unreachable:
			pt.Unsure = "could not be read"
		case row.Status == plan.Refused:
			pt.Unsure = "cannot express what policy says"
		case row.After != nil && !row.After.Proved:
			pt.Unsure = "is not proved"
		}
		out = append(out, pt)
	}
	return out
}

// mergeFlows joins equal rows of several devices.
func mergeFlows(p *plan.Plan, flows []plan.FlowChange, index map[string]int) {
	for _, f := range flows {
		key := fmt.Sprint(f.Permit, f.By, f.From, f.To, f.Services, f.Sets)
		if i, ok := index[key]; ok {
			p.Flows[i].Points = append(p.Flows[i].Points, f.Points...)
			slices.Sort(p.Flows[i].Points)
			continue
		}
		index[key] = len(p.Flows)
		p.Flows = append(p.Flows, f)
	}
}

func (s *Site) newPlan() *plan.Plan {
	m := s.Matrix
	p := &plan.Plan{FormatVersion: plan.FormatVersion, Site: s.Config.Settings.Name, MadeAt: s.Now.UTC(),
		PolicyHash: s.Config.Hash, InventoryHash: s.InventoryHash(),
		Flows: []plan.FlowChange{}, Points: []plan.Point{}, Brakes: []plan.Brake{}, Tests: Summary(s.RunTests()),
		Classes: plan.Size{Assets: len(s.Inventory.Assets), Groups: len(m.Groups), Policies: len(m.Policies),
			Classes: len(m.Classes), Rows: m.Rows(), Cols: m.Cols(), Cells: len(m.Cells)},
		Sources: []inventory.Standing{}, Uncovered: []compile.Uncovered{}, Conflicts: []inventory.Conflict{}, Undecided: []plan.Undecided{},
		Expiring: []plan.Expiring{}, Compared: s.comparedLabels(), Warnings: []string{}}
	p.Conflicts = append(p.Conflicts, s.Inventory.Conflicts...)
	for _, x := range s.Sources {
		if x.State != inventory.SourceCurrent {
			p.Sources = append(p.Sources, x)
		}
	}
	for _, u := range s.Members.Undecided {
		name := u.Group
		if name == "" {
			name = "point " + u.Extra
		}
		p.Undecided = append(p.Undecided, plan.Undecided{Group: name, Asset: u.Asset, Missing: append([]string{}, u.Missing...), Problem: u.Problem})
	}
	for _, d := range s.Diags.All() {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s: %s", d.Pos, d.Message))
	}
	for _, pol := range m.Policies {
		if !pol.Expires.IsZero() {
			un := "nftables end it on time, live flows included; other devices keep it until the controller is back"
			if pol.Action == policy.Deny {
				un = "stays until the controller is back"
			}
			p.Expiring = append(p.Expiring, plan.Expiring{Policy: pol.Name, Where: pol.Pos.String(), Expires: pol.Expires.UTC(), Unattended: un})
		}
	}
	return p
}

// comparedLabels lists the addresses with several values of a label that policies
// compare, and the assets without one.
func (s *Site) comparedLabels() []plan.ComparedLabel {
	out := []plan.ComparedLabel{}
	var names []string
	for _, p := range s.Matrix.Policies {
		names = append(names, append(append([]string{}, p.Same...), p.Differ...)...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		c := plan.ComparedLabel{Label: name, Several: []string{}, Without: []string{}}
		var held []holding
		for i := range s.Inventory.Assets {
			a := &s.Inventory.Assets[i]
			v, ok := a.Labels[name]
			if !ok {
				c.Without = append(c.Without, a.ID)
				continue
			}
			for _, p := range a.Addresses {
				held = append(held, holding{packet.PrefixRange(p), v})
			}
		}
		twice := heldAsSeveral(held)
		for _, r := range twice.Runs() {
			c.Several = append(c.Several, r.String())
		}
		out = append(out, c)
	}
	return out
}

// holding is a prefix of an asset, with the asset's value of a label.
type holding struct {
	run   packet.Range
	value string
}

// heldAsSeveral gives the addresses that are held with more than one value. Prefixes lie
// in each other or apart, so that one pass in their order tells what each lies in.
func heldAsSeveral(held []holding) packet.Addrs {
	slices.SortStableFunc(held, func(a, b holding) int {
		return cmp.Or(a.run.From.Compare(b.run.From), b.run.To.Compare(a.run.To))
	})
	var twice []packet.Range
	type around struct {
		holding
		several bool
	}
	var open []around // each in the one before it
	for _, h := range held {
		for len(open) > 0 && open[len(open)-1].run.To.Less(h.run.From) {
			open = open[:len(open)-1]
		}
		x := around{h, false}
		if n := len(open); n > 0 {
			x.several = open[n-1].several || open[n-1].value != h.value
		}
		if x.several {
			twice = append(twice, h.run)
		}
		open = append(open, x)
	}
	return packet.AddrRanges(twice)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// namedAddrs gives an address for each that the site names: of assets, and of the
// prefixes of groups. Assets in quarantine are left out: that they lose everything is
// meant, and no brake may keep it up.
func (s *Site) namedAddrs() []netip.Addr {
	out := []netip.Addr{}
	for i := range s.Inventory.Assets {
		id := s.Inventory.Assets[i].ID
		if slices.ContainsFunc(s.Quarantined, func(q Quarantine) bool { return q.Asset == id }) {
			continue
		}
		for _, p := range s.Inventory.Assets[i].Addresses {
			out = append(out, p.Addr())
		}
	}
	for i := range s.Config.Book.Groups {
		for _, p := range s.Config.Book.Groups[i].Prefixes {
			out = append(out, p.Addr())
		}
	}
	return out
}

// drops reports whether a device drops anything at the hooks. A point that only
// observed so far has rules, and still enforces for the first time.
func drops(now *driver.Decoded, hooks []string) bool {
	all := packet.AllServices()
	for _, rel := range now.Relations {
		if rel.Situation.Tracking != driver.TrackNew || !slices.Contains(hooks, rel.Situation.Hook) {
			continue
		}
		for i := range rel.Src {
			for j := range rel.Dst {
				if rel.Src[i].First().Is4() != rel.Dst[j].First().Is4() {
					continue
				}
				left := all.Subtract(rel.Permit(i, j))
				if rel.Rest != nil && driver.MayDrop(rel.Rest(i, j), left) || rel.Rest == nil && !left.IsEmpty() {
					return true
				}
			}
		}
	}
	return false
}

// inexact refuses a point that cannot express what policy says, unless the site
// accepts how. It gives what is accepted: the proof leaves out that and nothing else.
func (s *Site) inexact(d *Device, rows []plan.Point) (refused bool, residue []driver.Residue) {
	for i := range rows {
		var texts, kinds []string // all of them: nobody wants to accept one after the other
		for _, res := range rows[i].Residue {
			if accepts(&d.Config[i], &res) {
				residue = append(residue, res)
				continue
			}
			refused = true
			texts = append(texts, fmt.Sprintf("%s (%s)", res.Text, res.Kind))
			if !slices.Contains(kinds, res.Kind) {
				kinds = append(kinds, res.Kind)
			}
		}
		if len(texts) > 0 {
			rows[i].Error = fmt.Sprintf("the device cannot express this exactly: %s: accept it by `accept_inexact: [%s]`", strings.Join(texts, "; "), strings.Join(kinds, ", "))
		}
	}
	for i := range rows {
		if refused {
			// Points of one device change together or not at all.
			rows[i].Status = plan.Refused
			if rows[i].Error == "" {
				rows[i].Error = "another point of the device is refused"
			}
		}
	}
	return refused, residue
}

// accepts reports whether a point's settings accept what its device cannot express.
func accepts(c *config.Point, res *driver.Residue) bool {
	return slices.Contains(c.AcceptInexact, res.Kind) ||
		c.OnInexact == config.Widen || c.OnInexact == config.Narrow && !res.Wider
}

func budget(d *Device) map[string]int {
	out := map[string]int{}
	for _, c := range d.Config {
		if c.Budget.Elements > 0 && (out["elements"] == 0 || c.Budget.Elements < out["elements"]) {
			out["elements"] = c.Budget.Elements
		}
	}
	return out
}
