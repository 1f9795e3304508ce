// Package daemon keeps a site enforced for as long as it runs: it watches the site
// directory, the sources and the devices, brings the devices to what the site says
// within the brakes, and puts right what others change. It answers over an API.
//
// One goroutine does everything that writes; whoever only looks gets what was last
// published. Stopping it leaves enforcement as it is.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// Options of a daemon.
type Options struct {
	Dir   string // the site directory
	Kinds []driver.Kind
	Store *store.Store // open for writing
	Now   func() time.Time
	Log   *slog.Logger
	// Interval is how often everything is looked at although nothing was heard; it is
	// spread by a tenth either way, so that many gateways do not ask a source at once.
	Interval time.Duration
	// MoveFrom is from how many assets on a few that change are moved ahead of the plan; 0
	// stands for DefaultMoveFrom.
	MoveFrom int
	// Load works the site out; nil stands for reconcile.Load with its sources.
	Load func(ctx context.Context, now time.Time) (*reconcile.Site, error)
}

// DefaultInterval of a daemon.
const DefaultInterval = time.Minute

// How the daemon paces itself.
const (
	settleFiles = 300 * time.Millisecond // an editor writes several files
	settleDrift = 20 * time.Millisecond  // a tool makes several transactions
	driftGap    = 200 * time.Millisecond // between two looks at a device that does not hold still
	firstRetry  = time.Second
	lastRetry   = 5 * time.Minute
	looksAnew   = 10 // rounds for one Look, where the site moves on during each
)

// Daemon is one site's.
type Daemon struct {
	o       Options
	c       *controller.Controller
	notify  notifier
	metrics *metrics

	who, from string
	dir       string     // of the site, from the root on
	override  sync.Mutex // who changes the list of quarantines

	work    chan func(context.Context) // for the goroutine that writes
	answers chan look                  // of devices, for that goroutine
	asking  chan struct{}              // bounds how many are asked at once
	reads   context.Context            // ends with Run: what only looks is not waited for
	wake    chan why                   // a pass is wanted

	// Of that goroutine alone:
	site    *reconcile.Site
	devices []*reconcile.Device
	known   map[string]*known // device -> what is known of it
	loaded  *reconcile.Site   // the last one that was in order, perhaps not the one in force
	next    pending
	life    context.Context  // ends with Run, where what has been begun may go on
	around  map[string]heard // by network namespace
	ears    *reconcile.Ears  // for sources that take their time
	pruned  pruned
	warned  bool // that the table of flows is nearly full

	now      atomic.Pointer[View]
	loadTook atomic.Int64 // how long the site took to be worked out last, in nanoseconds
}

// known is what the daemon knows of a device.
type known struct {
	mark string          // in sync at this mark
	site *compile.Matrix // of the site that it is in sync with; nil: not known to be
	good driver.State    // as it was read in sync with goodSite
	// goodPrint is good's fingerprint.
	goodPrint string
	goodSite  *compile.Matrix
	goodAt    time.Time
	goodOf    *reconcile.Site   // the site of goodSite
	goodOn    *reconcile.Device // the device as that site has it
	looking   bool              // it was asked, and has not answered yet
	late      *look             // its answer, which no round has seen yet
	failures  int
	retry     time.Time // not before this, if failures > 0
	looked    time.Time
	watching  context.CancelFunc
	foot      footing
}

// why a pass is wanted.
type why struct {
	what   string
	device string // "" is all
	after  time.Duration
	reload bool // the site directory may have changed
	hup    bool // somebody waits for it to be read
}

// View is what the daemon shows: a value that never changes.
type View struct {
	Site    *reconcile.Site
	Devices []*reconcile.Device
	Pass    *controller.Pass // the last one that planned
	At      time.Time        // of that pass
	Started time.Time
	// BadSite says why the site directory is not in use as it is; "" if it is.
	BadSite  string
	BadSince time.Time
	// RolledBack is the apply that was gone back to, and stays in force until the site
	// directory changes; "" for none.
	RolledBack string
	OnTrial    *store.Apply // what waits to be confirmed, or break-glass; nil for nothing
	Problem    string       // why the last pass failed as a whole; "" if it did not
	// State says why nothing can be written to the state; "" if it can.
	State string
	// Trouble says, by device, what keeps it from being what it has to be.
	Trouble map[string]string
}

// New makes a daemon.
func New(o Options, who, from string) *Daemon {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.MoveFrom <= 0 {
		o.MoveFrom = DefaultMoveFrom
	}
	d := &Daemon{o: o, who: who, from: from, notify: newNotifier(), work: make(chan func(context.Context)),
		answers: make(chan look), asking: make(chan struct{}, looksAtOnce), reads: context.Background(), wake: make(chan why, 64), known: map[string]*known{}, around: map[string]heard{}}
	if d.o.Load == nil {
		d.o.Load = d.load
	}
	d.dir = o.Dir
	if abs, err := filepath.Abs(o.Dir); err == nil && o.Dir != "" {
		d.dir = abs
	}
	d.c = &controller.Controller{Store: o.Store, Now: o.Now, Who: who, From: from,
		Say: func(format string, args ...any) { o.Log.Info(fmt.Sprintf(format, args...)) }}
	d.ears = reconcile.NewEars(o.Now, func(source string) {
		d.ask(why{what: fmt.Sprintf("source %s says something else", source), reload: true})
	})
	d.now.Store(&View{Started: o.Now(), Trouble: map[string]string{}})
	d.metrics = newMetrics(d)
	return d
}

// View gives what was last published.
func (d *Daemon) View() *View { return d.now.Load() }

// publish changes what is shown.
func (d *Daemon) publish(change func(v *View)) {
	v := *d.now.Load()
	change(&v)
	d.now.Store(&v)
}

// pending collects what passes are wanted for.
type pending struct {
	at      time.Time // zero: nothing is wanted
	all     bool
	reload  bool
	hup     bool
	devices map[string]bool
	why     string
}

func (p *pending) add(w why, now time.Time) {
	at := now.Add(w.after)
	if p.at.IsZero() || at.Before(p.at) {
		p.at = at
	}
	if p.why == "" {
		p.why = w.what
	}
	p.reload, p.hup = p.reload || w.reload, p.hup || w.hup
	if w.device == "" {
		p.all = true
		return
	}
	if p.devices == nil {
		p.devices = map[string]bool{}
	}
	p.devices[w.device] = true
}

// Run works until ctx ends. A site that is bad at the start is an error: there is no
// last good one yet.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.ears.Close()
	defer func() {
		for _, k := range d.known {
			k.foot.drop()
		}
	}()
	site, err := d.o.Load(ctx, d.o.Now())
	if err != nil {
		return err
	}
	// A device that has lost its rules while nobody looked gets those that were confirmed
	// before anything is planned: the plan may be held, and take seconds in any case.
	if err := controller.Boot(ctx, d.o.Store, &site.Config.Settings, d.o.Kinds, d.o.Now(), d.c.Say); err != nil {
		d.o.Log.Error("what was last confirmed could not be loaded", "error", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d.life, d.reads = ctx, ctx
	if err := d.use(ctx, site); err != nil {
		return err
	}
	defer func() { reconcile.Close(d.devices) }()
	files := d.watchFiles(ctx)
	// What has been begun is brought to its end, so that a stop in the middle of a repair
	// does not put the damage back. Who cannot wait kills: then time undoes it.
	begun := context.WithoutCancel(ctx)
	poll := time.NewTimer(0)
	defer poll.Stop()
	var dog <-chan time.Time
	if every := watchdog(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		dog = t.C
	}
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	prune := time.NewTimer(firstPrune)
	defer prune.Stop()
	first := true
	for {
		if d.next.at.IsZero() {
			due.Reset(time.Hour)
		} else {
			due.Reset(max(0, d.next.at.Sub(d.o.Now())))
		}
		select {
		case <-ctx.Done():
			d.notify.stopping()
			return nil
		case f := <-d.work:
			f(begun)
		case l := <-d.answers:
			d.heard(l)
		case w := <-d.wake:
			if w.hup {
				d.notify.reloading()
			}
			d.next.add(w, d.o.Now())
		case <-files:
			d.next.add(why{what: "the site directory has changed", after: settleFiles, reload: true}, d.o.Now())
		case <-poll.C:
			d.next.add(why{what: "the interval is over", reload: true}, d.o.Now())
			d.warnConntrack()
			poll.Reset(spread(d.o.Interval))
		case <-prune.C:
			d.prune()
			prune.Reset(spread(pruneLook))
		case <-dog:
			d.notify.alive()
		case <-due.C:
			if d.next.at.IsZero() || d.o.Now().Before(d.next.at) {
				continue
			}
			w := d.next
			d.next = pending{}
			d.lookAtState()
			d.round(begun, w)
			if first || w.hup {
				first = false
				d.notify.ready()
			}
			d.notify.status(d.statusLine())
		}
	}
}

func spread(every time.Duration) time.Duration {
	return every - every/10 + rand.N(every/5+1)
}

// Wake asks for a pass over everything.
func (d *Daemon) Wake(what string) { d.ask(why{what: what, reload: true}) }

// Reload is Wake for SIGHUP: systemd is told when it is done.
func (d *Daemon) Reload() { d.ask(why{what: "SIGHUP", reload: true, hup: true}) }

func (d *Daemon) ask(w why) {
	select {
	case d.wake <- w:
	default: // so much is wanted already that this is among it
	}
}

// Look looks at everything now, as if the interval were over, and waits until that and
// what follows from it is done.
func (d *Daemon) Look(ctx context.Context) error {
	return d.Do(ctx, func(ctx context.Context) error {
		for range looksAnew {
			if !d.round(ctx, pending{all: true, reload: true, why: "somebody wants to know"}) {
				break
			}
		}
		return nil
	})
}

// Do has f done by the goroutine that writes, and waits for it.
func (d *Daemon) Do(ctx context.Context, f func(ctx context.Context) error) error {
	done := make(chan error, 1)
	select {
	case d.work <- func(ctx context.Context) { done <- f(ctx) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read reads the site directory and asks the sources. lost says of which sources the
// report counts that lost too much, coming hears of the site before it is worked out.
func (d *Daemon) read(ctx context.Context, now time.Time, lost func(source string) bool, coming func(*reconcile.Coming)) (*reconcile.Site, error) {
	s, diags, err := reconcile.LoadWith(ctx, d.o.Dir, now, d.o.Kinds, reconcile.LoadOptions{Collect: true, Keep: d.loaded, AcceptLost: lost, Ears: d.ears, Coming: coming,
		Quarantined: []reconcile.InQuarantine{func(string) ([]reconcile.Quarantine, error) { return controller.Quarantines(d.o.Store) }},
		Known:       func(string) (map[string]inventory.Known, error) { return reconcile.KnownSources(d.o.Store) }})
	if err != nil {
		return nil, err
	}
	if diags.HasErrors() {
		for _, x := range diags.All() {
			if x.Severity == diag.Error {
				return nil, fmt.Errorf("the site directory has errors, the first is %s: %s", x.Pos, x.Message)
			}
		}
		return nil, errors.New("the site directory has errors")
	}
	return s, nil
}

// load gives the site that is to be in force.
func (d *Daemon) load(ctx context.Context, now time.Time) (*reconcile.Site, error) {
	began := time.Now()
	s, err := d.read(ctx, now, nil, func(x *reconcile.Coming) { d.moveAhead(ctx, x) })
	d.loadTook.Store(int64(time.Since(began)))
	if err != nil {
		return nil, err
	}
	d.loaded = s
	back, id, err := d.c.Pinned(s.Config.Hash, d.o.Kinds)
	if err != nil {
		return nil, err
	}
	d.publish(func(v *View) { v.RolledBack = id })
	if back != nil {
		return back, nil
	}
	return s, nil
}

// use makes a site the one that is enforced.
func (d *Daemon) use(ctx context.Context, s *reconcile.Site) error {
	devices, err := s.Devices(ctx, false)
	if err != nil {
		return err
	}
	old := map[string]*reconcile.Device{}
	for _, x := range d.devices {
		old[x.Name] = x
	}
	here := map[string]bool{}
	for _, x := range devices {
		x.Keep(old[x.Name])
		here[x.Name] = true
		if d.known[x.Name] == nil {
			d.known[x.Name] = &known{}
		}
		d.keepFooting(d.known[x.Name], s, old[x.Name], x)
		d.watch(x)
	}
	d.hear(s)
	for name, k := range d.known {
		if !here[name] {
			k.stopWatching()
			k.foot.drop()
			delete(d.known, name)
		}
	}
	reconcile.CloseBut(d.devices, devices)
	d.site, d.devices = s, devices
	d.publish(func(v *View) { v.Site, v.Devices, v.BadSite, v.BadSince = s, devices, "", time.Time{} })
	return nil
}
