package aws

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

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
		Settings: keys,
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

// keys are the settings of a point.
var keys = []config.SettingKey{
	{Name: "region", Doc: "The AWS region.", Shape: config.ShapeText, Required: true},
	{Name: "role", Doc: "ARN of a role to assume.", Shape: config.ShapeText},
	{Name: "external_id", Doc: "The external ID that the role's trust policy asks for.", Shape: config.ShapeText},
	{Name: "profile", Doc: "The profile of ~/.aws/config to find credentials by (default AWS_PROFILE).", Shape: config.ShapeText},
	{Name: "endpoint", Doc: "URL of an emulator that stands in for AWS.", Shape: config.ShapeText},
	{Name: "vpcs", Doc: "IDs of the VPCs whose interfaces may be changed (default all).", Shape: config.ShapeList},
	{Name: "exclusive", Doc: "Whether groups of others are taken off the interfaces that the point protects (default false).", Shape: config.ShapeFlag},
	{Name: "functions", Doc: "Whether the groups of Lambda functions that the point protects are changed, too (default off).", Shape: config.ShapeText, OneOf: []string{"manage", "off"}},
	{Name: "references", Doc: "Whether rules name the groups of peers, where AWS can resolve them, instead of their addresses (default off).", Shape: config.ShapeText, OneOf: []string{"on", "off"}},
	{Name: "rules_per_group", Doc: "The account's quota (default 60).", Shape: config.ShapeNumber},
	{Name: "groups_per_interface", Doc: "The account's quota (default 5).", Shape: config.ShapeNumber},
}

// parse reads the settings of a point, whose form was seen to (Kind.Settings).
func parse(p *config.Point) (Settings, error) {
	if len(p.Zones) > 0 {
		return Settings{}, errors.New("security groups judge at interfaces, and know no zones; use protects")
	}
	text := func(name string) string { return p.Settings[name].Text }
	s := Settings{Region: text("region"), Role: text("role"), ExternalID: text("external_id"), Profile: text("profile"), Endpoint: text("endpoint"),
		Exclusive: text("exclusive") == "true", Functions: text("functions") == "manage", References: text("references") == "on",
		RulesPerGroup: p.Settings["rules_per_group"].Number(), GroupsPerInterface: p.Settings["groups_per_interface"].Number()}
	for _, v := range p.Settings["vpcs"].Words {
		s.VPCs = append(s.VPCs, v.Value)
	}
	slices.Sort(s.VPCs)
	return s, s.Check()
}
