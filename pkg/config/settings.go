package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
)

// settingsKeys are the keys that bulkhead.yaml usually has.
func (l *loader) settingsKeys() []strict.Key {
	s := &l.site.Settings
	name := strict.Text(nil, func(v strict.Named) error {
		s.Name = v.Value
		return checkName("site", v.Value)
	})
	day := 24 * time.Hour
	return []strict.Key{
		{Name: "name", Doc: "The site's name, after which its objects on devices are named (default bulkhead).", Value: l.single("name", name)},
		{Name: "points", Doc: "What enforces the policy, by name.", Value: l.pointsValue()},
		{Name: "sources", Doc: "What reports assets, by name.", Value: l.sourcesValue()},
		{Name: "failsafe", Doc: "Flows that must always reach a point.", Value: l.failsafeValue()},
		{Name: "probes", Doc: "Checks that must pass before an apply is confirmed.", Value: l.probesValue()},
		{Name: "essential", Doc: "Traffic that passes unless it is switched off.", Value: l.single("essential", essentialValue(&s.Essential))},
		{Name: "precedence", Doc: "Sources, the one that wins a conflict first.", Value: l.single("precedence", strict.Places(&l.precedence))},
		{Name: "confirm_timeout", Doc: "How long an apply waits to be confirmed before it is undone (default 120s).", Value: l.single("confirm_timeout", bounded(&s.ConfirmTimeout, 5*time.Second, day))},
		{Name: "observe_learn", Doc: "How long a first enforcement tracks flows before it drops any (default 60s).", Value: l.single("observe_learn", bounded(&s.ObserveLearn, 0, day))},
		{Name: "drift", Doc: "What reconcile does about a device that others changed (default repair).", Value: l.single("drift", strict.Enum(&s.Drift, DriftRepair, DriftReport))},
		{Name: "limits", Doc: "The brakes on an apply's effect.", Value: l.single("limits", limitsValue(&s.Limits))},
		{Name: "approval", Doc: "Whether a plan needs a second person (default none).", Value: l.single("approval", strict.Enum(&s.Approval, ApprovalNone, ApprovalRequired))},
		{Name: "history", Doc: "What is kept of past applies.", Value: l.single("history", historyValue(&s.History))},
	}
}

// single wraps the value of a key that a site may give once, in one file.
func (l *loader) single(key string, v strict.Value) strict.Value {
	return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
		if l.once(key, d.Pos(n)) {
			v.Read(d, n)
		}
	}}
}

// bounded is a duration with both bounds.
func bounded(p *time.Duration, lo, hi time.Duration) strict.Value {
	v := strict.Duration(p, lo)
	return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
		if v.Read(d, n); *p > hi {
			d.Errorf(n, "%q is too long, the most is %s", n.Value, hi)
		}
	}}
}

func historyValue(p *History) strict.Value {
	return strict.Object("history", nil, func() []strict.Key {
		return []strict.Key{
			{Name: "keep_last", Doc: "How many confirmed applies are kept at least, whatever their age (default 100).", Value: strict.Int(&p.KeepLast, MinKeepLast, 1_000_000)},
			{Name: "keep_within", Doc: "Applies that are younger are kept (default 90d).", Value: strict.Span(&p.KeepWithin, 0)},
			{Name: "keep_most", Doc: "But no more applies than so many, the newest, so that a device which is repaired every minute does not fill the memory (default 10000).", Value: strict.Int(&p.KeepMost, MinKeepMost, 1_000_000)},
		}
	})
}

func limitsValue(p *Limits) strict.Value {
	return strict.Object("limits", nil, func() []strict.Key {
		return []strict.Key{
			{Name: "newly_denied_percent", Doc: "The most flows, of those permitted before, that an apply may deny (default 20).", Value: strict.Int(&p.NewlyDeniedPercent, 0, 100)},
			{Name: "assets_lost_percent", Doc: "The most assets that a source may lose from one report to the next (default 30).", Value: strict.Int(&p.AssetsLostPercent, 0, 100)},
			{Name: "first_enforcement", Doc: "Whether a point's first enforcement must be accepted (default ask).", Value: strict.Enum(&p.FirstEnforcement, FirstAsk, FirstAccept)},
		}
	})
}

func essentialValue(p *Essential) strict.Value {
	off := func() strict.Value {
		names := EssentialNames()
		enum := make([]any, len(names))
		for i, n := range names {
			enum[i] = n
		}
		return strict.Text(strict.Schema{"enum": enum}, func(v strict.Named) error {
			if !slices.Contains(names, v.Value) {
				return strict.Unknown("essential traffic", v.Value, names)
			}
			if !slices.Contains(p.Off, v.Value) {
				p.Off = append(p.Off, v.Value)
				slices.Sort(p.Off)
			}
			return nil
		})
	}
	servers := func() strict.Value {
		return strict.Text(nil, func(v strict.Named) error {
			a, err := inventory.ParseAddr(v.Value)
			if err != nil {
				return err
			}
			p.DHCPServers = append(p.DHCPServers, a)
			slices.SortFunc(p.DHCPServers, netip.Addr.Compare)
			p.DHCPServers = slices.Compact(p.DHCPServers)
			return nil
		})
	}
	return strict.Object("essential", nil, func() []strict.Key {
		return []strict.Key{
			{Name: "off", Doc: "What is left to policy after all.", Value: strict.List(nil, off)},
			{Name: "dhcp_servers", Doc: "Addresses of the DHCP servers that are reached through a point.", Value: strict.List(nil, servers)},
		}
	})
}

func (l *loader) sourcesValue() strict.Value {
	return strict.Map(func(name strict.Named) strict.Value {
		s := &Source{Name: name.Value, Trust: inventory.TrustEvidence, StaleAfter: DefaultStaleAfter, Pos: name.Pos}
		v := strict.Object("a source", nil, func() []strict.Key {
			return []strict.Key{
				{Name: "type", Required: true, Doc: "What sort of source it is.", Value: strict.Text(nil, func(v strict.Named) error { s.Type, s.TypePos = v.Value, v.Pos; return nil })},
				{Name: "trust", Doc: "What it may do to assets, beyond saying that it saw them (default evidence).", Value: strict.Enum(&s.Trust, inventory.Trusts()...)},
				{Name: "stale_after", Doc: "How long its last word holds once it fails (default 10m).", Value: strict.Duration(&s.StaleAfter, time.Second)},
				{Name: "settings", Doc: "What this type of source needs to know.", Value: sourceSettings(&s.Settings)},
			}
		})
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			first, dup := l.sources[name.Value]
			err := checkName("source", name.Value)
			switch {
			case err != nil:
				d.Report(name, err)
			case name.Value == inventory.FileSource:
				d.Report(name, fmt.Errorf("the name %q is the site's own files'; give this source another", name.Value))
			case dup:
				l.duplicate("source", name, first.Pos)
			default:
				l.sources[name.Value] = s
			}
		}}
	})
}

// resolveSettings puts what was read by name in order, and completes it.
func (l *loader) resolveSettings() {
	s := &l.site.Settings
	for _, name := range slices.Sorted(maps.Keys(l.points)) {
		s.Points = append(s.Points, *l.points[name])
	}
	known := []string{inventory.FileSource}
	for _, name := range slices.Sorted(maps.Keys(l.sources)) {
		s.Sources = append(s.Sources, *l.sources[name])
		known = append(known, name)
	}
	for _, r := range l.distinct("source", l.precedence) {
		if !slices.Contains(known, r.Value) {
			l.unknown("source", r, known)
			continue
		}
		s.Precedence = append(s.Precedence, r.Value)
	}
	for _, name := range known {
		if !slices.Contains(s.Precedence, name) {
			s.Precedence = append(s.Precedence, name)
		}
	}
	first := map[string]diag.Pos{}
	for _, p := range l.probes {
		if at, dup := first[p.Name]; dup && p.Name != "" {
			l.diags.Errorf(p.Pos, "duplicate probe %q, first given at %s", p.Name, at)
			continue
		}
		first[p.Name] = p.Pos
		s.Probes = append(s.Probes, *p)
	}
	slices.SortStableFunc(s.Probes, func(a, b Probe) int { return cmp.Compare(a.Name, b.Name) })
}
