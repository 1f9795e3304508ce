package reconcile

import (
	"maps"
	"slices"
	"strings"

	"bulkhead/inventory/neighbor"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
)

// Surrounding is a network namespace whose tables a site is worked out from.
type Surrounding struct {
	Netns string // a name or a path; "" is where bulkhead runs
	What  neighbor.What
}

// Surroundings lists them, in order: those whose neighbours a source reports, and those
// of points, whose routes say what is behind zones and where strangers may come from,
// and whose addresses are the point's own.
func (s *Site) Surroundings() []Surrounding {
	what := map[string]neighbor.What{}
	for i := range s.Config.Settings.Sources {
		if src := &s.Config.Settings.Sources[i]; src.Type == config.SourceNeighbor {
			ns := src.Settings["netns"].Text
			w := what[ns]
			w.Neighbours = true
			what[ns] = w
		}
	}
	for i := range s.Config.Settings.Points {
		p := &s.Config.Settings.Points[i]
		k := slices.IndexFunc(s.kinds, func(k driver.Kind) bool { return k.Name == p.Driver })
		if k < 0 {
			continue // Devices says so
		}
		if ns, ok := s.kinds[k].Netns(p); ok {
			w := what[ns]
			w.Routes = true
			what[ns] = w
		}
	}
	var out []Surrounding
	for _, ns := range slices.SortedFunc(maps.Keys(what), strings.Compare) {
		out = append(out, Surrounding{ns, what[ns]})
	}
	return out
}
