package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/prove"
)

// DiffFlows gives the exact sets of flows whose verdict changes on one device,
// from what its decoded state does now to what its points must do. Where a hook
// has no rules yet everything passes now. Flows are taken as new ones that come
// in where their source belongs; what anti-spoofing drops besides is part of the
// proof and not of this list.
//
// Where there are too many pairs of address sets to look at each, there is no list,
// and omitted says so.
func DiffFlows(m *compile.Matrix, points []compile.Point, now *driver.Decoded) (changes []FlowChange, omitted string) {
	changes, omitted, _ = DiffFlowsShare(m, points, now, nil, nil)
	return changes, omitted
}

// DiffFlowsShare is DiffFlows, and gives besides the DeniedShare of what the device
// does now, for little more. That is known where the list is omitted, too.
//
// then is what the device would do, decoded; nil where that is what policy says. It is
// needed where the device cannot express something: what it lets pass or drops beside
// policy, before and after, would be in the list of every change, and weigh in every share.
func DiffFlowsShare(m *compile.Matrix, points []compile.Point, now, then *driver.Decoded, named []netip.Addr) (changes []FlowChange, omitted string, share *Share) {
	d := &flowDiffer{m: m, then: then, rows: map[string]*flowRow{}, left: maxFlowPairs}
	if named != nil {
		d.sharer = newSharer(named)
	}
	d.walk(points, now)
	if d.sharer != nil {
		share = d.sharer.share()
	}
	if d.left < 0 {
		return []FlowChange{}, fmt.Sprintf("the list of changed flows is left out: there are more than %d pairs of address sets to compare one by one; the proof covers all of them", maxFlowPairs), share
	}
	return d.changes(), "", share
}

// DeniedShare gives the share of the flows that a device permits in a state which it
// would deny after, counted in the addresses that the site names: see share.go. nil
// is a state that permits nothing. then is that of DiffFlowsShare.
func DeniedShare(m *compile.Matrix, points []compile.Point, base, then *driver.Decoded, named []netip.Addr) *Share {
	d := &flowDiffer{m: m, then: then, sharer: newSharer(named)} // nothing left: no flow is listed
	d.walk(points, base)
	return d.sharer.share()
}

// walk looks at every hook at which flows are judged, or were.
func (d *flowDiffer) walk(points []compile.Point, now *driver.Decoded) {
	hooks := map[string][]*compile.Point{}
	for i := range points {
		for _, h := range points[i].Hooks() {
			hooks[h] = append(hooks[h], &points[i])
		}
	}
	for i := range points {
		d.own = d.own.Union(points[i].Own)
	}
	for _, hook := range []string{compile.HookForward, compile.HookInput, compile.HookOutput} {
		// A hook that no point judges at any more still counts where the device holds
		// rules there: what they dropped is newly permitted.
		if at := hooks[hook]; len(at) > 0 || judgedNow(now, hook) {
			d.hook(hook, at, now)
		}
	}
}

// maxFlowPairs bounds the pairs of address sets that a flow diff looks at, over all
// hooks: some seconds of work.
const maxFlowPairs = 4 << 20

func judgedNow(now *driver.Decoded, hook string) bool {
	return now != nil && slices.ContainsFunc(now.Relations, func(r driver.Relation) bool { return r.Situation.Hook == hook })
}

type flowRow struct {
	change FlowChange
	svc    packet.Services
	rects  []rect
	hooks  map[string]bool
	points map[string]bool
}

type flowDiffer struct {
	m    *compile.Matrix
	then *driver.Decoded // nil: what policy says
	own  packet.Addrs    // the device's own addresses, where known
	rows map[string]*flowRow
	left int // pairs that may still be looked at
	// sharer counts what is lost; nil where nobody wants to know.
	sharer *sharer
}

func (d *flowDiffer) hook(hook string, at []*compile.Point, now *driver.Decoded) {
	ins := map[string]bool{"": true}
	for _, p := range at {
		for _, z := range p.Zones {
			for _, name := range z.Interfaces {
				ins[name] = true
			}
		}
	}
	names := make([]string, 0, len(ins))
	for n := range ins {
		names = append(names, n)
	}
	sort.Strings(names)
	sampled := d.sharer.large()
	if sampled {
		if d.sharer.sampled(d.m, hook, at, d.own, now, d.then); d.left <= 0 {
			return // nobody wants a list, or it is too long already
		}
	}
	for _, in := range names {
		w := d.wanted(hook, in, at)
		rel := relationOf(now, hook, in, at)
		old := rel.Flat()
		srcs, dsts := packet.Join(w.src, old.Src), packet.Join(w.dst, old.Dst)
		if d.sharer != nil && !sampled {
			d.share(hook, in, at, srcs, dsts, func(a, b packet.Joint) (have, want packet.Services) {
				return old.Permit(a.B, b.B), w.permit(a.A, b.A)
			})
		}
		if d.left -= len(srcs) * len(dsts); d.left < 0 {
			if d.sharer == nil || sampled {
				return
			}
			continue // no list any more; the share is of all interfaces
		}
		for _, s := range srcs {
			if home(at, s.Addrs.First()) != in {
				continue
			}
			for _, t := range dsts {
				if s.Addrs.First().Is4() == t.Addrs.First().Is4() {
					d.pair(hook, at, s.Addrs, t.Addrs, w.permit(s.A, t.A), old.Permit(s.B, t.B))
				}
			}
		}
	}
}

// wanted is what passes at a hook after the change: every part of src and of dst is in one
// class, and fares alike.
type wanted struct {
	src, dst []packet.Addrs
	permit   func(src, dst int) packet.Services
}

func (d *flowDiffer) wanted(hook, in string, at []*compile.Point) wanted {
	e := prove.NewExpected(d.m, at, driver.Situation{Hook: hook, Tracking: driver.TrackNew, In: in, SrcPortLo: 40000, SrcPortHi: 40000})
	if d.then == nil {
		return wanted{e.Addrs, e.Addrs, e.Permit}
	}
	found := relationOf(d.then, hook, in, at)
	rel := found.Flat()
	srcs, dsts := packet.Join(e.Addrs, rel.Src), packet.Join(e.Addrs, rel.Dst)
	parts := func(js []packet.Joint) (out []packet.Addrs) {
		for _, j := range js {
			out = append(out, j.Addrs)
		}
		return out
	}
	return wanted{parts(srcs), parts(dsts), func(src, dst int) packet.Services { return rel.Permit(srcs[src].B, dsts[dst].B) }}
}

// share counts what flows that come in by one interface lose.
func (d *flowDiffer) share(hook, in string, at []*compile.Point, srcs, dsts []packet.Joint, permit func(a, b packet.Joint) (have, want packet.Services)) {
	var never packet.Addrs // what the machine itself sends or receives is never forwarded
	if hook == compile.HookForward {
		never = d.own
	}
	var here []side
	for _, s := range d.sharer.sides(srcs, never) {
		if home(at, s.joint.Addrs.First()) == in {
			here = append(here, s)
		}
	}
	d.sharer.add(at, hook, here, d.sharer.sides(dsts, never), permit)
}

// home names an interface by which packets of a source rightly come in.
func home(at []*compile.Point, src netip.Addr) string {
	for _, p := range at {
		if in := p.Home(src); in != "" {
			return in
		}
	}
	return ""
}

// relationOf finds what the device does now with new flows at a hook.
func relationOf(now *driver.Decoded, hook, in string, at []*compile.Point) driver.Relation {
	if now != nil && slices.ContainsFunc(now.Relations, func(r driver.Relation) bool { return r.Situation.Hook == hook && r.Situation.Port != "" }) {
		return acrossPorts(now, hook, at)
	}
	return relationAt(now, hook, in, "")
}

// relationAt is relationOf at a port of the device, or where no port is told apart.
func relationAt(now *driver.Decoded, hook, in, port string) driver.Relation {
	all := driver.Relation{Src: []packet.Addrs{packet.AllAddrs()}, Dst: []packet.Addrs{packet.AllAddrs()},
		Permit: func(int, int) packet.Services { return packet.AllServices() }}
	if now == nil {
		return all
	}
	best := all
	score := -1
	for _, r := range now.Relations {
		s := r.Situation
		if s.Hook != hook || s.Tracking != driver.TrackNew || s.Expired || s.In != in && s.In != "" || s.Port != port {
			continue
		}
		width := int(s.SrcPortHi) - int(s.SrcPortLo)
		if s.SrcPortLo <= 40000 && 40000 <= s.SrcPortHi {
			width += 1 << 17
		}
		if s.In == in {
			width += 1 << 18
		}
		if width > score {
			score, best = width, r
		}
	}
	return best
}

func (d *flowDiffer) pair(hook string, at []*compile.Point, src, dst packet.Addrs, want, have packet.Services) {
	if want.Equal(have) {
		return
	}
	// Every address of a part is in one class, so any of them stands for all.
	cell := d.m.Cell(d.m.ClassOf(src.First()), d.m.ClassOf(dst.First()))
	if hook == compile.HookForward {
		// What the machine itself sends or receives is never forwarded.
		src, dst = src.Subtract(d.own), dst.Subtract(d.own)
	}
	if src.IsEmpty() || dst.IsEmpty() || src.Single() && src.Equal(dst) {
		return
	}
	for _, permit := range []bool{true, false} {
		diff := want.Subtract(have)
		if !permit {
			diff = have.Subtract(want)
		}
		for len(diff) > 0 {
			// Split by what decides, one outcome after the other.
			outcome := cell.At(diff[0].Lo)
			same := d.m.Services(cell, func(o *compile.Outcome) bool { return o == &d.m.Outcomes[outcome] })
			d.add(hook, at, permit, &d.m.Outcomes[outcome], src, dst, diff.Intersect(same))
			diff = diff.Subtract(same)
		}
	}
}

func (d *flowDiffer) add(hook string, at []*compile.Point, permit bool, o *compile.Outcome, src, dst packet.Addrs, svc packet.Services) {
	c := FlowChange{Permit: permit, From: []string{}, To: []string{}, Services: svc.Text()}
	switch p := d.m.Decider(o); {
	case len(at) == 0:
		c.By = "no point: what judged these flows is taken off the device"
	case o.Permit != permit && d.then != nil:
		c.By = "an overlay of the point, or what its device cannot express"
	case o.Permit != permit:
		c.By = "an overlay of the point (observe mode, failsafe, or essential traffic)"
	case p != nil:
		c.By, c.Policy = prove.Cite(p), p.Name
		c.From, c.To = p.From, p.To
	case permit:
		c.By = "the default: nothing isolates either end"
	default:
		c.From, c.To = d.isolating(src.First(), dst.First())
		c.By = "the default of isolated groups"
	}
	key := fmt.Sprint(permit, c.By, c.From, c.To, c.Services)
	row := d.rows[key]
	if row == nil {
		row = &flowRow{change: c, svc: svc, hooks: map[string]bool{}, points: map[string]bool{}}
		d.rows[key] = row
	}
	row.rects = append(row.rects, rect{src, dst})
	row.hooks[hook] = true
	for _, p := range at {
		row.points[p.Name] = true
	}
}

// isolating names the groups whose isolation drops a flow that nothing decides.
func (d *flowDiffer) isolating(src, dst netip.Addr) (from, to []string) {
	from, to = []string{}, []string{}
	for _, g := range d.m.Classes[d.m.ClassOf(src)].Groups {
		if d.m.Groups[g].Isolate.Egress() {
			from = append(from, d.m.Groups[g].Name)
		}
	}
	for _, g := range d.m.Classes[d.m.ClassOf(dst)].Groups {
		if d.m.Groups[g].Isolate.Ingress() {
			to = append(to, d.m.Groups[g].Name)
		}
	}
	return from, to
}

func (d *flowDiffer) changes() []FlowChange {
	out := []FlowChange{}
	for _, row := range d.rows {
		c := row.change
		if len(row.hooks) > 1 {
			row.rects = disjoint(row.rects)
		}
		rects := mergeRects(row.rects)
		for _, r := range rects {
			c.Sets = append(c.Sets, FlowSet{r.src.String(), r.dst.String()})
		}
		c.Witness = witnessOf(rects, row.svc)
		c.Points = []string{}
		for name := range row.points {
			c.Points = append(c.Points, name)
		}
		sort.Strings(c.Points)
		out = append(out, c)
	}
	SortFlows(out)
	return out
}

// SortFlows puts flow changes into the order of reports: what is newly permitted
// first, because that is the danger.
func SortFlows(out []FlowChange) {
	sort.Slice(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		if a.Permit != b.Permit {
			return a.Permit
		}
		if a.By != b.By {
			return a.By < b.By
		}
		if c := slices.Compare(a.From, b.From); c != 0 {
			return c < 0
		}
		if c := slices.Compare(a.To, b.To); c != 0 {
			return c < 0
		}
		return a.Services < b.Services
	})
}
