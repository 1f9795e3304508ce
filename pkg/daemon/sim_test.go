package daemon_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bulkhead/drivers"
	"bulkhead/drivers/nftables"
	"bulkhead/inventory"
	"bulkhead/pkg/config"
	"bulkhead/pkg/controller"
	"bulkhead/pkg/daemon"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/reconcile"
	"bulkhead/pkg/store"
)

var (
	simHours = flag.Int("sim-hours", 60, "simulated hours of faults")
	simSeed  = flag.Uint64("sim-seed", 0, "seed of the simulation; 0 draws one")
	simLog   = flag.Bool("sim-log", false, "show what the daemon logs")
)

const simSite = `name: t
points:
  gw-a: {driver: sim, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}, b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}}}
  gw-b: {driver: sim, zones: {a: {interfaces: [eth1], prefixes: [10.0.1.0/24]}, b: {interfaces: [eth2], prefixes: [10.0.2.0/24]}}}
observe_learn: 0s
limits: {first_enforcement: accept, newly_denied_percent: 100, assets_lost_percent: 100}
`

// Every version of the policy permits port 5000 and one of its own.
const always, ofVersion = 5000, 5010

func simPolicy(version int) string {
	return fmt.Sprintf(`assets:
  web: {kind: vm, addresses: [10.0.1.10], labels: {role: web}}
  db: {kind: vm, addresses: [10.0.2.10], labels: {role: db}}
groups:
  web: {where: 'labels.role == "web"'}
  db: {where: 'labels.role == "db"', isolate: both}
policies:
  - {name: web-to-db, from: web, to: db, services: [tcp/%d, tcp/%d], action: allow}
`, always, ofVersion+version)
}

// simulation is a daemon, its devices, and what is watched.
type simulation struct {
	t       *testing.T
	rng     *rand.Rand
	devices map[string]*simDevice
	plain   bool // gw-b cannot hold a change on trial
	mu      sync.Mutex
	version int
	// may are the versions of which a device may enforce anything: those that were wanted
	// since all devices were last in sync.
	may     map[int]bool
	badSite bool
	offset  time.Duration // of the controller's clock
	states  int
	trials  int // that somebody had to confirm
}

func (s *simulation) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.offset)
}

// load works a version of the site out.
func (s *simulation) load(_ context.Context, now time.Time) (*reconcile.Site, error) {
	s.mu.Lock()
	version, bad := s.version, s.badSite
	s.mu.Unlock()
	if bad {
		return nil, errors.New("a source does not answer")
	}
	cfg, diags := config.LoadFiles(map[string][]byte{"bulkhead.yaml": []byte(simSite), "policy.yaml": []byte(simPolicy(version))})
	if diags.HasErrors() {
		return nil, errors.New(diags.All()[0].Message)
	}
	k := drivers.Find("nftables")
	return reconcile.Build(cfg, []inventory.Report{cfg.Report()}, now, []driver.Kind{simKind(s.devices, s.plain, k.Encode, k.Decode)}, diags)
}

// ports are those that a state lets through to.
func ports(s driver.State) (out []int) {
	t := s.(*nftables.State).Table()
	if t == nil {
		return nil
	}
	for _, e := range t.Set("svc").Elements {
		if len(e.Key) == 12 {
			out = append(out, int(binary.BigEndian.Uint16(e.Key[8:])))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// inForce holds every state that a device ever enforces against what it may be:
// between what all wanted versions permit and what any of them does.
func (s *simulation) inForce(name string, st driver.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states++
	for _, p := range ports(st) {
		if p != always && !s.may[p-ofVersion] {
			s.t.Errorf("%s permits port %d, which nobody wants (wanted: %v)", name, p, s.may)
		}
	}
}

func (s *simulation) want(version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = version
	s.may[version] = true
}

// synced forgets what no device can still go back to.
func (s *simulation) synced() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.may = map[int]bool{s.version: true}
}

// The whole controller, with devices that fail in every way, a source that flaps and a
// clock that jumps, for many hours of simulated time: no device ever enforces what
// nobody wants; no trial outlives its time; and once the faults end, everything is
// what it has to be, and nothing is left unfinished.
func TestSimulation(t *testing.T) {
	seed := *simSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (repeat with -sim-seed %d)", seed, seed)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { simulate(t, seed, dir) })
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	s := &simulation{t: t, rng: rand.New(rand.NewPCG(seed, 1)), devices: map[string]*simDevice{}, plain: seed%2 == 1, may: map[int]bool{0: true}}
	for i, name := range []string{"gw-a", "gw-b"} {
		s.devices[name] = &simDevice{Driver: nftables.New(nftables.Options{Site: "t", Interfaces: []string{"eth1", "eth2"}}),
			rng: rand.New(rand.NewPCG(seed, uint64(i+2))), state: nftables.Empty("t"), saved: nftables.Empty("t"),
			each: func(st driver.State) { s.inForce(name, st) }}
	}
	return s
}

// start runs a daemon; the function that is returned ends it.
func (s *simulation) start(st *store.Store) (*daemon.Daemon, func()) {
	log := slog.New(slog.DiscardHandler)
	if *simLog {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	d := daemon.New(daemon.Options{Store: st, Now: s.now, Log: log, Interval: 5 * time.Minute, Load: s.load}, "sim", "here")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		for { // a source that is down at the start ends it, and whoever runs it starts it again
			err := d.Run(ctx)
			if err == nil || !strings.Contains(err.Error(), "does not answer") {
				ended <- err
				return
			}
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-time.After(2 * time.Second):
			}
		}
	}()
	return d, func() {
		stop()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}
}

func simulate(t *testing.T, seed uint64, dir string) {
	s := newSimulation(t, seed)
	st, err := store.Open(dir, "t", s.now)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	start := func() (*daemon.Daemon, func()) { return s.start(st) }
	d, stop := start()
	time.Sleep(time.Minute)
	for hour := range *simHours {
		s.event(d)
		time.Sleep(time.Duration(s.rng.IntN(3600)) * time.Second)
		if s.rng.IntN(10) == 0 { // the controller ends, and another one takes over
			stop()
			d, stop = start()
		}
		if hour%10 == 9 {
			s.heal(t, d, st)
		}
	}
	s.heal(t, d, st)
	stop()
	s.mu.Lock()
	t.Logf("%d states were in force in %d hours, %d on trial for somebody", s.states, *simHours, s.trials)
	if s.states < *simHours/4 {
		t.Errorf("too little happened to mean anything")
	}
	s.mu.Unlock()
}

// event makes something happen.
func (s *simulation) event(d *daemon.Daemon) {
	any := func() *simDevice { return s.devices[[]string{"gw-a", "gw-b"}[s.rng.IntN(2)]] }
	switch s.rng.IntN(12) {
	case 0, 1, 2:
		s.want(s.rng.IntN(6))
		d.Wake("a change")
	case 3:
		any().tamper()
	case 4:
		any().reboot()
	case 5:
		any().faults([]float64{0, 0.1, 0.5, 1}[s.rng.IntN(4)], s.rng.IntN(3) == 0)
	case 6:
		s.mu.Lock()
		s.badSite = !s.badSite
		s.mu.Unlock()
		d.Wake("a source")
	case 7: // the controller's clock jumps
		s.mu.Lock()
		s.offset += time.Duration(s.rng.IntN(600)-300) * time.Second
		s.mu.Unlock()
	case 9:
		any().hangs.Store(s.rng.IntN(3) > 0)
	case 8: // a reboot in the middle of whatever is under way
		d.Wake("a look")
		time.Sleep(time.Duration(s.rng.IntN(50)) * time.Millisecond)
		any().reboot()
	case 10: // somebody applies by hand, and perhaps confirms
		s.want(s.rng.IntN(6))
		s.byHand(d, "/v1/apply", `{"confirm": false, "timeout": "2m", "accept": ["unconfirmed"], "reason": "sim"}`)
		time.Sleep(time.Duration(s.rng.IntN(180)) * time.Second)
		switch s.rng.IntN(3) {
		case 0:
			s.byHand(d, "/v1/confirm", ``)
		case 1:
			s.byHand(d, "/v1/take-back", ``)
		}
	case 11: // an operator who comes too late for something that there is not
		s.byHand(d, "/v1/confirm", ``)
	}
}

// byHand makes a call, and gives up where nobody works on it: the daemon may be down.
func (s *simulation) byHand(d *daemon.Daemon, path, body string) string {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	w := httptest.NewRecorder()
	d.Handler(show, &caller{daemon.Permissions()}).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", path, strings.NewReader(body)))
	if strings.Contains(w.Body.String(), `"result": "on trial"`) {
		s.trials++
	}
	return w.Body.String()
}

// heal ends all faults, and wants everything in order after some time.
func (s *simulation) heal(t *testing.T, d *daemon.Daemon, st *store.Store) {
	t.Helper()
	s.mu.Lock()
	s.badSite = false
	s.mu.Unlock()
	for _, x := range s.devices {
		x.faults(0, false)
		x.hangs.Store(false)
	}
	time.Sleep(45 * time.Minute) // more than the longest wait between two tries, and any trial
	synctest.Wait()
	if v := d.View(); v.Pass != nil && strings.HasPrefix(v.Pass.Why, controller.BrakeUnconfirmed) {
		// What nobody confirmed is left alone, and what somebody wants after all is not.
		if len(v.Trouble) == 0 {
			t.Error("a plan is held, and no device is in trouble")
		}
		s.byHand(d, "/v1/apply", `{"accept": ["unconfirmed"], "reason": "after all"}`)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
	}
	v := d.View()
	if len(v.Trouble) > 0 || v.BadSite != "" {
		t.Errorf("trouble %v, bad site %q", v.Trouble, v.BadSite)
	}
	for name, x := range s.devices {
		if got := ports(x.state); !slices.Equal(got, []int{always, ofVersion + s.version}) {
			t.Errorf("%s permits %v, and version %d is wanted", name, got, s.version)
		}
		if x.trial != nil && x.state != x.trial.old {
			t.Errorf("%s still has a change on trial", name)
		}
	}
	if open, err := st.Unfinished(); err != nil || len(open) > 0 {
		t.Errorf("%d applies are unfinished, %v", len(open), err)
	}
	s.synced()
}

// A device that hangs keeps no other one from being put right.
func TestHangingDevice(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, 1)
		st, err := store.Open(dir, "t", s.now)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		_, stop := s.start(st)
		defer stop()
		time.Sleep(time.Minute)
		good := s.devices["gw-b"].state
		s.devices["gw-a"].hangs.Store(true)
		s.devices["gw-a"].tamper()
		time.Sleep(time.Second) // it is being looked at by now
		s.devices["gw-b"].tamper()
		if s.devices["gw-b"].state.Fingerprint() == good.Fingerprint() {
			t.Fatal("nothing was taken away")
		}
		time.Sleep(3 * time.Second)
		if s.devices["gw-b"].state.Fingerprint() != good.Fingerprint() {
			t.Error("gw-b is not put right while gw-a hangs")
		}
		s.devices["gw-a"].hangs.Store(false)
		time.Sleep(10 * time.Minute)
		if got := ports(s.devices["gw-a"].state); !slices.Equal(got, []int{always, ofVersion}) {
			t.Errorf("gw-a permits %v after it hung", got)
		}
	})
}
