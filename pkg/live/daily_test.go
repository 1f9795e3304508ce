package live_test

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A device is read whole once a day, also where nobody seems to have written to it,
// and where the clock was set back.
func TestReadWholeOnceADay(t *testing.T) {
	ctx := context.Background()
	s := newSite(t, 9, 12, false)
	whole := func(after time.Duration) string {
		s.now = s.now.Add(after)
		p, err := s.live.Prove(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return p.Whole
	}
	if why := whole(0); why == "" {
		t.Error("the first proof was not of the whole device")
	}
	for i, step := range []struct {
		after time.Duration
		whole bool
	}{{23 * time.Hour, false}, {time.Hour, true}, {23 * time.Hour, false}, {-48 * time.Hour, true}, {0, false}} {
		why := whole(step.after)
		if (why != "") != step.whole || step.whole && !strings.Contains(why, "last read whole") {
			t.Errorf("step %d: %q", i, why)
		}
	}
}
