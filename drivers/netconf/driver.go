package netconf

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"bulkhead/drivers/netconf/dialect"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/driver/portacl/decode"
	"bulkhead/pkg/driver/portacl/render"
)

var (
	all4 = netip.MustParsePrefix("0.0.0.0/0")
)

// Settings say which switch a driver programs, and how.
type Settings struct {
	Session session.Options
	// Secrets fetches what Session logs in with, before each session: a plan of other switches
	// does not wait for a secret that is missing, and one that changed counts. nil leaves
	// Session as it is.
	Secrets func(*session.Options) error
	Dialect dialect.Dialect
	// Egress filters what devices receive, too. Strangers and ByClass are render.Features'.
	Egress, Strangers, ByClass bool
	// PerList and PerDevice bound the entries of one list and of all bindings; 0 is none known.
	PerList, PerDevice int
	// Uplinks are ports that never get a list.
	Uplinks []string
	// Direct has changes take effect at once, without a confirmed commit.
	Direct bool
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// Driver programs one switch for one site. Between calls it keeps its session, and what the
// switch said that it can do.
type Driver struct {
	site     string
	points   []string
	settings Settings

	mu      sync.Mutex
	conn    *session.Session
	caps    *session.Capabilities // of the last session
	pending *pending              // what this driver put on trial
	locked  bool                  // the session holds the candidate
}

// New makes a driver of a switch with some points. Nothing is asked of the switch before the
// first Read.
func New(site string, points []string, s Settings) *Driver {
	return &Driver{site: site, points: points, settings: s}
}

var (
	_ driver.Driver = (*Driver)(nil)
	_ driver.Closer = (*Driver)(nil)
	_ driver.Trier  = (*Driver)(nil)
)

// Capabilities of the switch. One that has not been spoken to is not taken for atomic.
func (d *Driver) Capabilities() driver.Capabilities {
	d.mu.Lock()
	defer d.mu.Unlock()
	return driver.Capabilities{Atomic: d.caps != nil && d.candidate(), EndsFlows: true}
}

func (d *Driver) now() time.Time {
	if d.settings.Now != nil {
		return d.settings.Now()
	}
	return time.Now()
}

// features are what is asked of lists here.
func (d *Driver) features() render.Features {
	l := d.settings.Dialect.Limits()
	return render.Features{OneList: l.OneList, Later: l.Later, Blind: l.Blind, Mute: l.Mute, Out: d.settings.Egress, Strangers: d.settings.Strangers, ByClass: d.settings.ByClass}
}

// Render gives the state in which every port of the points has its lists.
func (d *Driver) Render(w driver.Desired, have driver.State) (*driver.Rendered, error) {
	h, err := stateOf(have)
	if have == nil {
		h, err = &State{site: d.site}, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := render.Render(d.site, w.View, w.Points, d.features())
	if err != nil {
		return nil, err
	}
	if err := d.fits(h, r, w.Budget); err != nil {
		return nil, err
	}
	next := h.with(r.Config)
	out := &driver.Rendered{State: next, Residue: r.Residue}
	if r.Ports == 0 {
		return out, nil
	}
	longest, bound := d.count(&r.Config)
	out.Usage = []driver.Usage{
		{Resource: "entries of a list", Used: longest, Limit: limit(d.settings.PerList, d.settings.Dialect.Limits().Entries)},
		{Resource: "entries", Used: bound, Limit: limit(d.settings.PerDevice, w.Budget["elements"])},
	}
	out.Essential = render.Essential(w.Points)
	if len(r.Shared) > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("devices behind one port reach each other without the switch: policy treats those behind %s differently", strings.Join(r.Shared, ", ")))
	}
	return out, nil
}

// limit is the lesser of two bounds, of which 0 is none.
func limit(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// count counts entries as the switch has them: those of the longest list, and those of all
// bindings.
func (d *Driver) count(c *portacl.Config) (longest, bound int) {
	each := map[string]int{}
	for i := range c.Lists {
		l := &c.Lists[i]
		for k := range l.Entries {
			each[l.Name] += d.settings.Dialect.Count(&l.Entries[k])
		}
		longest = max(longest, each[l.Name])
	}
	for i := range c.Ports {
		for _, b := range c.Ports[i].Bound {
			bound += each[b.List]
		}
	}
	return longest, bound
}

// fits refuses what the switch has no room for, or where somebody else's list is in the way.
func (d *Driver) fits(h *State, r *render.Result, budget map[string]int) error {
	for _, p := range r.Config.Ports {
		if slices.Contains(d.settings.Uplinks, p.Name) {
			return fmt.Errorf("%w: port %q is an uplink, and assets that are protected hang on it: a list there would filter what comes from other switches; take it out of %q if it is none",
				driver.ErrRefused, p.Name, "uplinks")
		}
		at := h.Config.Port(p.Name)
		if at == nil {
			continue
		}
		for _, b := range at.Bound {
			if !ours(d.site, b.List) && slices.ContainsFunc(p.Bound, func(m portacl.Bound) bool { return m.Dir == b.Dir }) {
				return fmt.Errorf("%w: list %q of somebody else is bound to port %q (%s): unbind it, or leave the port out of the points", driver.ErrRefused, b.List, p.Name, b.Dir)
			}
		}
	}
	if _, err := d.settings.Dialect.Edit(&portacl.Config{}, &r.Config); err != nil {
		return fmt.Errorf("%w: the lists cannot be said in the switch's model: %w", driver.ErrRefused, err)
	}
	longest, bound := d.count(&r.Config)
	if most := limit(d.settings.PerList, d.settings.Dialect.Limits().Entries); most > 0 && longest > most {
		return fmt.Errorf("%w: a list needs %d entries and may have %d; fewer or wider policies for what hangs on its port help", driver.ErrRefused, longest, most)
	}
	for _, n := range []int{d.settings.PerDevice, budget["elements"], budget["entries"]} {
		// Until it is confirmed the old lists are there beside the new.
		if old := h.own(); n > 0 {
			_, before := d.count(&old)
			if most := max(bound, before+d.added(&old, &r.Config)); most > n {
				return fmt.Errorf("%w: the switch needs room for %d entries (%d afterwards) and has it for %d", driver.ErrRefused, most, bound, n)
			}
		}
	}
	return nil
}

// added counts the entries of lists that are new.
func (d *Driver) added(old, next *portacl.Config) (n int) {
	for i := range next.Lists {
		l := &next.Lists[i]
		if old.List(l.Name) != nil {
			continue
		}
		for k := range l.Entries {
			n += d.settings.Dialect.Count(&l.Entries[k])
		}
	}
	return n
}

// Decode gives a state its meaning.
func (d *Driver) Decode(s driver.State) (*driver.Decoded, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	out := decode.Decode(&st.Config)
	out.Installed = st.serving(d.points)
	return out, nil
}

// Diff gives the change from one state to another.
func (d *Driver) Diff(have, want driver.State) (*driver.Change, error) {
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	w, err := stateOf(want)
	if err != nil {
		return nil, err
	}
	// A state that was written down says nothing of others.
	w = h.with(w.own())
	return &driver.Change{From: h, To: w, First: !h.bound() && w.bound(), Ops: ops(&h.Config, &w.Config)}, nil
}

func ops(h, w *portacl.Config) []driver.Op {
	var out []driver.Op
	op := func(a driver.Action, object, before, after string) {
		out = append(out, driver.Op{ID: string(a) + " " + object, Action: a, Object: object, Before: before, After: after})
	}
	for i := range w.Lists {
		l := &w.Lists[i]
		switch old := h.List(l.Name); {
		case old == nil:
			op(driver.Add, fmt.Sprintf("list %q", l.Name), "", describe(l))
		case !old.Same(l):
			op(driver.Modify, fmt.Sprintf("list %q", l.Name), describe(old), describe(l))
		}
	}
	names := map[string]bool{}
	for _, c := range []*portacl.Config{h, w} {
		for i := range c.Ports {
			names[c.Ports[i].Name] = true
		}
	}
	for _, name := range sorted(names) {
		before, after := bindings(h, name), bindings(w, name)
		if before != after {
			op(driver.Modify, fmt.Sprintf("lists of port %q", name), before, after)
		}
	}
	for i := range h.Lists {
		if l := &h.Lists[i]; w.List(l.Name) == nil {
			op(driver.Remove, fmt.Sprintf("list %q", l.Name), describe(l), "")
		}
	}
	return out
}

func sorted(set map[string]bool) []string {
	var out []string
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func bindings(c *portacl.Config, port string) string {
	p := c.Port(port)
	if p == nil {
		return "none"
	}
	var out []string
	for _, b := range p.Bound {
		out = append(out, fmt.Sprintf("%s %s", b.Dir, b.List))
	}
	return strings.Join(out, ", ")
}

func describe(l *portacl.List) string { return fmt.Sprintf("%d entries", len(l.Entries)) }

// Close ends the session. A trial that the session holds then goes back.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drop()
}

func (d *Driver) drop() error {
	s := d.conn
	d.conn, d.locked = nil, false
	if s == nil {
		return nil
	}
	return s.Close()
}

// open gives the session, a new one where there is none or the last was lost.
func (d *Driver) open(ctx context.Context) (*session.Session, error) {
	if d.conn != nil && d.conn.Err() == nil {
		return d.conn, nil
	}
	_ = d.drop()
	o := d.settings.Session
	if d.settings.Secrets != nil {
		if err := d.settings.Secrets(&o); err != nil {
			return nil, fmt.Errorf("%w: no login to %q: %w", driver.ErrUnreachable, o.Address, err)
		}
	}
	s, err := session.Dial(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrUnreachable, err)
	}
	caps := s.Capabilities()
	d.conn, d.caps = s, &caps
	return s, nil
}
