package reconcile

import (
	"context"
	"net/netip"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/config"
	"bulkhead/pkg/packet"
)

// SetPatience makes ears give up sooner.
func (e *Ears) SetPatience(d time.Duration) { e.patience = d }

// Hear is what a load asks.
func (e *Ears) Hear(ctx context.Context, src *config.Source) []inventory.Heard {
	return e.hear(ctx, src)
}

// Opened says that a first load is done.
func (e *Ears) Opened() { e.opened() }

// FootingOf is a footing without a device, for what is looked at before anything moves.
func FootingOf(s *Site, last *Baseline) (*Footing, error) {
	f := &Footing{At: s.Inventory, s: s, now: s, d: &Device{}, moved: map[netip.Addr]int{}}
	f.groups, _ = classify.Compile(s.Config.Book, nil)
	f.nearly, f.tight = nearlyAll(s)
	return f, f.Compare(last)
}

// Brakes is what Plan asks first.
func (f *Footing) Brakes(changed []*inventory.Asset, gone []string) error {
	return f.brakes(changed, gone)
}

// Nearly are the addresses that may be all that a group lacks.
func (f *Footing) Nearly() packet.Addrs { return f.nearly }

// Held names the brakes of a plan, beside shares of flows, that a site would be held by.
func Held(last *Baseline, s *Site) (names []string) {
	brake := func(name, _ string, _ ...any) { names = append(names, name) }
	assetsLost(last, s.baseline(), s.Config.Settings.Limits.AssetsLostPercent, brake)
	anyToAny(last, s.baseline(), brake)
	return names
}
