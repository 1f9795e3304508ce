package daemon_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bulkhead/bench/estate"
	"bulkhead/drivers"
	"bulkhead/drivers/nftables"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/config"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

// moves is a daemon that enforces a generated site on a kernel.
type moves struct {
	t     *testing.T
	d     *daemon.Daemon
	st    *store.Store
	dir   string
	lines []string // of the inventory
	plain []int    // see findPlain
	log   strings.Builder
	ctx   context.Context
	stop  func() // ends the daemon
}

// startMoves starts it and waits until assets can be moved.
func startMoves(t *testing.T, extra string, kinds ...driver.Kind) *moves {
	m := &moves{t: t, dir: t.TempDir(), st: openStore(t, t.TempDir())}
	e := estate.New(estate.Scale(8000))
	if err := e.WriteSite(m.dir); err != nil {
		t.Fatal(err)
	}
	ns := netns(t, "moves")
	text, err := os.ReadFile(filepath.Join(m.dir, "bulkhead.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, m.dir, "bulkhead.yaml", strings.Replace(string(text), "driver: nftables", "driver: nftables\n    netns: "+ns, 1))
	write(t, m.dir, "begin.yaml", "observe_learn: 0s\n"+extra)
	csv, err := os.ReadFile(m.csv())
	if err != nil {
		t.Fatal(err)
	}
	m.lines = strings.Split(string(csv), "\n")
	if kinds == nil {
		kinds = drivers.Kinds()
	}
	m.start(kinds)
	return m
}

// start starts a daemon on the site and the state.
func (m *moves) start(kinds []driver.Kind) {
	m.d = daemon.New(daemon.Options{Dir: m.dir, Kinds: kinds, Store: m.st, Interval: time.Hour, MoveFrom: 1000,
		Log: slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, "test", "here")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	m.ctx = ctx
	ended := make(chan error, 1)
	go func() {
		err := m.d.Run(ctx)
		cancel() // nobody waits for one that has ended
		ended <- err
	}()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			m.t.Error(err)
		}
	})
	m.t.Cleanup(m.stop)
}

func (m *moves) csv() string { return filepath.Join(m.dir, "inventory", "estate.csv") }

// look has the daemon look until nothing is left to do, and gives what was logged.
func (m *moves) look() string {
	m.t.Helper()
	have := func() (text string) {
		if err := m.d.Do(m.ctx, func(context.Context) error { text = m.log.String(); return nil }); err != nil {
			m.t.Fatal(err)
		}
		return text
	}
	before := have()
	if err := m.d.Look(m.ctx); err != nil {
		m.t.Fatal(err)
	}
	time.Sleep(driftAndMore) // it looks once more, and makes ready for the next moves
	return strings.TrimPrefix(have(), before)
}

// driftAndMore is longer than a daemon waits after a change before it looks once more.
const driftAndMore = 1500 * time.Millisecond

// role gives an asset another role, or takes it off the inventory; it returns what was.
func (m *moves) role(line int, role string) (was string) {
	m.t.Helper()
	was = m.lines[line]
	if m.lines[line] = was[:strings.LastIndex(was, ",")+1] + role; role == "" {
		m.lines[line] = ""
	}
	m.write()
	return was
}

func (m *moves) write() {
	m.t.Helper()
	text := strings.Join(slices.DeleteFunc(slices.Clone(m.lines), func(l string) bool { return l == "" }), "\n") + "\n"
	write(m.t, m.dir, "inventory/estate.csv", text)
}

func idOf(line string) string   { id, _, _ := strings.Cut(line, ","); return id }
func roleOf(line string) string { return line[strings.LastIndex(line, ",")+1:] }
func cellOf(line string) string { // site and environment
	f := strings.Split(line, ",")
	return f[3] + f[4]
}

// findPlain notes who is in no group but those of the own site, environment and role: as
// one of these with another role somebody else is there already.
func (m *moves) findPlain() {
	s := m.d.View().Site
	for i, l := range m.lines[1:] {
		if l == "" {
			continue
		}
		groups := s.Matrix.GroupNames(s.Matrix.ClassOf(s.Inventory.Lookup(idOf(l)).Addresses[0].Addr()))
		if !slices.ContainsFunc(groups, func(g string) bool { return strings.HasPrefix(g, "list") || strings.HasPrefix(g, "slice") }) {
			m.plain = append(m.plain, i+1)
		}
	}
	m.plain = slices.DeleteFunc(slices.Clone(m.plain), func(i int) bool { _, role := m.like(i); return role == "" })
	if len(m.plain) < 50 {
		m.t.Fatalf("only %d are like another", len(m.plain))
	}
}

// like finds somebody with another role, and all else the same, and that role; "" if there
// is nobody.
func (m *moves) like(line int) (other, role string) {
	l := m.lines[line]
	for _, i := range m.plain {
		if o := m.lines[i]; o != "" && cellOf(o) == cellOf(l) && roleOf(o) != roleOf(l) && strings.Contains(o, ":") == strings.Contains(l, ":") {
			return o, roleOf(o)
		}
	}
	return "", ""
}

// another is a role of somebody who is like an asset otherwise.
func (m *moves) another(line int) string {
	_, role := m.like(line)
	return role
}

const (
	moved    = "assets are moved ahead of the plan"
	notMoved = "a change of assets is not made ahead of the plan"
)

// inStep fails unless the device is in sync and holds what was last confirmed on it.
func (m *moves) inStep(what string) {
	m.t.Helper()
	v := m.d.View()
	if v.Pass.Result != controller.InSync || len(v.Trouble) > 0 || v.BadSite != "" {
		m.t.Fatalf("%s: %s %q %v %s", what, v.Pass.Result, v.Pass.Why, v.Trouble, v.BadSite)
	}
	known, err := m.st.LastConfirmed()
	if err != nil || len(known) != 1 {
		m.t.Fatal(known, err)
	}
	b, err := m.st.Blob(known[0].Hash)
	if err != nil {
		m.t.Fatal(err)
	}
	rec, err := apply.ReadRecord(b)
	if err != nil {
		m.t.Fatal(err)
	}
	now, err := v.Devices[0].Read(m.ctx)
	if err != nil || now.Fingerprint() != rec.Fingerprint {
		m.t.Fatalf("%s: the device reads as %s, and %s was confirmed: %v", what, now.Fingerprint(), rec.Fingerprint, err)
	}
}

// A few assets of a large site that change are moved on the device before the plan, which
// finds it done and writes it down.
func TestAssetsAreMovedAheadOfThePlan(t *testing.T) {
	m := startMoves(t, "limits: {first_enforcement: accept}\n")
	if text := m.look(); !strings.Contains(text, "can be moved ahead of plans") {
		t.Fatal(text)
	}
	m.inStep("at the start")
	m.findPlain()
	x, y, z := m.plain[0], m.plain[1], m.plain[2]
	one := m.role(x, m.another(x))
	for _, c := range []struct {
		what string
		// tidied is set where somebody was the last of his kind: what is said of that is
		// taken off by the plan.
		tidied bool
		do     func() string // the ID of the asset
	}{
		{"another role", false, func() string { return idOf(m.lines[x]) }},
		{"back", false, func() string { m.role(x, roleOf(one)); return idOf(one) }},
		{"of another", true, func() string { m.role(y, m.another(y)); return idOf(m.lines[y]) }},
		{"gone", true, func() string { return idOf(m.role(z, "")) }},
	} {
		id := c.do()
		text := m.look()
		if !strings.Contains(text, moved) {
			t.Errorf("%s: %s", c.what, text)
		}
		m.inStep(c.what)
		if c.tidied {
			continue
		}
		last, err := m.st.History(1)
		if err != nil || last[0].State != store.Confirmed || last[0].Reason != "moved ahead of the plan: "+id {
			t.Errorf("%s: the history ends with %+v %v", c.what, last[0], err)
		}
		if strings.Contains(text, "on trial") {
			t.Errorf("%s: the plan did it over again: %s", c.what, text)
		}
	}
}

// What a plan would be held for, or refused, is left to the plan; and so is what is more
// than a change of assets.
func TestWhatWaitsForThePlan(t *testing.T) {
	m := startMoves(t, "limits: {first_enforcement: accept, newly_denied_percent: 0, assets_lost_percent: 100}\n")
	m.look()
	m.inStep("at the start")
	m.findPlain()
	was := slices.Clone(m.lines)
	for _, x := range m.plain[:20] {
		m.role(x, m.another(x))
	}
	if text := m.look(); !strings.Contains(text, notMoved) || strings.Contains(text, moved) || !strings.Contains(text, "of all flows") {
		t.Errorf("it may take more than what may be newly denied: %s", text)
	}
	m.lines = was
	m.write()

	const limits = "observe_learn: 0s\nlimits: {first_enforcement: accept, newly_denied_percent: 100, assets_lost_percent: 100}\n"
	write(t, m.dir, "begin.yaml", limits)
	if text := m.look(); strings.Contains(text, moved) {
		t.Errorf("settings have changed: %s", text)
	}
	m.look()
	m.inStep("with other limits")
	if text := m.look(); strings.Contains(text, moved) {
		t.Errorf("nothing has changed: %s", text)
	}

	// A test that a changed asset would fail.
	s := m.d.View().Site
	from, to, service, role := m.losing(s)
	write(t, m.dir, "tests/moves.yaml", fmt.Sprintf("tests:\n  - {name: it reaches it, from: %s, to: %s, service: %s, expect: permit}\n", idOf(m.lines[from]), to, service))
	m.look()
	m.look()
	m.inStep("with a test")
	line := m.role(from, role)
	text := m.look()
	if !strings.Contains(text, notMoved) || !strings.Contains(text, "it reaches it") || strings.Contains(text, moved) {
		t.Errorf("a policy test fails then: %s", text)
	}
	if v := m.d.View(); v.Pass.Result != controller.Refused {
		t.Errorf("a policy test fails: %s", v.Pass.Result)
	}
	m.lines[from] = line
	m.write()
	m.look()
	m.look()
	m.inStep("with the test holding again")

	// Somebody in quarantine, and a device that others have written to.
	q := reconcile.Quarantine{Asset: idOf(m.lines[m.plain[3]]), Until: time.Now().Add(time.Hour), Who: "eva", Reason: "scans"}
	c := &controller.Controller{Store: m.st, Now: time.Now, Who: "eva"}
	if _, err := c.Quarantine(m.ctx, m.d.View().Site, m.d.View().Devices, q); err != nil {
		t.Fatal(err)
	}
	m.role(m.plain[4], m.another(m.plain[4]))
	if text := m.look(); strings.Contains(text, moved) {
		t.Errorf("somebody is in quarantine: %s", text)
	}
}

// losing finds an asset that would lose, with another role, what it may open to another.
func (m *moves) losing(s *reconcile.Site) (from int, to, service, role string) {
	m.t.Helper()
	class := func(line string) int { return s.Matrix.ClassOf(s.Inventory.Lookup(idOf(line)).Addresses[0].Addr()) }
	for _, from = range m.plain {
		like, role := m.like(from)
		for i := range s.Inventory.Assets {
			b := &s.Inventory.Assets[i]
			at := s.Matrix.ClassOf(b.Addresses[0].Addr())
			if b.Addresses[0].Addr().Is4() == strings.Contains(m.lines[from], ":") || b.ID == idOf(m.lines[from]) {
				continue
			}
			for _, span := range s.Matrix.Permitted(class(m.lines[from]), at).Subtract(s.Matrix.Permitted(class(like), at)) {
				if span.Lo>>16 == 6 {
					return from, b.ID, fmt.Sprintf("tcp/%d", span.Lo&0xffff), role
				}
			}
		}
	}
	m.t.Fatal("nobody would lose anything")
	return
}

// liar is a driver that reads moved addresses back otherwise than they are.
type liar struct {
	*nftables.Driver
	lies *atomic.Bool
}

func (l liar) Mover(ctx context.Context, now, rendered driver.State) (driver.Mover, error) {
	m, err := l.Driver.Mover(ctx, now, rendered)
	return lyingMover{m, l.lies}, err
}

type lyingMover struct {
	driver.Mover
	lies *atomic.Bool
}

func (m lyingMover) Check(ctx context.Context) ([]driver.Moved, error) {
	list, err := m.Mover.Check(ctx)
	for i := range list {
		if m.lies.Load() {
			list[i].Word ^= 1 << 20
		}
	}
	return list, err
}

// A device that does not read back as what it was told is not believed: the plan looks at
// all of it, at once. And one whose controller died with moves under way is written down
// by the next.
func TestMovesThatAreNotProved(t *testing.T) {
	var lies atomic.Bool
	kind := *drivers.Find("nftables")
	open := kind.Open
	kind.Open = func(site string, points []config.Point) (driver.Driver, error) {
		d, err := open(site, points)
		if err != nil {
			return nil, err
		}
		return liar{d.(*nftables.Driver), &lies}, nil
	}
	m := startMoves(t, "limits: {first_enforcement: accept}\n", kind)
	m.look()
	m.inStep("at the start")
	m.findPlain()
	x := m.plain[0]
	lies.Store(true)
	m.role(x, m.another(x))
	before := m.d.View().Pass
	if text := m.look(); strings.Contains(text, moved) || !strings.Contains(text, "a change of assets could not be made ahead of the plan") || !strings.Contains(text, "not proved") {
		t.Errorf("the device read back as another one: %s", text)
	}
	m.inStep("after the plan")
	if m.d.View().Pass == before {
		t.Error("no pass has looked at the device")
	}

	m.stop()
	c := &controller.Controller{Store: m.st, Now: time.Now, Who: "eva"}
	y := idOf(m.lines[m.plain[1]])
	if err := c.NoteMoves([]string{m.d.View().Devices[0].Name}, []string{y}); err != nil {
		t.Fatal(err)
	}
	m.start([]driver.Kind{kind})
	m.look()
	m.inStep("with another controller")
	last, err := m.st.History(1)
	if err != nil || last[0].State != store.Confirmed || last[0].Reason != "moved ahead of the plan: "+y {
		t.Errorf("the history ends with %+v %v", last[0], err)
	}
}
