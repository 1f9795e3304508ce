package aws

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"bulkhead/pkg/config"
	"bulkhead/pkg/driver"
)

// Kind makes drivers of security groups: one device is one account in one region.
func Kind() driver.Kind {
	return driver.Kind{
		Name: "aws",
		Device: func(p *config.Point) string {
			name := "AWS security groups of " + p.Settings["region"].Text
			for _, k := range []string{"role", "profile", "endpoint"} {
				if v := p.Settings[k].Text; v != "" {
					name += fmt.Sprintf(", %s %s", k, v)
				}
			}
			return name
		},
		Open: func(site string, points []config.Point) (driver.Driver, error) {
			s, err := settingsOf(points)
			if err != nil {
				return nil, err
			}
			return New(site, s)
		},
		Netns:  func(*config.Point) (string, bool) { return "", false },
		Encode: Encode,
		Decode: Decode,
	}
}

// settingsOf reads the settings of the points of one device, which are to be the same: an
// interface has one set of groups, and one way of filling it.
func settingsOf(points []config.Point) (Settings, error) {
	var out Settings
	for i := range points {
		p := &points[i]
		s, err := parse(p)
		if err != nil {
			return out, fmt.Errorf("point %q: %w", p.Name, err)
		}
		if i > 0 && !reflect.DeepEqual(s, out) {
			return out, fmt.Errorf("points %q and %q are of one account and region, and have different settings; give them the same", points[0].Name, p.Name)
		}
		out = s
	}
	return out, nil
}

var known = []string{"endpoint", "exclusive", "external_id", "groups_per_interface", "profile", "region", "role", "rules_per_group", "vpcs"}

func parse(p *config.Point) (s Settings, err error) {
	if len(p.Zones) > 0 {
		return s, errors.New("security groups judge at interfaces, and know no zones; use protects")
	}
	number := func(name string) (n int) {
		if t := p.Settings[name].Text; t != "" {
			var e error
			if n, e = strconv.Atoi(t); e != nil || n < 1 {
				err = errors.Join(err, fmt.Errorf("%s: %q is not a number of at least 1", name, t))
			}
		}
		return n
	}
	for name := range p.Settings {
		if !slices.Contains(known, name) {
			err = errors.Join(err, fmt.Errorf("%q is no setting of the driver %q; there are %s", name, "aws", strings.Join(known, ", ")))
		}
	}
	text := func(name string) string { return p.Settings[name].Text }
	s = Settings{Region: text("region"), Role: text("role"), ExternalID: text("external_id"), Profile: text("profile"), Endpoint: text("endpoint"),
		RulesPerGroup: number("rules_per_group"), GroupsPerInterface: number("groups_per_interface")}
	for _, v := range p.Settings["vpcs"].Words {
		s.VPCs = append(s.VPCs, v.Value)
	}
	slices.Sort(s.VPCs)
	switch v := text("exclusive"); v {
	case "", "false":
	case "true":
		s.Exclusive = true
	default:
		err = errors.Join(err, fmt.Errorf("exclusive: %q is neither true nor false", v))
	}
	return s, errors.Join(err, s.Check())
}
