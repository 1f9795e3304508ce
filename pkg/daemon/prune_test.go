package daemon

import (
	"testing"
	"time"
)

// The history is pruned after a start, daily, when the file has grown much, and when a
// clock was set back: else it would wait until it has caught up.
func TestPruneIsDue(t *testing.T) {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		p    pruned
		size int64
		want bool
	}{
		{"after a start", pruned{}, 0, true},
		{"an hour later", pruned{now.Add(-time.Hour), 1 << 20}, 2 << 20, false},
		{"a day later", pruned{now.Add(-24 * time.Hour), 1 << 20}, 1 << 20, true},
		{"it has grown", pruned{now.Add(-time.Hour), 1 << 20}, 67 << 20, true},
		{"the clock was set back", pruned{now.Add(time.Hour), 1 << 20}, 1 << 20, true},
	} {
		if got := c.p.due(now, c.size); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
