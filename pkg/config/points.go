package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/policy"
)

func (l *loader) pointsValue() strict.Value {
	return strict.Map(func(name strict.Named) strict.Value {
		p := &Point{Name: name.Value, Mode: policy.Enforce, OnInexact: Refuse, Pos: name.Pos}
		var protects strict.Named
		v := strict.Object("a point", nil, func() []strict.Key { return pointKeys(p, &protects) })
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			p.Protects, p.ProtectsPos = protects.Value, protects.Pos
			slices.Sort(p.AcceptInexact)
			slices.Sort(p.AcceptForeign)
			slices.SortFunc(p.Zones, func(a, b Zone) int { return cmp.Compare(a.Name, b.Name) })
			if err := checkName("point", name.Value); err != nil {
				d.Report(name, err)
				return
			}
			if first, dup := l.points[name.Value]; dup {
				l.duplicate("point", name, first.Pos)
				return
			}
			if n.Kind == yaml.MappingNode && len(p.Zones) == 0 && !has(n, "zones") && !has(n, "protects") {
				d.Report(name, &strict.Mistake{
					Message: fmt.Sprintf("point %q sees nothing: it needs %q or %q", name.Value, "zones", "protects"),
					Hint:    "a gateway has zones, a host or a port protects assets",
				})
			}
			oneZoneEach(d, p)
			l.points[name.Value] = p
		}}
	})
}

// has reports whether a map has a key.
func has(n *yaml.Node, key string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

// oneZoneEach reports interfaces that are in several zones of a point: what came
// in by one could not be told apart.
func oneZoneEach(d *strict.Decoder, p *Point) {
	zone := map[string]string{}
	for _, z := range p.Zones {
		for _, i := range z.Interfaces {
			if other, taken := zone[i]; taken && other != z.Name {
				d.Diags.Errorf(z.Pos, "interface %q is in zone %q already", i, other).Len = len(z.Name)
				continue
			}
			zone[i] = z.Name
		}
	}
}

func pointKeys(p *Point, protects *strict.Named) []strict.Key {
	once := func(to *[]string) func() strict.Value {
		return func() strict.Value {
			return strict.Text(nil, func(v strict.Named) error {
				if slices.Contains(*to, v.Value) {
					return fmt.Errorf("%q is given twice", v.Value)
				}
				*to = append(*to, v.Value)
				return nil
			})
		}
	}
	driver := strict.Text(nil, func(v strict.Named) error { p.Driver, p.DriverPos = v.Value, v.Pos; return nil })
	budget := strict.Object("a budget", nil, func() []strict.Key {
		return []strict.Key{
			{Name: "elements", Doc: "The most set elements, rules or entries.", Value: strict.Int(&p.Budget.Elements, 1, 1<<31-1)},
		}
	})
	return []strict.Key{
		{Name: "driver", Required: true, Doc: "What programs it.", Value: driver},
		{Name: "zones", Doc: "For a gateway: the parts of the network it lies between, by name.", Value: zonesValue(p)},
		{Name: "protects", Doc: "For an end: a CEL expression over one asset, true for those that it protects.", Value: strict.Expression(protects)},
		{Name: "netns", Doc: "The network namespace to work in, by name or path.", Value: strict.String(&p.NetNS)},
		{Name: "mode", Doc: "Whether it drops, or only counts what it would drop (default enforce).", Value: strict.Enum(&p.Mode, policy.Enforce, policy.Observe)},
		{Name: "on_inexact", Doc: "What to do about verdicts that it cannot express (default refuse).", Value: strict.Enum(&p.OnInexact, Refuse, Narrow, Widen)},
		{Name: "accept_inexact", Doc: "Kinds of residue that are inherent to the device and accepted.", Value: strict.List(nil, once(&p.AcceptInexact))},
		{Name: "accept_foreign", Doc: "Tables of others on the device, as `inet firewalld`, that may drop what policy permits.", Value: strict.List(nil, once(&p.AcceptForeign))},
		{Name: "budget", Doc: "What it may be asked to hold.", Value: budget},
		{Name: "settings", Doc: "What its driver needs to know.", Value: settingMap(&p.Settings)},
	}
}

func zonesValue(p *Point) strict.Value {
	return strict.Map(func(name strict.Named) strict.Value {
		z := &Zone{Name: name.Value, AntiSpoof: SpoofObserve, Pos: name.Pos}
		v := strict.Object("a zone", nil, func() []strict.Key { return zoneKeys(z) })
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			slices.Sort(z.Interfaces)
			if err := checkName("zone", name.Value); err != nil {
				d.Report(name, err)
			}
			p.Zones = append(p.Zones, *z)
		}}
	})
}

func zoneKeys(z *Zone) []strict.Key {
	iface := func() strict.Value {
		return strict.Text(nil, func(v strict.Named) error {
			if err := checkInterface(v.Value); err != nil {
				return err
			}
			if slices.Contains(z.Interfaces, v.Value) {
				return fmt.Errorf("interface %q is given twice", v.Value)
			}
			z.Interfaces = append(z.Interfaces, v.Value)
			return nil
		})
	}
	return []strict.Key{
		{Name: "interfaces", Required: true, Doc: "The interfaces that lead there.", Value: strict.OneOrMany(iface)},
		{Name: "prefixes", Doc: "What lies there; read from the routing table unless given.", Value: prefixes(&z.Prefixes, &z.PrefixesGiven)},
		{Name: "antispoof", Doc: "What happens to a source address that belongs elsewhere (default observe).", Value: strict.Enum(&z.AntiSpoof, SpoofEnforce, SpoofObserve, SpoofOff)},
	}
}

// checkInterface holds an interface's name to what Linux allows (IFNAMSIZ less
// the final zero, no slash and no space), so that it can stand in a rule.
func checkInterface(s string) error {
	if len(s) > 15 {
		return fmt.Errorf("%q is no interface: a name has at most 15 characters", s)
	}
	if s == "." || s == ".." || strings.ContainsAny(s, "/: \"*") || strings.TrimFunc(s, func(r rune) bool { return r > ' ' && r < 0x7f }) != "" {
		return fmt.Errorf("%q is no interface: the name holds a character that none has", s)
	}
	return nil
}

// settingMap reads a driver's own settings: texts, lists of texts, and
// references to secrets. Whether their names make sense is the driver's to say.
func settingMap(p *map[string]Setting) strict.Value {
	return strict.Map(func(key strict.Named) strict.Value {
		return strict.Value{Schema: settingSchema, Read: func(d *strict.Decoder, n *yaml.Node) {
			s := Setting{Pos: d.Pos(n), Key: key}
			switch n.Kind {
			case yaml.MappingNode:
				s.Secret = readSecretRef(d, n)
			case yaml.SequenceNode:
				s.List = []string{}
				item := func() strict.Value {
					return strict.Loose(func(v strict.Named) error {
						s.List, s.Words = append(s.List, v.Value), append(s.Words, v)
						return nil
					})
				}
				strict.List(nil, item).Read(d, n)
			default:
				strict.Loose(func(v strict.Named) error {
					s.Text, s.Words = v.Value, []strict.Named{v}
					return nil
				}).Read(d, n)
			}
			if *p == nil {
				*p = map[string]Setting{}
			}
			(*p)[key.Value] = s
		}}
	})
}

func settingSchema() strict.Schema {
	text := strict.Schema{"type": []any{"string", "number", "boolean"}}
	props, refs := strict.Schema{}, secretRefs(nil)
	for _, k := range refs {
		props[k.Name] = strict.Schema{"type": "string", "minLength": 1, "description": k.Doc}
	}
	secret := strict.Schema{
		"type": "object", "properties": props, "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
	}
	return strict.Schema{"anyOf": []any{text, strict.Schema{"type": "array", "items": text}, secret}}
}

func readSecretRef(d *strict.Decoder, n *yaml.Node) *Secret {
	got := map[SecretKind]string{}
	strict.Object("a secret", nil, func() []strict.Key { return secretRefs(got) }).Read(d, n)
	if len(got) != 1 {
		if len(n.Content) != 2 {
			d.Errorf(n, "a secret has exactly one of %q, %q and %q", SecretFile, SecretEnv, SecretCredential)
		}
		return nil
	}
	kind := slices.Collect(maps.Keys(got))[0]
	return &Secret{kind, got[kind]}
}

func secretRefs(got map[SecretKind]string) []strict.Key {
	ref := func(k SecretKind) strict.Value {
		return strict.Text(nil, func(v strict.Named) error { got[k] = v.Value; return nil })
	}
	return []strict.Key{
		{Name: "file", Doc: "The file that holds the secret.", Value: ref(SecretFile)},
		{Name: "env", Doc: "The environment variable that holds the secret.", Value: ref(SecretEnv)},
		{Name: "credential", Doc: "The systemd credential that holds the secret.", Value: ref(SecretCredential)},
	}
}
