// Package reconcile runs the whole way from a site directory and the network to
// plans, and back from devices to proofs. Every command, and later the daemon
// and the scheduled job, go through it.
package reconcile

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sort"
	"sync"
	"time"

	"bulkhead/inventory"
	"bulkhead/inventory/neighbor"
	"bulkhead/pkg/classify"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/config"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// Site is a site directory, loaded, with everything worked out that needs no
// network: groups, classes, verdicts.
type Site struct {
	Config    *config.Site
	Inventory *inventory.Inventory
	Members   *classify.Result
	Matrix    *compile.Matrix
	World     policy.World
	Now       time.Time
	Diags     *diag.List
	// Reports are what of the sources' reports counts, besides the site directory.
	Reports []inventory.Report
	// Quarantined are the assets that are cut off, in order of the asset.
	Quarantined []Quarantine
	// Sources says of each source that was asked what of it counts.
	Sources []inventory.Standing
	known   map[string]time.Time // when the report of each was read that was known before
	kinds   []driver.Kind

	inventoryHash func() string // worked out once: it writes every asset down
}

// InventoryHash is the inventory's: equal for two sites exactly if their assets are.
func (s *Site) InventoryHash() string { return s.inventoryHash() }

// Load reads a site directory and works it out, with what its sources report if
// collect is set. Nothing is known of them from before: see LoadWith.
func Load(ctx context.Context, dir string, now time.Time, kinds []driver.Kind, collect bool, who ...InQuarantine) (*Site, *diag.List, error) {
	return LoadWith(ctx, dir, now, kinds, LoadOptions{Collect: collect, Quarantined: who})
}

// LoadOptions say what to ask besides the site directory.
type LoadOptions struct {
	// Collect asks the site's sources.
	Collect bool
	// Known gives what is remembered of the sources of a site, by the site's name; it
	// is asked if there are any. nil is nothing: then a source that fails is an error.
	Known func(site string) (map[string]inventory.Known, error)
	// AcceptLost says of which sources the reports count that lost too much, see
	// AcceptsLost; nil is none.
	AcceptLost func(source string) bool
	// Ears hear the sources that take their time; nil waits for them here.
	Ears *Ears
	// Quarantined are asked for assets that are cut off.
	Quarantined []InQuarantine
	// Config reads the site directory; nil stands for config.Load. For whoever has read it
	// already.
	Config func(dir string) (*config.Site, *diag.List)
	// Keep is returned, with the same Matrix, where everything that it was worked out from
	// is still the same: working a large site out costs more than all else of a pass.
	Keep *Site
	// Coming is told what the site will be made from as soon as it is known, before that is
	// worked out; nil tells nobody.
	Coming func(x *Coming)
}

// LoadWith reads a site directory and works it out. Diagnostics are complete: the
// site is nil exactly if one of them is an error, or err is not nil.
func LoadWith(ctx context.Context, dir string, now time.Time, kinds []driver.Kind, opt LoadOptions) (*Site, *diag.List, error) {
	if k := opt.Keep; k != nil && k.Config.Dir == dir && k.Config.Unchanged() {
		s, asked, err := k.again(ctx, now, opt)
		if s != nil || err != nil {
			return s, k.Diags, err
		}
		return load(ctx, dir, now, kinds, opt, asked)
	}
	return load(ctx, dir, now, kinds, opt, nil)
}

// asked is what others than the site directory say.
type asked struct {
	hash    string // of the site directory by which they were asked
	sources []inventory.Standing
	known   map[string]time.Time
	cut     []Quarantine
}

func ask(ctx context.Context, cfg *config.Site, now time.Time, opt LoadOptions) (a *asked, err error) {
	a = &asked{hash: cfg.Hash}
	if opt.Collect {
		if a.sources, a.known, err = collect(ctx, cfg, opt, now); err != nil {
			return nil, err
		}
	}
	for _, f := range opt.Quarantined {
		more, err := f(cfg.Settings.Name)
		if err != nil {
			return nil, err
		}
		a.cut = append(a.cut, more...)
	}
	return a, nil
}

// again gives the site as it is now if nothing has changed but the time; nil if
// something else has.
func (s *Site) again(ctx context.Context, now time.Time, opt LoadOptions) (*Site, *asked, error) {
	a, err := ask(ctx, s.Config, now, opt)
	if err != nil {
		return nil, nil, err
	}
	if !slices.EqualFunc(s.Sources, a.sources, sameStanding) || !slices.Equal(s.Quarantined, ActiveQuarantines(a.cut, now)) || s.expired(now) {
		return nil, a, nil
	}
	same := *s
	same.Sources, same.known, same.Reports = a.sources, a.known, reportsOf(a.sources)
	same.Now, same.World.Now = now, now // what is timed has that much less time
	return &same, a, nil
}

func reportsOf(list []inventory.Standing) (out []inventory.Report) {
	for i := range list {
		out = append(out, list[i].Report)
	}
	return out
}

func load(ctx context.Context, dir string, now time.Time, kinds []driver.Kind, opt LoadOptions, a *asked) (*Site, *diag.List, error) {
	if opt.Config == nil {
		opt.Config = config.Load
	}
	cfg, diags := opt.Config(dir)
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.Name
	}
	diags.Append(cfg.CheckTypes(names, sourceTypes()))
	if !diags.HasErrors() {
		diags.Append(checkSources(cfg))
		for i := range cfg.Settings.Points {
			p := &cfg.Settings.Points[i]
			if k := slices.IndexFunc(kinds, func(k driver.Kind) bool { return k.Name == p.Driver }); kinds[k].Settings != nil {
				diags.Append(p.CheckSettings(kinds[k].Settings))
			}
		}
	}
	if diags.HasErrors() {
		// The expressions too: people want to see all their mistakes, not the next one.
		_, problems := classify.Compile(cfg.Book, protects(cfg))
		diags.Append(problems)
		return nil, diags, nil
	}
	if a == nil || a.hash != cfg.Hash {
		var err error
		if a, err = ask(ctx, cfg, now, opt); err != nil {
			return nil, diags, err
		}
	}
	reports := append([]inventory.Report{cfg.Report()}, reportsOf(a.sources)...)
	inv := merge(cfg, reports)
	if opt.Coming != nil {
		opt.Coming(&Coming{Config: cfg, Inventory: inv, Sources: a.sources, Quarantined: ActiveQuarantines(a.cut, now)})
	}
	s, err := build(cfg, reports, inv, now, kinds, diags, a.cut...)
	if s != nil {
		s.Sources, s.known = a.sources, a.known
	}
	return s, diags, err
}

// sameStanding compares what two reports of a source say, whenever they were read.
func sameStanding(a, b inventory.Standing) bool {
	return a.Source == b.Source && a.State == b.State && a.Why == b.Why && a.Since.Equal(b.Since) && a.Until.Equal(b.Until) &&
		a.Report.Trust == b.Report.Trust && reflect.DeepEqual(a.Report.Assets, b.Report.Assets) && reflect.DeepEqual(a.Report.Conflicts, b.Report.Conflicts)
}

// expired reports whether a policy has expired, by now, that had not when the site was
// worked out; or has not, because the clock was set back.
func (s *Site) expired(now time.Time) bool {
	return slices.ContainsFunc(s.Config.Book.Policies, func(p policy.Policy) bool {
		return !p.Expires.IsZero() && s.Now.Before(p.Expires) != now.Before(p.Expires)
	})
}

// merge joins the site directory's own report, which is the first, with those of sources.
func merge(cfg *config.Site, reports []inventory.Report) *inventory.Inventory {
	return inventory.Merge(reports, inventory.MergeOptions{Precedence: cfg.Settings.Precedence})
}

// Build works a loaded site out.
func Build(cfg *config.Site, reports []inventory.Report, now time.Time, kinds []driver.Kind, diags *diag.List, q ...Quarantine) (*Site, error) {
	return build(cfg, reports, merge(cfg, reports), now, kinds, diags, q...)
}

func build(cfg *config.Site, reports []inventory.Report, inv *inventory.Inventory, now time.Time, kinds []driver.Kind, diags *diag.List, q ...Quarantine) (*Site, error) {
	s := &Site{Config: cfg, Now: now, Diags: diags, kinds: kinds, Quarantined: ActiveQuarantines(q, now)}
	if len(reports) > 1 { // the first is the site directory's own
		s.Reports = reports[1:]
	}
	s.Inventory = inv
	s.inventoryHash = sync.OnceValue(s.Inventory.Hash)
	quarantine(cfg, s.Quarantined, s.Inventory.Assets)
	classifier, problems := classify.Compile(cfg.Book, protects(cfg))
	diags.Append(problems)
	if diags.HasErrors() {
		return nil, nil
	}
	s.Members = classifier.Classify(s.Inventory.Assets)
	// What no asset carries is misspelt, unless a source that was not asked knows better.
	if len(reports) > 1 || !slices.ContainsFunc(cfg.Settings.Sources, func(src config.Source) bool { return src.Trust != inventory.TrustEvidence }) {
		diags.Append(s.Members.Warnings)
	}
	s.World = policy.World{Assets: s.Inventory.Assets, Book: cfg.Book, Where: s.Members.Matches, Now: now}
	m, err := compile.Compile(compile.Input{Assets: s.Inventory.Assets, Book: cfg.Book, Where: s.Members.Matches, Now: now})
	if err != nil {
		return nil, err
	}
	s.Matrix = m
	return s, nil
}

// protects gives the expressions by which points choose what they protect.
func protects(cfg *config.Site) map[string]classify.Expr {
	out := map[string]classify.Expr{}
	for _, p := range cfg.Settings.Points {
		if p.Protects != "" {
			out[p.Name] = classify.Expr{Text: p.Protects, Pos: p.ProtectsPos}
		}
	}
	return out
}

// Device is one device with its points resolved.
type Device struct {
	Name   string
	Kind   string
	Driver driver.Driver
	Config []config.Point
	Points []compile.Point
	// Err says why the device's surroundings could not be read; nothing is planned
	// for it then.
	Err error

	here   bool         // it is this host, in the network namespace of the thread
	host   bool         // what surrounds it was looked at
	proofs *prove.Cache // what was shown of its tables: the rendered ones are read back later
	notes  [][]string   // what each plan says of each point
	// residue is what of the last plan the device cannot express, and the site accepts.
	residue []driver.Residue
}

// Keep takes over what an earlier Device has learnt of the same device: decoding and
// proving again what has not changed costs more than all else.
func (d *Device) Keep(old *Device) {
	if old != nil && old.Name == d.Name && old.Kind == d.Kind && reflect.DeepEqual(old.Config, d.Config) {
		if d.Driver != nil && d.Driver != old.Driver {
			driver.Close(d.Driver) // nobody else knows it
		}
		d.Driver, d.proofs = old.Driver, old.proofs
	}
}

// Devices resolves every point of the site against the network: prefixes behind
// zones from the routing table where the site leaves them to it, the point's own
// addresses. offline leaves the network alone. Close ends what is opened.
func (s *Site) Devices(ctx context.Context, offline bool) ([]*Device, error) {
	byName, switches := map[string]*Device{}, map[string]string{}
	var out []*Device
	for _, p := range s.Config.Settings.Points {
		i := slices.IndexFunc(s.kinds, func(k driver.Kind) bool { return k.Name == p.Driver })
		if i < 0 {
			return nil, fmt.Errorf("point %q (%s): there is no driver %q; there is %s", p.Name, p.Pos, p.Driver, kindNames(s.kinds))
		}
		k := s.kinds[i]
		name := k.Device(&p)
		d := byName[name]
		if d == nil {
			d = &Device{Name: name, Kind: k.Name, proofs: &prove.Cache{}}
			byName[name] = d
			out = append(out, d)
		}
		d.Config = append(d.Config, p)
		ns, ok := k.Netns(&p)
		d.here, d.host = ok && ns == "", ok
		resolved, err := s.resolve(ctx, &p, ns, ok && !offline)
		if err != nil {
			d.Err = err
		}
		var notes []string
		if k.Ports != nil {
			plug := k.Ports(&p)
			sw := plug.Device
			if other := switches[sw]; other != "" && other != name {
				Close(out)
				return nil, fmt.Errorf("point %q (%s): attachments to %q mean two devices, %s and %s; give one of them another name (the setting %q)", p.Name, p.Pos, sw, other, name, "switch")
			}
			switches[sw] = name
			notes = s.plug(&resolved, plug)
		}
		d.Points, d.notes = append(d.Points, resolved), append(d.notes, notes)
	}
	for _, d := range out {
		shareFailsafe(d.Points)
		i := slices.IndexFunc(s.kinds, func(k driver.Kind) bool { return k.Name == d.Kind })
		drv, err := s.kinds[i].Open(s.Config.Settings.Name, d.Config)
		if err != nil {
			Close(out)
			return nil, err
		}
		d.Driver = drv
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// SameSurroundings reports whether addresses and routes of devices that are hosts are
// still those that the points were resolved from; the site is the one that they are of.
func (s *Site) SameSurroundings(ctx context.Context, devices []*Device) bool {
	if !slices.ContainsFunc(devices, func(d *Device) bool { return d.host }) {
		return true
	}
	fresh, err := s.Devices(ctx, false)
	defer Close(fresh)
	return err == nil && slices.EqualFunc(fresh, devices, func(a, b *Device) bool {
		return (a.Err == nil) == (b.Err == nil) && reflect.DeepEqual(a.Points, b.Points)
	})
}

func kindNames(kinds []driver.Kind) string {
	out := ""
	for i, k := range kinds {
		if i > 0 {
			out += ", "
		}
		out += k.Name
	}
	return out
}

// shareFailsafe gives every point of a device all failsafe flows of the device:
// packets cross the chains of all of them.
func shareFailsafe(points []compile.Point) {
	var all []compile.Failsafe
	for i := range points {
		all = append(all, points[i].Failsafe...)
	}
	for i := range points {
		points[i].Failsafe = all
	}
}

// resolve turns a configured point into one with everything filled in.
func (s *Site) resolve(ctx context.Context, p *config.Point, ns string, look bool) (compile.Point, error) {
	set := &s.Config.Settings
	out := compile.Point{Name: p.Name, Mode: p.Mode, Transit: len(p.Zones) > 0, Endpoint: p.Protects != "", Learn: set.ObserveLearn, AcceptForeign: p.AcceptForeign, Off: map[string]bool{}}
	for _, name := range set.Essential.Off {
		out.Off[name] = true
	}
	for _, a := range set.Essential.DHCPServers {
		out.DHCPServers = out.DHCPServers.Union(packet.AddrsOf(inventory.HostPrefix(a)))
	}
	for _, id := range s.Members.Extra[p.Name] {
		if a := s.Inventory.Lookup(id); a != nil {
			out.Protects = out.Protects.Union(packet.AddrsOf(a.Addresses...))
		}
	}
	snap := &neighbor.Snapshot{}
	if look {
		var err error
		if snap, err = neighbor.Read(ctx, ns); err != nil {
			return out, fmt.Errorf("%w: cannot read routes and addresses of point %q: %w", driver.ErrUnreachable, p.Name, err)
		}
	}
	for _, l := range snap.Local {
		if a := l.Prefix.Addr(); !a.IsLoopback() {
			out.Own = out.Own.Union(packet.AddrsOf(inventory.HostPrefix(a.WithZone(""))))
		}
	}
	for _, z := range p.Zones {
		out.Zones = append(out.Zones, resolveZone(&z, snap))
	}
	for _, f := range set.Failsafe {
		if f.Point != p.Name {
			continue
		}
		to := packet.AddrsOf(f.To...)
		if f.To == nil {
			to = out.Own
		}
		if look && to.IsEmpty() {
			return out, fmt.Errorf("failsafe flow (%s): point %q has no addresses of its own to reach", f.Pos, p.Name)
		}
		out.Failsafe = append(out.Failsafe, compile.Failsafe{From: packet.AddrsOf(f.From...), To: to, Services: packet.ServicesOf(f.Ranges), Cause: f.Pos.String()})
	}
	return out, nil
}

func resolveZone(z *config.Zone, snap *neighbor.Snapshot) compile.Zone {
	out := compile.Zone{Name: z.Name, Interfaces: z.Interfaces, AntiSpoof: compile.AntiSpoof(z.AntiSpoof), Known: z.PrefixesGiven}
	masks := slices.Clone(z.Prefixes) // sorted below; the site's own list is not ours
	for _, r := range snap.Routes {
		if r.Table != neighbor.MainTable || !slices.Contains(z.Interfaces, r.Interface) {
			continue
		}
		if r.Default {
			out.Default = true
			continue
		}
		if p := r.Prefix.Masked(); !z.PrefixesGiven && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast() {
			masks = append(masks, p)
			out.Known = true
		}
	}
	slices.SortFunc(masks, inventory.ComparePrefix)
	out.Masks = slices.Compact(slices.Clone(masks))
	out.Prefixes = packet.AddrsOf(out.Masks...)
	return out
}

// Source finds the text of a site's file for diagnostics; s may be nil if the site
// did not load.
func Source(dir string, s *Site) diag.Source {
	return func(file string) []byte {
		if s != nil {
			return s.Config.Source(file)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil
		}
		defer root.Close()
		b, err := root.ReadFile(file)
		if err != nil {
			return nil // the message stands without its line
		}
		return b
	}
}
