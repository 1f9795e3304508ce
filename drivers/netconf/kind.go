package netconf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"bulkhead/drivers/netconf/dialect"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
)

// Kind makes drivers of switches: one device is one switch, known by its address.
func Kind() driver.Kind {
	return driver.Kind{
		Name: "netconf",
		Device: func(p *config.Point) string {
			return "switch at " + session.Target(p.Settings["address"].Text)
		},
		Settings: keys,
		Open: func(site string, points []config.Point) (driver.Driver, error) {
			s, err := settingsOf(points)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, p := range points {
				names = append(names, p.Name)
			}
			return New(site, names, s.driver()), nil
		},
		Ports: func(p *config.Point) driver.Plug {
			lags, _ := lagsOf(p) // Open says what is wrong with them
			return driver.Plug{Device: switchOf(p), Port: func(port string) string { return lagOf(lags, port) }, SendsOnly: p.Settings["egress"].Text != "true"}
		},
		Netns:  func(*config.Point) (string, bool) { return "", false },
		Encode: Encode,
		Decode: Decode,
		Enrol:  enrol,
	}
}

// keys are the settings of a point.
var keys = []config.SettingKey{
	{Name: "address", Doc: "The switch's host name or address, with a port if it is not 830.", Shape: config.ShapeText, Required: true},
	{Name: "user", Doc: "The user to log in as.", Shape: config.ShapeText, Required: true},
	{Name: "password", Doc: "Where the user's password is.", Shape: config.ShapeSecret},
	{Name: "key", Doc: "Where the user's private key is, in PEM.", Shape: config.ShapeSecret},
	{Name: "passphrase", Doc: "Where the private key's passphrase is.", Shape: config.ShapeSecret},
	{Name: "agent", Doc: "Path of the socket of an ssh-agent that holds the user's key.", Shape: config.ShapeText},
	{Name: "known_hosts", Doc: "Path of the file of host keys that bulkhead enrol writes.", Shape: config.ShapeText, Required: true},
	{Name: "dialect", Doc: "The configuration model that the switch has.", Shape: config.ShapeText, OneOf: dialect.Names(), Required: true},
	{Name: "switch", Doc: "The name that attachments of assets call the switch by (default the point's).", Shape: config.ShapeText},
	{Name: "egress", Doc: "Whether lists filter what devices receive, too (default false).", Shape: config.ShapeFlag},
	{Name: "strangers", Doc: "What happens to what comes in by a port from addresses that are not known to hang there (default drop).", Shape: config.ShapeText, OneOf: []string{"drop", "permit"}},
	{Name: "lists", Doc: "Whether each port has lists of its own, or ports whose devices are of the same classes share them (default port).", Shape: config.ShapeText, OneOf: []string{"port", "class"}},
	{Name: "commit", Doc: "Whether changes go back by themselves unless they are confirmed (default confirmed).", Shape: config.ShapeText, OneOf: []string{"confirmed", "direct"}},
	{Name: "uplinks", Doc: "Ports that never get a list, because other switches are behind them.", Shape: config.ShapeList},
	{Name: "lags", Doc: "Ports that are members of a link aggregate, as PORT=AGGREGATE: lists are bound to the aggregate.", Shape: config.ShapeList},
	{Name: "entries_per_list", Doc: "The most entries that the switch takes in one list (default not known).", Shape: config.ShapeNumber},
	{Name: "entries", Doc: "The most entries that the switch has room for in all bindings (default not known).", Shape: config.ShapeNumber},
}

// settings are those of a point, as it is written: equal for points of one switch.
type settings struct {
	address, user, known, agent string
	// password, key and passphrase say where each is; nil is not given.
	password, key, passphrase *config.Secret
	dialect, name             string
	egress, strangers, class  bool
	direct                    bool
	uplinks                   []string
	lags                      map[string]string // member -> aggregate
	perList, perDevice        int
	point                     string // the first of the switch
}

// settingsOf reads the settings of the points of one switch, which are to be the same: a port
// has one list, whoever asked for it.
func settingsOf(points []config.Point) (settings, error) {
	var out settings
	for i := range points {
		p := &points[i]
		s, err := parse(p)
		if err != nil {
			return out, fmt.Errorf("point %q: %w", p.Name, err)
		}
		if i == 0 {
			out = s
			continue
		}
		if s.name != out.name {
			return out, fmt.Errorf("points %q and %q are of one switch, which attachments call %q and %q; give them the same %q", points[0].Name, p.Name, out.name, s.name, "switch")
		}
		if s.point = out.point; !reflect.DeepEqual(s, out) {
			return out, fmt.Errorf("points %q and %q are of one switch, and have different settings; give them the same", points[0].Name, p.Name)
		}
	}
	return out, nil
}

// parse reads the settings of a point, whose form was seen to (Kind.Settings).
func parse(p *config.Point) (settings, error) {
	if len(p.Zones) > 0 {
		return settings{}, errors.New("a switch judges at its ports, and knows no zones; use protects")
	}
	if p.NetNS != "" {
		return settings{}, fmt.Errorf("%q is of points of this host; a switch is reached from where bulkhead runs", "netns")
	}
	text := func(name string) string { return p.Settings[name].Text }
	s := settings{address: session.Target(text("address")), user: text("user"), known: text("known_hosts"), agent: text("agent"),
		password: p.Settings["password"].Secret, key: p.Settings["key"].Secret, passphrase: p.Settings["passphrase"].Secret,
		dialect: text("dialect"), name: switchOf(p), egress: text("egress") == "true", strangers: text("strangers") == "permit",
		class: text("lists") == "class", direct: text("commit") == "direct",
		perList: p.Settings["entries_per_list"].Number(), perDevice: p.Settings["entries"].Number(), point: p.Name}
	for _, path := range []string{"known_hosts", "agent"} {
		// The daemon and whoever enrols start in different directories.
		if v := text(path); v != "" && !filepath.IsAbs(v) {
			return s, fmt.Errorf("%q is %q; give the whole path, from %q on", path, v, "/")
		}
	}
	switch {
	case s.password == nil && s.key == nil && s.agent == "":
		return s, fmt.Errorf("there is no way to log in: give %q, %q or %q", "password", "key", "agent")
	case s.passphrase != nil && s.key == nil:
		return s, fmt.Errorf("%q is given without %q", "passphrase", "key")
	case dialect.Named(s.dialect) == nil:
		return s, fmt.Errorf("there is no dialect %q; there is %s", s.dialect, strings.Join(dialect.Names(), ", "))
	}
	var err error
	if s.lags, err = lagsOf(p); err != nil {
		return s, err
	}
	for _, v := range p.Settings["uplinks"].Words {
		s.uplinks = append(s.uplinks, v.Value, lagOf(s.lags, v.Value))
	}
	slices.Sort(s.uplinks)
	s.uplinks = slices.Compact(s.uplinks)
	return s, nil
}

// switchOf is the name by which attachments mean a point's switch.
func switchOf(p *config.Point) string {
	if v := p.Settings["switch"].Text; v != "" {
		return v
	}
	return p.Name
}

// lagsOf reads which ports are members of which aggregate.
func lagsOf(p *config.Point) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range p.Settings["lags"].Words {
		member, lag, ok := strings.Cut(v.Value, "=")
		if !ok || member == "" || lag == "" || member == lag {
			return nil, fmt.Errorf("%q in %q: write the member and its aggregate, as %q", v.Value, "lags", "swp1=bond0")
		}
		if other := out[member]; other != "" && other != lag {
			return nil, fmt.Errorf("port %q is in two aggregates, %q and %q; a port is a member of one", member, other, lag)
		}
		out[member] = lag
	}
	for _, v := range p.Settings["lags"].Words {
		if _, lag, _ := strings.Cut(v.Value, "="); out[lag] != "" {
			return nil, fmt.Errorf("%q in %q: %q is a member of %q itself", v.Value, "lags", lag, out[lag])
		}
	}
	return out, nil
}

// lagOf is where a port is judged.
func lagOf(lags map[string]string, port string) string {
	if lag := lags[port]; lag != "" {
		return lag
	}
	return port
}

func (s *settings) driver() Settings {
	return Settings{
		Session: session.Options{Address: s.address, User: s.user, Agent: s.agent, KnownHosts: s.known, Point: s.point},
		Secrets: s.login, Dialect: dialect.Named(s.dialect), Egress: s.egress, Strangers: s.strangers, ByClass: s.class,
		PerList: s.perList, PerDevice: s.perDevice, Uplinks: s.uplinks, Direct: s.direct,
	}
}

// login fetches what to log in with. Its errors name the place.
func (s *settings) login(o *session.Options) error {
	for _, x := range []struct {
		name string
		at   *config.Secret
		to   *config.Value
	}{{"password", s.password, &o.Password}, {"key", s.key, &o.Key}, {"passphrase", s.passphrase, &o.Passphrase}} {
		if x.at == nil {
			continue
		}
		v, err := x.at.Resolve(os.LookupEnv)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
		*x.to = v
	}
	return nil
}

// enrol asks a switch for its host key.
func enrol(ctx context.Context, p *config.Point) (*driver.Enrolment, error) {
	s, err := parse(p)
	if err != nil {
		return nil, err
	}
	known, err := session.Known(s.known, s.address)
	if err != nil {
		return nil, err
	}
	fingerprint, line, err := session.Enrol(ctx, session.Options{Address: s.address})
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(line)
	return &driver.Enrolment{
		Address: s.address, Key: fields[1], Fingerprint: fingerprint, Known: known, File: s.known,
		Remember: func(replace bool) error {
			_, err := session.Remember(s.known, s.address, line, replace)
			return err
		},
	}, nil
}
