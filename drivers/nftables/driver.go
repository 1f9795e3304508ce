package nftables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	pairs      int
	// decoded keeps what the last table means: a state that was rendered is decoded again
	// when it was read back. One table is all it holds.
	decoded *decode.Cache
	// For tests: how much a socket sends at once, and what to do between the parts of
	// a load.
	sendLimit int
	afterPart func(part int)
	leaves    bool // what is left of a trial, as if the controller died there
}

// Options say where and for what site a driver works.
type Options struct {
	Site       string
	Netns      string   // name or path; "" is where this process runs
	Interfaces []string // named by zones
	// Bounds of the lookup tables; the zero value stands for compile.DefaultBounds.
	Bounds compile.Bounds
	// Pairs is up to how many pairs of address sets a decoded relation lists one by
	// one; 0 stands for decode.DefaultPairs.
	Pairs int
}

// New makes a driver. Nothing is opened before it is used.
func New(o Options) *Driver {
	ifs := slices.Clone(o.Interfaces)
	slices.Sort(ifs)
	if o.Bounds == (compile.Bounds{}) {
		o.Bounds = compile.DefaultBounds()
	}
	return &Driver{site: o.Site, netns: o.Netns, interfaces: slices.Compact(ifs), bounds: o.Bounds, pairs: o.Pairs, decoded: decode.NewCache(1)}
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

// halfWait is how often and how long read waits for a switch that expires in this
// moment: its elements have one time, and go within a tick of each other.
const (
	halfTries = 50
	halfWait  = 10 * time.Millisecond
)

func (d *Driver) read(ctx context.Context, c *kernel.Conn) (*State, error) {
	for try := 0; ; try++ {
		s, err := d.readOnce(ctx, c)
		if !errors.Is(err, errHalf) {
			return s, err
		}
		if try == halfTries {
			return nil, fmt.Errorf("cannot read nf_tables of %s: %w, and does not: delete set %q of the table by hand", d.where(), err, render.TrialSwitch)
		}
		time.Sleep(halfWait)
	}
}

func (d *Driver) readOnce(ctx context.Context, c *kernel.Conn) (*State, error) {
	rs, err := c.Read(ctx, d.ours)
	if err != nil {
		return nil, fmt.Errorf("cannot read nf_tables of %s: %w", d.where(), err)
	}
	st := &State{Site: d.site, Ruleset: rs}
	t := st.Table()
	if t == nil || !onTrial(t) {
		return st, nil
	}
	// Packets go by one of two states. Should the table be neither as a trial has it, it
	// is decoded as it is, and a change makes it what it has to be.
	x, err := readTrial(t)
	if errors.Is(err, errHalf) {
		return nil, err
	}
	if err != nil {
		return st, nil
	}
	now := x.old
	if x.left > 0 {
		now = x.new
	}
	st = st.with(now)
	st.trial = x
	return st, nil
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
	t, words, err := render.TableWords(want, there, d.bounds)
	if err != nil {
		return nil, err
	}
	state := h.with(t)
	state.words = words
	out := &driver.Rendered{State: state}
	if t == nil {
		return out, nil
	}
	for i := range want.Points {
		state.Own = state.Own.Union(want.Points[i].Own)
	}
	out.Usage = append(render.Usage(t), layoutUsage(want.View.Current(), t)...)
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

// layoutUsage says how much there is to look up: classes of addresses, class spaces,
// and how many lookups in maps a new packet costs at most.
func layoutUsage(l *compile.Layout, t *ruleset.Table) []driver.Usage {
	if l == nil {
		return nil
	}
	st := l.Stats()
	return []driver.Usage{
		{Resource: "classes", Used: st.Classes},
		{Resource: "class spaces", Used: st.Spaces},
		{Resource: "lookups at most for a new packet", Used: render.Lookups(t, st.Spaces)},
	}
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

// Decode gives a state its meaning. The state must not be changed afterwards.
func (d *Driver) Decode(s driver.State) (*driver.Decoded, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	return d.decode(st, d.decoded, d.pairs), nil
}

// decode decodes with what a cache knows (nil for none), and with up to so many pairs
// of address sets in a list.
func (d *Driver) decode(st *State, known *decode.Cache, pairs int) *driver.Decoded {
	out := known.Decode(st.Ruleset, decode.Options{Table: render.TableName(d.site),
		MarkValue: render.VerdictBase, MarkMask: render.VerdictMask, Interfaces: d.interfaces, Pairs: pairs})
	if t := st.Table(); t != nil && hooked(t) {
		for _, c := range t.Chains {
			if name, ok := strings.CutPrefix(c.Name, "slow."); ok {
				out.Installed = append(out.Installed, name)
			}
		}
	}
	return out
}

// Apply makes the change in one transaction. If somebody else changed the
// namespace meanwhile and nothing that matters to us moved, it tries again.
func (d *Driver) Apply(ctx context.Context, ch *driver.Change) error {
	from, to, err := d.ends(ch)
	if err != nil {
		return err
	}
	c, err := d.open()
	if err != nil {
		return err
	}
	defer c.Close()
	if from, err = d.tidied(ctx, c, from); err != nil {
		return err
	}
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
	concerns := packet.AllAddrs()
	if !dl.rebuild && !dl.hold.none() && dl.have != nil {
		concerns = dl.hold.concerns()
	}
	return d.settle(ctx, c, to, concerns)
}

const commitTries = 5

func (d *Driver) commit(ctx context.Context, c *kernel.Conn, from *State, dl *delta) error {
	batch := dl.batch()
	if batch.Messages() == 0 {
		return nil // only the end of an interrupted change is left to do
	}
	if room := c.Room(batch.Len()); batch.Len() > room {
		return d.commitParts(ctx, c, from, dl, room)
	}
	return d.commitWhole(ctx, c, from, batch)
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
// side sends it. Then flows that were held go by their marks again.
func (d *Driver) settle(ctx context.Context, c *kernel.Conn, to *State, concerns packet.Addrs) error {
	t := to.Table()
	if err := d.sweep(ctx, c, newJudge(t), to.Own, concerns); err != nil {
		return err
	}
	return d.release(ctx, c, t.Name)
}

// release ends the hold, first of all for packets that ask whether there is one.
func (d *Driver) release(ctx context.Context, c *kernel.Conn, table string) error {
	return d.releaseAs(ctx, c, table, "")
}

// releaseAs is release for sets whose names begin with a prefix.
func (d *Driver) releaseAs(ctx context.Context, c *kernel.Conn, table, prefix string) error {
	counts, err := c.Counts(ctx, ruleset.FamilyInet, table)
	if err != nil {
		return fmt.Errorf("cannot tell which flows of %s are held: %w", d.where(), err)
	}
	b := &kernel.Batch{}
	for _, set := range []string{setHold, setHoldAll, setMoved4, setMoved6} {
		if n := counts[prefix+set]; !n.Known || n.Elements > 0 {
			b.FlushSet(ruleset.FamilyInet, table, prefix+set)
		}
	}
	if b.Messages() == 0 {
		return nil
	}
	if err := c.Commit(ctx, b, 0); err != nil {
		return fmt.Errorf("cannot release the held flows of %s: %w", d.where(), err)
	}
	return nil
}

// sweep takes flows that are no longer permitted out of the way. A TCP flow loses
// its mark: deleted, it could be picked up in mid-stream from its other side. Any
// other flow is forgotten: its entry would make each packet from the far end a
// reply to a flow that is denied, although policy may permit that packet as a flow
// of its own.
//
// Only flows with an end in concerns are looked at: no verdict of others has changed.
func (d *Driver) sweep(ctx context.Context, c *kernel.Conn, j *judge, own, concerns packet.Addrs) error {
	flows, err := c.ListFlows(ctx, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("cannot list the tracked flows of %s; live flows are judged packet by packet until the next apply: %w", d.where(), err)
	}
	var unmark, forget []kernel.Flow
	for i := range flows {
		f := &flows[i]
		if !concerns.Contains(f.Orig.Src) && !concerns.Contains(f.Reply.Src) {
			continue
		}
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
