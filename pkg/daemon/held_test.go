package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bulkhead/pkg/store"
)

// A device that cannot go back by itself holds a change on trial as long as a controller
// is there to put it back: at the time, or when one comes again.
func TestTrialOfADeviceThatCannotGoBack(t *testing.T) {
	for name, c := range map[string]struct {
		in      time.Duration // after which something is done
		what    string
		killed  bool // no controller runs from the trial on, until an hour later
		hangs   bool // the device does not answer when the time is over
		version int  // in the end
	}{
		"nobody confirms":     {version: 0},
		"confirmed":           {in: time.Minute, what: "/v1/confirm", version: 1},
		"confirmed too late":  {in: 3 * time.Minute, what: "/v1/confirm", version: 0},
		"taken back":          {in: time.Minute, what: "/v1/take-back", version: 0},
		"no controller":       {killed: true, version: 0},
		"it does not answer":  {hangs: true, version: 0},
		"neither of the both": {killed: true, hangs: true, version: 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, 1)
				if !s.plain {
					t.Fatal("no device is plain")
				}
				st, err := store.Open(dir, "t", s.now)
				if err != nil {
					t.Fatal(err)
				}
				defer st.Close()
				d, stop := s.start(st)
				time.Sleep(time.Minute)
				s.want(1)
				if text := s.byHand(d, "/v1/apply", `{"confirm": false, "timeout": "2m"}`); !strings.Contains(text, `"result": "on trial"`) {
					t.Fatal(text)
				}
				plain := s.devices["gw-b"]
				if got := ports(plain.state); !slices.Equal(got, []int{always, ofVersion + 1}) {
					t.Fatalf("on trial it permits %v", got)
				}
				if c.killed {
					stop()
					time.Sleep(time.Hour)
					if got := ports(plain.state); !slices.Equal(got, []int{always, ofVersion + 1}) {
						t.Fatalf("with nobody there it permits %v", got)
					}
				}
				plain.hangs.Store(c.hangs)
				if c.killed {
					d, stop = s.start(st)
				}
				defer stop()
				if c.what != "" {
					time.Sleep(c.in)
					s.byHand(d, c.what, ``)
				}
				time.Sleep(4 * time.Minute)
				plain.hangs.Store(false)
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				for name, x := range s.devices {
					if got := ports(x.state); !slices.Equal(got, []int{always, ofVersion + c.version}) {
						t.Errorf("%s permits %v, want version %d", name, got, c.version)
					}
				}
				list, err := st.Unfinished()
				if err != nil || len(list) > 0 {
					t.Errorf("%d applies are unfinished, %v", len(list), err)
				}
			})
		})
	}
}
