package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
)

// rawFailsafe is a failsafe flow as written.
type rawFailsafe struct {
	f       Failsafe
	point   strict.Named
	service []strict.Named
}

func (l *loader) failsafeValue() strict.Value {
	return strict.List(nil, func() strict.Value {
		r := &rawFailsafe{}
		v := strict.Object("a failsafe", &r.f.Pos, func() []strict.Key {
			return []strict.Key{
				{Name: "point", Required: true, Doc: "The point that must stay reachable.", Value: strict.Place(&r.point)},
				{Name: "from", Required: true, Doc: "Where the operator and the controller are.", Value: strict.OneOrMany(func() strict.Value { return narrowPrefix(&r.f.From) })},
				{Name: "to", Doc: "Where the flow goes; the point's own addresses unless given.", Value: strict.OneOrMany(func() strict.Value { return anyPrefix(&r.f.To) })},
				{Name: "service", Required: true, Doc: "Services by name, or literals.", Value: strict.OneOrManyPlaces(&r.service)},
			}
		})
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			slices.SortFunc(r.f.From, inventory.ComparePrefix)
			slices.SortFunc(r.f.To, inventory.ComparePrefix)
			l.failsafe = append(l.failsafe, r)
		}}
	})
}

func anyPrefix(p *[]netip.Prefix) strict.Value {
	return strict.Text(nil, func(v strict.Named) error {
		x, err := inventory.ParsePrefix(v.Value)
		if err == nil {
			*p = append(*p, x)
		}
		return err
	})
}

// narrowPrefix refuses a failsafe from everybody: it would be a hole around
// every policy.
func narrowPrefix(p *[]netip.Prefix) strict.Value {
	return strict.Text(nil, func(v strict.Named) error {
		x, err := inventory.ParsePrefix(v.Value)
		switch {
		case err != nil:
			return err
		case x.Bits() == 0:
			return &strict.Mistake{
				Message: fmt.Sprintf("a failsafe from %s lets everybody past the policy", v.Value),
				Hint:    "name the addresses of the management hosts",
			}
		}
		*p = append(*p, x)
		return nil
	})
}

func (l *loader) resolveFailsafe() {
	points := slices.Sorted(maps.Keys(l.points))
	for _, r := range l.failsafe {
		if _, ok := l.points[r.point.Value]; !ok && r.point.Value != "" {
			l.unknown("point", r.point, points)
		}
		r.f.Point = r.point.Value
		r.f.Service, r.f.Ranges = l.serviceList(l.distinct("service", r.service))
		l.site.Settings.Failsafe = append(l.site.Settings.Failsafe, r.f)
	}
}

func (l *loader) probesValue() strict.Value {
	return strict.List(nil, func() strict.Value {
		p := &Probe{Timeout: DefaultProbeTimeout}
		given := 0
		v := strict.Object("a probe", &p.Pos, func() []strict.Key { return probeKeys(p, &given) })
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			if n.Kind == yaml.MappingNode && given != 1 {
				d.Errorf(n, "a probe has exactly one of %q, %q and %q", "tcp", "ping", "http")
			}
			l.probes = append(l.probes, p)
		}}
	})
}

func probeKeys(p *Probe, given *int) []strict.Key {
	count := func(v strict.Value) strict.Value {
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) { *given++; v.Read(d, n) }}
	}
	tcp := strict.Text(nil, func(v strict.Named) error {
		a, err := netip.ParseAddrPort(v.Value)
		if err != nil || a.Port() == 0 {
			return &strict.Mistake{Message: fmt.Sprintf("%q is not an address and a port", v.Value), Hint: "write 10.0.4.20:443 or [2001:db8::20]:443"}
		}
		if _, err := inventory.ParseAddr(a.Addr().String()); err != nil {
			return err
		}
		p.TCP = a
		return nil
	})
	ping := strict.Text(nil, func(v strict.Named) (err error) { p.Ping, err = inventory.ParseAddr(v.Value); return err })
	return []strict.Key{
		{Name: "name", Required: true, Doc: "What it checks, in words.", Value: strict.String(&p.Name)},
		{Name: "tcp", Doc: "An address and port that must accept a connection.", Value: count(tcp)},
		{Name: "ping", Doc: "An address that must answer an echo request.", Value: count(ping)},
		{Name: "http", Doc: "A URL that must answer.", Value: count(httpValue(p))},
		{Name: "timeout", Doc: "How long one try may take (default 3s, at most 60s).", Value: bounded(&p.Timeout, 100*time.Millisecond, time.Minute)},
	}
}

func httpValue(p *Probe) strict.Value {
	h := &HTTPProbe{Status: 200}
	target := strict.Text(strict.Schema{"type": "string", "format": "uri"}, func(v strict.Named) error {
		u, err := url.Parse(v.Value)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("%q is not an http or https URL", v.Value)
		}
		if u.User != nil {
			return fmt.Errorf("a password does not belong into a site")
		}
		h.URL = v.Value
		return nil
	})
	var pos diag.Pos
	obj := strict.Object("http", &pos, func() []strict.Key {
		return []strict.Key{
			{Name: "url", Required: true, Doc: "What to get.", Value: target},
			{Name: "status", Doc: "The status it must answer with (default 200).", Value: strict.Int(&h.Status, 100, 599)},
			{Name: "follow", Doc: "Whether redirects are followed (default false: a redirect is the answer).", Value: strict.Bool(&h.Follow)},
		}
	})
	return strict.Value{Schema: obj.Schema, Read: func(d *strict.Decoder, n *yaml.Node) { obj.Read(d, n); p.HTTP = h }}
}
