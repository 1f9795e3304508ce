package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bulkhead/drivers"
	"bulkhead/examples"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/reconcile"
)

// learn is how long the demo's gateway watches before it drops. A real site takes
// a minute; here nobody wants to wait.
const learn = 2 * time.Second

// demo is one run.
type demo struct {
	opt    Options
	start  time.Time
	dir    string // holds site and state
	net    *lab.Net
	prober *lab.Prober
	site   *reconcile.Site // as the copy says now
	rounds []*round
	flows  []flowCheck
	step   int
	env    []string     // of the program, besides this process's own
	stop   func() error // ends what serves the program; nil if nothing does
}

func (d *demo) siteDir() string { return filepath.Join(d.dir, "site") }

// begin makes the copy of the site that the demo edits.
func begin(opt Options) (*demo, error) {
	dir, err := os.MkdirTemp("", "bulkhead-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the demo's files: %w", err)
	}
	d := &demo{opt: opt, start: time.Now(), dir: dir}
	if opt.Switch {
		return d, nil // its site is written once its switch is there
	}
	name := "plant"
	if opt.AWS {
		name = "hybrid"
	}
	if err := examples.Write(name, d.siteDir()); err != nil {
		return nil, errors.Join(err, d.end())
	}
	if err := d.edit("bulkhead.yaml", "observe_learn: 60s", fmt.Sprintf("observe_learn: %s", learn)); err != nil {
		return nil, errors.Join(err, d.end())
	}
	return d, nil
}

func (d *demo) end() error {
	var errs []error
	if d.prober != nil {
		errs = append(errs, d.prober.Close())
	}
	if d.stop != nil {
		errs = append(errs, d.stop())
	}
	if d.net != nil {
		errs = append(errs, d.net.Close())
	}
	if d.opt.Keep {
		fmt.Fprintf(d.opt.Out, "\nThe site and its state are in %s\n", d.dir)
	} else {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// edit replaces a text that occurs once in a file of the site.
func (d *demo) edit(file, old, with string) error {
	path := filepath.Join(d.siteDir(), file)
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("edit the site: %w", err)
	}
	if n := strings.Count(string(b), old); n != 1 {
		return fmt.Errorf("edit the site: %q occurs %d times in %s, and once is wanted", old, n, file)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(b), old, with, 1)), 0o644)
}

// load works the site out as it is now.
func (d *demo) load(ctx context.Context) error {
	s, err := loadSite(ctx, d.siteDir())
	if err == nil {
		d.site = s
	}
	return err
}

// loadSite works a site directory out, without its sources.
func loadSite(ctx context.Context, dir string) (*reconcile.Site, error) {
	s, diags, err := reconcile.Load(ctx, dir, time.Now(), drivers.Kinds(), false)
	if err == nil && s == nil {
		err = fmt.Errorf("the demo's site has errors:\n%s", diags.Text(nil))
	}
	return s, err
}

// cable is one network of the plant and who is on it.
type cable struct {
	name, four, six string // the first three parts of IPv4, the first four of IPv6
	assets          []string
}

// stranger is a machine that no inventory knows.
const stranger = "stranger"

func plant() []cable {
	return []cable{
		{"office", "10.0.4", "2001:db8:4:", []string{"office-1", "office-2"}},
		{"dmz", "10.0.5", "2001:db8:5a:", []string{"portal-1", "dns-1"}},
		{"cell-1", "10.20.1", "2001:db8:c1:", []string{"plc-11", "plc-12"}},
		{"cell-2", "10.20.2", "2001:db8:c2:", []string{"plc-21", "plc-22"}},
		{"control", "10.20.5", "2001:db8:5:", []string{"hmi-1", "hmi-2", "historian-1", "recorder-1"}},
		{"cameras", "10.20.7", "2001:db8:7:", []string{"cam-1", "cam-2"}},
		{"remote", "10.0.8", "2001:db8:8:", []string{"ada", stranger}},
		{"mgmt", "10.0.9", "2001:db8:9:", []string{"mgmt-1"}},
	}
}

// topology gives every asset of the site its machine, with the addresses and the
// MAC that the inventory says.
func (d *demo) topology() (lab.Topology, error) {
	var t lab.Topology
	for i, c := range plant() {
		s := lab.Segment{Name: c.name, Interface: fmt.Sprintf("eth%d", i+1),
			Addresses: []netip.Prefix{netip.MustParsePrefix(c.four + ".254/24"), netip.MustParsePrefix(c.six + ":fe/64")}}
		for _, id := range c.assets {
			h := lab.Host{Name: id}
			if id == stranger {
				h.Addresses = []netip.Prefix{netip.MustParsePrefix(c.four + ".66/24"), netip.MustParsePrefix(c.six + ":66/64")}
			} else if a := d.site.Inventory.Lookup(id); a != nil {
				for _, p := range a.Addresses {
					h.Addresses = append(h.Addresses, onLink(p.Addr()))
				}
				if len(a.MACs) > 0 {
					h.MAC = a.MACs[0]
				}
			} else {
				return t, fmt.Errorf("the demo's plant has no asset %q", id)
			}
			s.Hosts = append(s.Hosts, h)
		}
		t.Segments = append(t.Segments, s)
	}
	return t, nil
}

// onLink gives an address with its network's length.
func onLink(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(a, 24)
	}
	return netip.PrefixFrom(a, 64)
}

// build lays the plant out.
func (d *demo) build(ctx context.Context) error {
	if err := d.load(ctx); err != nil {
		return err
	}
	t, err := d.topology()
	if err != nil {
		return err
	}
	if d.net, err = lab.Build(t); err != nil {
		return fmt.Errorf("lay the plant out: %w", err)
	}
	d.prober, err = lab.NewProber(d.net)
	return err
}
