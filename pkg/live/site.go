package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// Options are what a live site needs besides its assets.
type Options struct {
	Name string // of the site
	Book *policy.Rulebook
	// Points are those of one device, as they are: a change of what a point protects, or
	// of its zones, is another Site. Brakes are the caller's to ask before Open.
	Points []compile.Point
	Driver driver.Driver
	// Now is the clock: policies expire by it.
	Now func() time.Time
	// ReadAfter is after what time a device is read and proved whole again, whatever
	// its generation says; 0 stands for a day.
	ReadAfter time.Duration
	// Say hears what is done to the device where it is changed whole; nil for nobody.
	Say apply.Progress
}

// Site is a site on one device. It is not safe for use by several goroutines.
type Site struct {
	o      Options
	assets []inventory.Asset // in order of ID
	index  map[string]int    // ID -> place; made anew where the order changes
	cl     *classify.Classifier

	matrix   *compile.Matrix // of the last change that was made whole
	at       time.Time       // of that
	moved    bool            // addresses have moved since, or policies have changed
	amended  bool            // policies have changed since
	tracker  *compile.Tracker
	mover    driver.Mover
	standing *prove.Standing
	wholly   time.Time   // when the device was last read and proved whole
	proofs   prove.Cache // of the tables that were installed
	rendered driver.State
	enforced map[string]bool
}

// Step says what became of a change.
type Step struct {
	// Moved counts the addresses that came to another class; Touched the native
	// objects of the device, those that hold live flows included.
	Moved, Touched int
	// Born counts the classes among theirs that no address had before.
	Born int
	// Amended is set where policies have changed, and only the entries were touched that
	// they concern. Such a change is proved, and its live flows are settled.
	Amended bool
	// Whole says why the site was compiled and the device diffed as a whole; "" where
	// only what the change concerns was looked at.
	Whole string
}

// Open compiles the site, brings the device to it, and proves it. Enforced tells
// which points have enforced before.
func Open(ctx context.Context, o Options, assets []inventory.Asset, enforced map[string]bool) (*Site, error) {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	if o.ReadAfter == 0 {
		o.ReadAfter = 24 * time.Hour
	}
	s := &Site{o: o, assets: slices.Clone(assets), enforced: map[string]bool{}}
	for name, is := range enforced {
		s.enforced[name] = is
	}
	if err := s.setBook(o.Book); err != nil {
		return nil, err
	}
	return s, s.whole(ctx)
}

// Close lets the device go. It keeps what it holds.
func (s *Site) Close() error {
	if s.mover == nil {
		return nil
	}
	err := s.mover.Close()
	s.mover = nil
	return err
}

func (s *Site) setBook(b *policy.Rulebook) error {
	if s.cl != nil && policy.SameGroups(s.o.Book.Groups, b.Groups) {
		s.o.Book = b // the expressions are the groups'
		return nil
	}
	cl, diags := classify.Compile(b, nil)
	if diags.HasErrors() {
		return fmt.Errorf("cannot compile the groups' expressions: %s", diags.All()[0].Message)
	}
	s.o.Book, s.cl = b, cl
	return nil
}

// Matrix is what the device was last brought to as a whole. Addresses that have
// moved since are in it where they were then.
func (s *Site) Matrix() *compile.Matrix { return s.matrix }

// Asset takes an asset that is new or has changed.
func (s *Site) Asset(ctx context.Context, a inventory.Asset) (Step, error) {
	if s.mover == nil {
		s.put(a)
		return s.all(ctx, "the device was not in step")
	}
	groups := s.cl.Reclassify(&a).Groups
	p := s.put(a)
	moved, err := s.tracker.Set(p, groups)
	if err != nil {
		return s.instead(ctx, err)
	}
	return s.move(ctx, moved)
}

// Remove takes an asset off the site.
func (s *Site) Remove(ctx context.Context, id string) (Step, error) {
	i, ok := s.find(id)
	if !ok {
		return Step{}, fmt.Errorf("cannot remove asset %q: there is none", id)
	}
	s.assets = slices.Delete(s.assets, i, i+1)
	s.moved = true
	s.index = nil
	if s.mover == nil {
		return s.all(ctx, "the device was not in step")
	}
	moved, err := s.tracker.Remove(id)
	if err != nil {
		return s.instead(ctx, err)
	}
	return s.move(ctx, moved)
}

// Book takes other groups, services and policies.
func (s *Site) Book(ctx context.Context, b *policy.Rulebook) (Step, error) {
	s.stand(ctx, b)
	if err := s.setBook(b); err != nil {
		return Step{}, err
	}
	return s.amend(ctx, "policy has changed")
}

// Expire brings the device to what holds now that a policy has expired. The
// permits of such a policy have ended by themselves where the device can do that.
func (s *Site) Expire(ctx context.Context) (Step, error) {
	now := s.o.Now()
	for _, p := range s.policies() {
		if !p.Expires.IsZero() && !now.Before(p.Expires) {
			s.stand(ctx, s.o.Book)
			return s.amend(ctx, fmt.Sprintf("policy %q has expired", p.Name))
		}
	}
	return Step{}, nil
}

// move tells the device of addresses that may have come to another class.
func (s *Site) move(ctx context.Context, addrs []netip.Addr) (Step, error) {
	moves := make([]driver.Move, 0, len(addrs))
	born, entries := s.tracker.Born(), 0
	for _, a := range addrs {
		to, n, err := s.place(ctx, a)
		if err != nil {
			return s.instead(ctx, err)
		}
		entries += n
		moves = append(moves, driver.Move{Addr: a, To: to})
	}
	touched, err := s.mover.Move(ctx, moves)
	if err != nil {
		return s.instead(ctx, err)
	}
	st := Step{Touched: touched + entries, Born: s.tracker.Born() - born}
	if touched > 0 {
		st.Moved = len(moves)
	}
	return st, nil
}

// instead does a change whole that cannot be followed by itself. A device whose
// state is not known is read first, whatever the reason.
func (s *Site) instead(ctx context.Context, why error) (Step, error) {
	return s.all(ctx, why.Error())
}

func (s *Site) all(ctx context.Context, why string) (Step, error) {
	if err := s.whole(ctx); err != nil {
		return Step{Whole: why}, err
	}
	return Step{Whole: why}, nil
}

// find gives the place of an asset.
func (s *Site) find(id string) (int, bool) {
	if s.index == nil {
		s.index = make(map[string]int, len(s.assets))
		for i := range s.assets {
			s.index[s.assets[i].ID] = i
		}
	}
	i, ok := s.index[id]
	return i, ok
}

// put keeps an asset, and returns where: the tracker and the next compile look at
// the same value.
func (s *Site) put(a inventory.Asset) *inventory.Asset {
	s.moved = true // for all that is known yet
	if i, ok := s.find(a.ID); ok {
		s.assets[i] = a
		return &a
	}
	i, _ := slices.BinarySearchFunc(s.assets, a.ID, func(x inventory.Asset, id string) int { return strings.Compare(x.ID, id) })
	s.assets = slices.Insert(s.assets, i, a)
	s.index = nil
	return &a
}

// whole compiles the site and brings the device to it, proved before and after.
func (s *Site) whole(ctx context.Context) error {
	if err := s.Close(); err != nil {
		return err
	}
	s.standing = nil
	in := compile.Input{Assets: s.assets, Book: s.o.Book, Where: s.cl.Classify(s.assets).Matches, Now: s.o.Now()}
	m, err := compile.Compile(in)
	if err != nil {
		return err
	}
	view := compile.NewView(m, s.o.Points)
	have, err := s.o.Driver.Read(ctx)
	if err != nil {
		return err
	}
	r, err := s.o.Driver.Render(driver.Desired{Site: s.o.Name, Points: s.o.Points, View: view, Now: in.Now, Enforced: s.enforced}, have)
	if err != nil {
		return err
	}
	change, err := s.o.Driver.Diff(have, r.State)
	if err != nil {
		return err
	}
	if !change.Empty() {
		if err := s.install(ctx, m, in.Now, r.State, change); err != nil {
			return err
		}
	}
	s.matrix, s.rendered, s.at, s.moved, s.amended = m, r.State, in.Now, false, false
	for i := range s.o.Points {
		s.enforced[s.o.Points[i].Name] = true
	}
	return s.follow(ctx, in, view)
}

// install proves what would be installed, applies it, and proves what is there.
func (s *Site) install(ctx context.Context, m *compile.Matrix, at time.Time, state driver.State, change *driver.Change) error {
	d, err := s.o.Driver.Decode(state)
	if err != nil {
		return err
	}
	for _, res := range s.proofs.Device(m, s.o.Points, d) {
		if !res.Proved {
			return fmt.Errorf("nothing was changed: %w", apply.NotProved(&res))
		}
	}
	x := apply.Executor{Say: s.o.Say, Now: s.o.Now}
	_, err = x.Run(ctx, []apply.Job{{Device: s.o.Name, Driver: s.o.Driver, Change: change, Matrix: m, Points: s.o.Points, Now: at, Proofs: &s.proofs}})
	return err
}

// follow makes ready for changes of single addresses. A device or a site that
// cannot be followed so is changed whole each time.
func (s *Site) follow(ctx context.Context, in compile.Input, view *compile.View) error {
	maker, ok := s.o.Driver.(driver.MoverMaker)
	layout := view.Current()
	if !ok || layout == nil {
		return nil
	}
	in.Assets = slices.Clone(in.Assets) // the tracker keeps pointers to what assets were
	t, err := compile.NewTracker(in, layout)
	var re *compile.Recompile
	if errors.As(err, &re) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := s.o.Driver.Read(ctx)
	if err != nil {
		return err
	}
	mover, err := maker.Mover(ctx, now, s.rendered)
	if errors.Is(err, driver.ErrRefused) || errors.Is(err, driver.ErrMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	s.tracker, s.mover = t, mover
	return nil
}
