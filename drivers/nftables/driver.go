package nftables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/decode"
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// Driver programs the nf_tables of one network namespace.
type Driver struct {
	site  string
	netns string
	// interfaces are those that the points' zones name; the proof tells them apart.
	interfaces []string
	bounds     compile.Bounds
	// For tests: how much a socket sends at once, and what to do between the parts of
	// a load.
	sendLimit int
	afterPart func(part int)
}

// Options say where and for what site a driver works.
type Options struct {
	Site       string
	Netns      string   // name or path; "" is where this process runs
	Interfaces []string // named by zones
	// Bounds of the lookup tables; the zero value stands for compile.DefaultBounds.
	Bounds compile.Bounds
}

// New makes a driver. Nothing is opened before it is used.
func New(o Options) *Driver {
	ifs := slices.Clone(o.Interfaces)
	slices.Sort(ifs)
	if o.Bounds == (compile.Bounds{}) {
		o.Bounds = compile.DefaultBounds()
	}
	return &Driver{site: o.Site, netns: o.Netns, interfaces: slices.Compact(ifs), bounds: o.Bounds}
}

var _ driver.Driver = (*Driver)(nil)

// Capabilities of the kernel's own firewall.
func (d *Driver) Capabilities() driver.Capabilities {
	return driver.Capabilities{Atomic: true, Stateful: true, ObservePoint: true, Expires: true, EndsFlows: true}
}

func (d *Driver) where() string {
	if d.netns == "" {
		return "this network namespace"
	}
	return fmt.Sprintf("network namespace %q", d.netns)
}

func (d *Driver) ours(t *ruleset.Table) bool {
	return t.Family == ruleset.FamilyInet && t.Name == render.TableName(d.site)
}

func (d *Driver) open() (*kernel.Conn, error) {
	c, err := kernel.Open(d.netns)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrUnreachable, err)
	}
	if d.sendLimit > 0 {
		c.LimitSend(d.sendLimit)
	}
	return c, nil
}

// Read returns everything that nf_tables hold in the namespace.
func (d *Driver) Read(ctx context.Context) (driver.State, error) {
	c, err := d.open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return d.read(ctx, c)
}

func (d *Driver) read(ctx context.Context, c *kernel.Conn) (*State, error) {
	rs, err := c.Read(ctx, d.ours)
	if err != nil {
		return nil, fmt.Errorf("cannot read nf_tables of %s: %w", d.where(), err)
	}
	return &State{Site: d.site, Ruleset: rs}, nil
}

func stateOf(s driver.State) (*State, error) {
	if n, ok := s.(*State); ok && n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("not a state of nf_tables: %T", s)
}

// Render gives the state in which our table enforces what is desired.
func (d *Driver) Render(want driver.Desired, have driver.State) (*driver.Rendered, error) {
	if have == nil {
		have = Empty(d.site)
	}
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	there := h.Table()
	if there != nil && !hooked(there) {
		there = nil // the rest of an interrupted load, with no ids that flows bear
	}
	t, err := render.Table(want, there, d.bounds)
	if err != nil {
		return nil, err
	}
	state := h.with(t)
	out := &driver.Rendered{State: state}
	if t == nil {
		return out, nil
	}
	for i := range want.Points {
		state.Own = state.Own.Union(want.Points[i].Own)
	}
	out.Usage = render.Usage(t)
	for i := range out.Usage {
		u := &out.Usage[i]
		u.Limit = want.Budget[u.Resource]
		if u.Limit > 0 && u.Used > u.Limit {
			return nil, fmt.Errorf("%w: %d %s are needed and the budget is %d: raise `budget: {%s: ...}` or let policies name fewer groups", driver.ErrRefused, u.Used, u.Resource, u.Limit, u.Resource)
		}
	}
	for i := range want.Points {
		for _, e := range render.EssentialList(&want.Points[i]) {
			if !slices.Contains(out.Essential, e) {
				out.Essential = append(out.Essential, e)
			}
		}
	}
	return out, nil
}

// Diff gives the change of our table from one state to another. What others have
// in the namespace is never part of it.
func (d *Driver) Diff(have, want driver.State) (*driver.Change, error) {
	h, err := stateOf(have)
	if err != nil {
		return nil, err
	}
	w, err := stateOf(want)
	if err != nil {
		return nil, err
	}
	dl := compare(h.Table(), w.Table())
	return &driver.Change{From: h, To: w, Ops: dl.ops(), First: (h.Table() == nil || !hooked(h.Table())) && w.Table() != nil}, nil
}

// Decode gives a state its meaning.
func (d *Driver) Decode(s driver.State) (*driver.Decoded, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	out := decode.Decode(st.Ruleset, decode.Options{Table: render.TableName(d.site),
		MarkValue: render.VerdictBase, MarkMask: render.VerdictMask, Interfaces: d.interfaces})
	if t := st.Table(); t != nil && hooked(t) {
		for _, c := range t.Chains {
			if name, ok := strings.CutPrefix(c.Name, "state_"); ok {
				out.Installed = append(out.Installed, name)
			}
		}
	}
	return out, nil
}

// Apply makes the change in one transaction. If somebody else changed the
// namespace meanwhile and nothing that matters to us moved, it tries again.
func (d *Driver) Apply(ctx context.Context, ch *driver.Change) error {
	from, err := stateOf(ch.From)
	if err != nil {
		return err
	}
	to, err := stateOf(ch.To)
	if err != nil {
		return err
	}
	c, err := d.open()
	if err != nil {
		return err
	}
	defer c.Close()
	dl := compare(from.Table(), to.Table())
	if dl.empty() {
		return nil
	}
	if dl.have == nil || !hooked(dl.have) {
		// A table that was lost hides its ids, and flows still bear them: a mark that is
		// given out again would let its old flow through.
		if err := d.clearMarks(ctx, c); err != nil {
			return fmt.Errorf("%w: %w", driver.ErrRefused, err)
		}
	}
	if err := d.commit(ctx, c, from, dl); err != nil {
		return err
	}
	if dl.want == nil {
		return d.clearMarks(ctx, c)
	}
	return d.settle(ctx, c, to)
}

const commitTries = 5

func (d *Driver) commit(ctx context.Context, c *kernel.Conn, from *State, dl *delta) error {
	gen := from.Ruleset.Generation
	batch := dl.batch()
	if batch.Messages() == 0 {
		return nil // only the end of an interrupted change is left to do
	}
	if room := c.Room(batch.Len()); batch.Len() > room {
		return d.commitParts(ctx, c, from, dl, room)
	}
	for range commitTries {
		err := c.Commit(ctx, batch, gen)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, kernel.ErrUncertain):
			return fmt.Errorf("cannot tell whether the change of %s was made: %w", d.where(), err)
		case !errors.Is(err, kernel.ErrGenerationMoved):
			return fmt.Errorf("%w: cannot change %s: %w", driver.ErrRefused, d.where(), err)
		}
		now, err := d.read(ctx, c)
		if err != nil {
			return fmt.Errorf("%w: %w", driver.ErrRefused, err)
		}
		if now.Fingerprint() != from.Fingerprint() {
			return fmt.Errorf("%w: others wrote to nf_tables of %s between plan and apply", driver.ErrMoved, d.where())
		}
		gen = now.Ruleset.Generation
	}
	return fmt.Errorf("%w: nf_tables of %s did not hold still for one transaction in %d tries", driver.ErrMoved, d.where(), commitTries)
}

func (d *Driver) clearMarks(ctx context.Context, c *kernel.Conn) error {
	for _, base := range []uint32{render.VerdictBase, render.ReversedBase} {
		if _, err := c.ClearMarks(ctx, base, render.VerdictMask); err != nil {
			return fmt.Errorf("cannot clear the marks of tracked flows in %s: %w", d.where(), err)
		}
	}
	return nil
}

// settle ends what a change leaves behind: flows whose verdict is no longer the
// one that they bear lose it, and the kernel judges their next packet, whichever
// side sends it. Then the verdicts that were held pass live flows again.
func (d *Driver) settle(ctx context.Context, c *kernel.Conn, to *State) error {
	t := to.Table()
	if err := d.sweep(ctx, c, newJudge(t), to.Own); err != nil {
		return err
	}
	held, err := c.Elements(ctx, ruleset.FamilyInet, t.Name, "hold")
	if err != nil {
		return fmt.Errorf("cannot read the held verdicts of %s: %w", d.where(), err)
	}
	if len(held) == 0 {
		return nil
	}
	b := &kernel.Batch{}
	b.FlushSet(ruleset.FamilyInet, t.Name, "hold")
	if err := c.Commit(ctx, b, 0); err != nil {
		return fmt.Errorf("cannot release the held verdicts of %s: %w", d.where(), err)
	}
	return nil
}

// sweep takes flows that are no longer permitted out of the way. A TCP flow loses
// its mark: deleted, it could be picked up in mid-stream from its other side. Any
// other flow is forgotten: its entry would make each packet from the far end a
// reply to a flow that is denied, although policy may permit that packet as a flow
// of its own.
func (d *Driver) sweep(ctx context.Context, c *kernel.Conn, j *judge, own packet.Addrs) error {
	flows, err := c.ListFlows(ctx, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("cannot list the tracked flows of %s; live flows are judged packet by packet until the next apply: %w", d.where(), err)
	}
	var unmark, forget []kernel.Flow
	for i := range flows {
		f := &flows[i]
		ours := f.Mark&render.VerdictMask == render.VerdictBase || f.Mark&render.VerdictMask == render.ReversedBase
		if !ours && f.Mark != 0 {
			continue // somebody else's mark: not a flow that we judged
		}
		if !ours && (own.Contains(f.Orig.Src) || own.Contains(f.Orig.Dst) || own.Contains(f.Reply.Src) || own.Contains(f.Reply.Dst)) {
			continue // the machine's own, which perhaps no point judges
		}
		verdict := j.flow(f)
		switch {
		case ours && verdict == f.Mark&^render.VerdictMask|render.VerdictBase:
		case f.Orig.Proto != unix.IPPROTO_TCP && !j.permitted(verdict):
			forget = append(forget, *f)
		case ours:
			unmark = append(unmark, *f)
		}
	}
	if _, err := c.SetMark(ctx, unmark, 0); err != nil {
		return fmt.Errorf("cannot judge the live flows of %s again: %w", d.where(), err)
	}
	if _, err := c.DeleteFlows(ctx, forget); err != nil {
		return fmt.Errorf("cannot end the live flows of %s: %w", d.where(), err)
	}
	return nil
}
