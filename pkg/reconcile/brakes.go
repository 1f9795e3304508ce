package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"bulkhead/inventory"
	"bulkhead/pkg/apply"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/plan"
	"bulkhead/pkg/policy"
)

// The names of the brakes, by which they are accepted.
const (
	BrakeFirst       = "first-enforcement"
	BrakeNewlyDenied = "newly-denied"
	BrakeAssetsLost  = "assets-lost"
	BrakeSourceLost  = "source-lost"
	BrakeStaleSource = "stale-source"
	BrakeMissing     = "source-missing"
	BrakeHeldTwice   = "address-held-twice"
	BrakeAnyToAny    = "any-to-any"
	BrakeDefault     = "default-action"
	BrakeFailsafe    = "failsafe-touched"
)

// BrakeNames lists the brakes in the order in which a plan names them.
func BrakeNames() []string {
	return []string{BrakeFirst, BrakeNewlyDenied, BrakeAssetsLost, BrakeSourceLost, BrakeStaleSource, BrakeMissing, BrakeHeldTwice, BrakeAnyToAny, BrakeDefault, BrakeFailsafe}
}

// Accepts reports whether a brake is among those that somebody accepts. Of what sources
// lost, a single source's is accepted by "source-lost=SOURCE"; the plan is made so that no
// other's loss is in it.
func Accepts(accepted []string, brake string) bool {
	return slices.ContainsFunc(accepted, func(a string) bool {
		name, _, one := strings.Cut(a, "=")
		return name == brake && (!one || brake == BrakeSourceLost)
	})
}

// AcceptsLost tells of which sources somebody accepts that they lost something: all by
// "source-lost", or those that are named, a source with all its parts. nil is none.
func AcceptsLost(accepted []string) func(source string) bool {
	if !Accepts(accepted, BrakeSourceLost) {
		return nil
	}
	return func(source string) bool {
		return slices.ContainsFunc(accepted, func(a string) bool {
			brake, name, one := strings.Cut(a, "=")
			return brake == BrakeSourceLost && (!one || source == name || strings.HasPrefix(source, name+"/"))
		})
	}
}

// CheckAccepted says whether somebody accepts the loss of a source that there is not.
func (s *Site) CheckAccepted(accepted []string) error {
	for _, a := range accepted {
		brake, name, one := strings.Cut(a, "=")
		if brake != BrakeSourceLost || !one {
			continue
		}
		var known []string
		for i := range s.Sources {
			known = append(known, s.Sources[i].Source)
		}
		if lost := AcceptsLost([]string{a}); !slices.ContainsFunc(known, lost) {
			return fmt.Errorf("%q: there is no source %q; there is %s", a, name, strings.Join(known, ", "))
		}
	}
	return nil
}

// maxNamed bounds the groups or flows that one sentence names.
const maxNamed = 5

// brakes looks at the effect of the plan. A plan that changes nothing is held by
// none.
func (s *Site) brakes(p *plan.Plan, devices []*Device, opt Options) error {
	if !p.HasChanges() {
		return nil
	}
	last, why, err := (*Baseline)(nil), "this command keeps no state", error(nil)
	if opt.Last != nil {
		if last, why, err = opt.Last(); err != nil {
			return fmt.Errorf("cannot tell what the brakes compare with: %w", err)
		}
	}
	p.Baseline = last.value(why)
	now := s.baseline()
	brake := func(name, format string, args ...any) {
		p.Brakes = append(p.Brakes, plan.Brake{Name: name, Saw: fmt.Sprintf(format, args...)})
	}
	limits := &s.Config.Settings.Limits
	if limits.FirstEnforcement != config.FirstAccept {
		for _, pt := range p.Points {
			if pt.First && pt.Status == plan.Changes {
				brake(BrakeFirst, "%s", firstSentence(pt.Name, s.learns(devices, pt.Name)))
			}
		}
	}
	newlyDenied(p, limits.NewlyDeniedPercent, brake)
	if last != nil {
		assetsLost(last, now, limits.AssetsLostPercent, brake)
	}
	s.sourceBrakes(p, brake)
	for _, c := range s.Inventory.Conflicts {
		if c.Kind == inventory.AddressHeldTwice {
			brake(BrakeHeldTwice, "%s; the most restrictive of both holds", c.String())
		}
	}
	if last != nil {
		anyToAny(last, now, brake)
		defaults(last, now, brake)
		s.failsafeTouched(last, now, brake)
	}
	return nil
}

type braker func(name, format string, args ...any)

// learns is how long a point watches before it drops for the first time; 0 where its device
// cannot watch without dropping: who reads otherwise waits for a minute that never comes.
func (s *Site) learns(devices []*Device, point string) time.Duration {
	for _, d := range devices {
		if slices.ContainsFunc(d.Points, func(p compile.Point) bool { return p.Name == point }) && !d.Driver.Capabilities().ObservePoint {
			return 0
		}
	}
	return s.Config.Settings.ObserveLearn
}

func firstSentence(point string, learn time.Duration) string {
	if learn == 0 {
		return fmt.Sprintf("point %s enforces for the first time, and at once: flows that nobody tracked yet may be cut", point)
	}
	return fmt.Sprintf("point %s enforces for the first time; if its rules are new it observes for %s, then it drops what policy denies", point, learn)
}

// newlyDenied holds a plan that takes more than its share of the flows of one
// device. Device by device: that a branch goes dark must not drown in what a whole
// company may still do.
func newlyDenied(p *plan.Plan, percent int, brake braker) {
	for _, pt := range p.Points {
		if pt.NewlyDenied == nil || pt.NewlyDenied.Percent <= float64(percent) {
			continue
		}
		about := ""
		if pt.NewlyDenied.Estimated {
			about = "about "
		}
		brake(BrakeNewlyDenied, "%s (point %s) would deny %s%.1f %% of the flows that it permitted, which is more than %d %% (newly_denied_percent)", pt.Device, pt.Name, about, pt.NewlyDenied.Percent, percent)
	}
}

// assetsLost holds a plan for which assets left a group that still is, or the
// inventory.
func assetsLost(last, now *Baseline, percent int, brake braker) {
	there := make(map[string]int, len(now.IDs))
	for i, id := range now.IDs {
		there[id] = i
	}
	gone := 0
	for _, id := range last.IDs {
		if _, ok := there[id]; !ok {
			gone++
		}
	}
	if gone*100 > percent*len(last.IDs) {
		brake(BrakeAssetsLost, "%d of %d assets are no longer in the inventory, which is more than %d %% (assets_lost_percent)", gone, len(last.IDs), percent)
	}
	var said []string
	for _, name := range sortedKeys(last.Groups) {
		g, ok := now.Groups[name]
		if !ok {
			continue // nobody can refer to it; what that denies counts as denied
		}
		n := 0
		for _, i := range last.Groups[name].Members {
			at, ok := there[last.IDs[i]]
			if ok {
				_, ok = slices.BinarySearch(g.Members, at)
			}
			if !ok {
				n++
			}
		}
		if had := len(last.Groups[name].Members); n*100 > percent*had {
			said = append(said, fmt.Sprintf("%s %d of %d", name, n, had))
		}
	}
	if len(said) > 0 {
		brake(BrakeAssetsLost, "%s lost more than %d %% of the assets that they had (assets_lost_percent): %s", groupsWord(len(said)), percent, some(said))
	}
}

func groupsWord(n int) string {
	if n == 1 {
		return "1 group has"
	}
	return fmt.Sprintf("%d groups have", n)
}

// some names the first few of a list, and how many there are besides.
func some(list []string) string {
	if len(list) <= maxNamed {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:maxNamed], ", "), len(list)-maxNamed)
}

// sourceBrakes holds plans made from what a source lost: an accepted loss, so that
// it is named and written down, what a stale source would newly permit, and everything
// while a part of a source never reported: nothing is written before there is a complete
// inventory, unless somebody says so.
func (s *Site) sourceBrakes(p *plan.Plan, brake braker) {
	permits := p.FlowsOmitted != "" || slices.ContainsFunc(p.Flows, func(f plan.FlowChange) bool { return f.Permit })
	for i := range s.Sources {
		x := &s.Sources[i]
		switch {
		case x.State == inventory.SourceAccepted:
			brake(BrakeSourceLost, "%s", x.String())
		case x.State == inventory.SourceMissing:
			brake(BrakeMissing, "%s; the plan is made as if there were nothing", x.String())
		case x.State == inventory.SourceStale && permits:
			brake(BrakeStaleSource, "%s; and the plan permits flows that were denied", x.String())
		}
	}
}

// anyToAny holds an allow policy that opens something to everybody that was not.
func anyToAny(last, now *Baseline, brake braker) {
	four, six := now.Open4.Subtract(last.Open4), now.Open6.Subtract(last.Open6)
	if svc := four.Union(six); !svc.IsEmpty() {
		brake(BrakeAnyToAny, "from every address to every other, %s is newly allowed by a policy", short(svc))
	}
}

func short(svc packet.Services) string {
	text := svc.Text()
	if len(text) > 120 {
		return text[:120] + "..."
	}
	return text
}

// defaults holds a plan for which a group's default was loosened, or that of a
// built-in group touched at all.
func defaults(last, now *Baseline, brake braker) {
	for _, name := range sortedKeys(last.Groups) {
		was := last.Groups[name].Isolate
		g, ok := now.Groups[name]
		is := g.Isolate
		if !ok {
			is = policy.IsolateNone
		}
		loosened := was.Ingress() && !is.Ingress() || was.Egress() && !is.Egress()
		switch {
		case loosened && !ok:
			brake(BrakeDefault, "group %s, which isolated (%s), is gone", name, was)
		case loosened:
			brake(BrakeDefault, "group %s isolates less: %s before, %s now", name, was, is)
		case policy.BuiltIn(name) && was.Ingress() == is.Ingress() && was.Egress() == is.Egress():
		case policy.BuiltIn(name):
			brake(BrakeDefault, "the default of the built-in group %s is touched: %s before, %s now", name, was, is)
		}
	}
	for _, name := range sortedKeys(now.Groups) {
		g := now.Groups[name].Isolate
		if _, ok := last.Groups[name]; !ok && policy.BuiltIn(name) && (g.Ingress() || g.Egress()) {
			brake(BrakeDefault, "the default of the built-in group %s is touched: none before, %s now", name, g)
		}
	}
}

// failsafeTouched holds a plan for which a way to reach a point was taken off or
// changed. Ways of points that are no longer configured are nobody's.
func (s *Site) failsafeTouched(last, now *Baseline, brake braker) {
	var gone []string
	for _, f := range last.Failsafe {
		if !slices.Contains(now.Failsafe, f) && s.Config.Settings.Point(pointOf(f)) != nil {
			gone = append(gone, f)
		}
	}
	if len(gone) > 0 {
		brake(BrakeFailsafe, "no longer failsafe as it was: %s", strings.ReplaceAll(some(gone), ", point", "; point"))
	}
}

// shareBase is the state of a device of which the newly denied share is taken: what
// it was last confirmed to hold. Of what others opened on it since, nothing was ever
// meant; counted, a flood gate that somebody left open would hold up its closing.
// Where nothing was confirmed it is what the device holds now, and nil if that is
// nothing of ours.
func (s *Site) shareBase(d *Device, have driver.State, now *driver.Decoded, opt Options) (*driver.Decoded, error) {
	if opt.Confirmed == nil {
		return now, nil
	}
	var rec *apply.Record
	var at time.Time
	for i := range d.Points { // one that is new has none; the device's others do
		var err error
		if rec, at, err = opt.Confirmed(d.Points[i].Name); err != nil {
			return nil, err
		}
		if rec != nil {
			break
		}
	}
	if rec == nil || rec.Fingerprint == have.Fingerprint() {
		return now, nil
	}
	i := slices.IndexFunc(s.kinds, func(k driver.Kind) bool { return k.Name == d.Kind })
	if i < 0 || s.kinds[i].Decode == nil || rec.State == nil {
		return now, nil // a kind that cannot write its states down
	}
	was, err := s.kinds[i].Decode(rec.State)
	if err != nil {
		return nil, fmt.Errorf("what device %s was last confirmed to hold: %w", d.Name, err)
	}
	if !rec.At.IsZero() {
		at = rec.At
	}
	if s.kinds[i].Aged != nil { // what has expired since is denied already
		was = s.kinds[i].Aged(was, s.Now.Sub(at))
	}
	base, err := d.Driver.Decode(was)
	if err != nil || len(base.Installed) == 0 {
		return nil, err // nothing of ours was meant to judge anything
	}
	return base, nil
}
