package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
)

// The types of sources whose settings are known here.
const (
	SourceNeighbor = "neighbor" // the neighbour table of a host
	SourceEC2      = "ec2"      // an AWS account
)

// Shape is the form of a setting's value.
type Shape string

// The shapes.
const (
	ShapeText     Shape = "text"
	ShapeList     Shape = "list" // or one text
	ShapeFlag     Shape = "flag" // true or false
	ShapeDuration Shape = "duration"
	ShapeNumber   Shape = "number" // whole, and at least 1
	ShapeSecret   Shape = "secret" // where it is: a file, a variable, a credential
)

// SettingKey is one of the settings that a type of source, or a driver, has.
type SettingKey struct {
	Name, Doc string // one sentence, shown by editors
	Shape     Shape
	OneOf     []string // of a text; nil is any
	Required  bool
}

// SourceSettings lists the settings of a type of source, in the order in which
// documents name them; nil for a type that is not known.
func SourceSettings(typ string) []SettingKey {
	switch typ {
	case SourceNeighbor:
		return []SettingKey{{Name: "netns", Doc: "The network namespace to look at, a name or a path (default where bulkhead runs).", Shape: ShapeText}}
	case SourceEC2:
		return []SettingKey{
			{Name: "regions", Doc: "The AWS regions to read.", Shape: ShapeList, Required: true},
			{Name: "roles", Doc: "ARNs of the roles to assume, one an account; own is the account of the credentials (default own).", Shape: ShapeList},
			{Name: "external_id", Doc: "The external ID that the trust policies of the roles ask for.", Shape: ShapeText},
			{Name: "profile", Doc: "The profile of ~/.aws/config to find credentials by (default AWS_PROFILE).", Shape: ShapeText},
			{Name: "vpcs", Doc: "IDs of the VPCs to read (default all).", Shape: ShapeList},
			{Name: "functions", Doc: "What is done about Lambda functions in a VPC (default read).", Shape: ShapeText, OneOf: []string{"read", "manage", "off"}},
			{Name: "tags", Doc: "Keys of the tags that become labels, as KEY or KEY=LABEL (default all).", Shape: ShapeList},
			{Name: "label_prefix", Doc: "What is put before a tag's key to make the name of its label.", Shape: ShapeText},
			{Name: "image_names", Doc: "Whether the names of instances' images are asked for, too (default false).", Shape: ShapeFlag},
			{Name: "public_addresses", Doc: "Whether public IPv4 addresses, which AWS translates, are addresses of the assets, too (default false).", Shape: ShapeFlag},
			{Name: "endpoint", Doc: "URL of an emulator that stands in for AWS (default AWS, or AWS_ENDPOINT_URL).", Shape: ShapeText},
			{Name: "every", Doc: "How often the daemon asks at most (default 1m).", Shape: ShapeDuration},
			{Name: "timeout", Doc: "How long the read of one account and region may take (default 2m).", Shape: ShapeDuration},
		}
	}
	return nil
}

// sourceSettings is a settingMap that tells editors what the types of sources have.
func sourceSettings(p *map[string]Setting) strict.Value {
	v := settingMap(p)
	return strict.Value{Read: v.Read, Schema: func() strict.Schema {
		s := v.Schema()
		props := strict.Schema{}
		for _, typ := range []string{SourceNeighbor, SourceEC2} {
			for _, k := range SourceSettings(typ) {
				one := k.schema()
				one["description"] = fmt.Sprintf("Of type %s: %s", typ, k.Doc)
				props[k.Name] = one
			}
		}
		s["properties"] = props
		return s
	}}
}

func (k *SettingKey) schema() strict.Schema {
	switch {
	case k.Shape == ShapeList:
		text := strict.Schema{"type": []any{"string", "number", "boolean"}}
		return strict.Schema{"anyOf": []any{text, strict.Schema{"type": "array", "minItems": 1, "items": text}}}
	case k.Shape == ShapeFlag:
		return strict.Schema{"type": "boolean"}
	case k.OneOf != nil:
		names := make([]any, len(k.OneOf))
		for i, n := range k.OneOf {
			names[i] = n
		}
		return strict.Schema{"enum": names}
	}
	return strict.Schema{"type": []any{"string", "number", "boolean"}, "minLength": 1}
}

// Number is the value of a setting of ShapeNumber; 0 if it is not given.
func (v Setting) Number() int {
	n, _ := strconv.Atoi(v.Text) // checkSettings has seen it
	return n
}

// Flag is the value of a setting of ShapeFlag.
func (s *Source) Flag(name string) bool { return s.Settings[name].Text == "true" }

// Duration is the value of a setting of ShapeDuration; 0 if it is not given.
func (s *Source) Duration(name string) time.Duration {
	d, _ := time.ParseDuration(s.Settings[name].Text) // checkSettings has seen it
	return d
}

// Words are the texts of a setting of ShapeList, with their places.
func (s *Source) Words(name string) []strict.Named { return s.Settings[name].Words }

// checkSettings reports settings that a source of its type does not have, those of the
// wrong form, and those that are missing.
func (s *Source) checkSettings(l *diag.List) {
	keys := SourceSettings(s.Type)
	if keys == nil {
		return // of a type that says so itself
	}
	checkSettings(l, s.Pos, fmt.Sprintf("source %q of type %q", s.Name, s.Type), "a source of type "+s.Type, keys, s.Settings)
}

// CheckSettings reports settings that a point's driver does not have, those of the wrong
// form, and those that are missing.
func (p *Point) CheckSettings(keys []SettingKey) *diag.List {
	var l diag.List
	checkSettings(&l, p.Pos, fmt.Sprintf("point %q of driver %q", p.Name, p.Driver), "the driver "+p.Driver, keys, p.Settings)
	return &l
}

func checkSettings(l *diag.List, at diag.Pos, who, of string, keys []SettingKey, settings map[string]Setting) {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
		v, given := settings[k.Name]
		switch {
		case given:
			v.check(l, &k)
		case k.Required:
			l.Errorf(at, "%s needs the setting %q", who, k.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !slices.Contains(names, name) {
			strict.Report(l, settings[name].Key, strict.Unknown("setting of "+of, name, names))
		}
	}
}

func (v *Setting) check(l *diag.List, k *SettingKey) {
	at := strict.Named{Pos: v.Pos, Len: 1}
	if len(v.Words) == 1 {
		at = v.Words[0]
	}
	wrong := func(want string) { strict.Report(l, at, fmt.Errorf("%q must be %s", k.Name, want)) }
	switch k.Shape {
	case ShapeList:
		if len(v.Words) == 0 || slices.ContainsFunc(v.Words, func(w strict.Named) bool { return w.Value == "" }) {
			wrong("a list of texts, and not be empty")
		}
		return
	case ShapeSecret:
		// A text here is the secret itself, or about to become one.
		if v.Secret == nil {
			wrong("{file: PATH}, {env: NAME} or {credential: NAME}: it says where the secret is, and never the secret")
		}
		return
	case ShapeFlag:
		if v.Text != "true" && v.Text != "false" {
			wrong("true or false")
		}
		return
	case ShapeNumber:
		if n, err := strconv.Atoi(v.Text); err != nil || n < 1 {
			wrong("a whole number of at least 1")
		}
		return
	case ShapeDuration:
		if d, err := time.ParseDuration(cmp.Or(v.Text, "?")); err != nil || d < time.Second {
			wrong("a length of time of at least 1s, such as 90s or 2m")
		}
		return
	}
	switch {
	case v.Text == "":
		wrong("a text, and not be empty")
	case k.OneOf != nil && !slices.Contains(k.OneOf, v.Text):
		strict.Report(l, at, strict.Unknown("value of "+k.Name, v.Text, k.OneOf))
	}
}
