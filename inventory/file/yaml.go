package file

import (
	"go.yaml.in/yaml/v4"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
)

// Assets is the value of the key "assets": a map from ID to asset. Each asset
// goes to add, with a fact and a position for everything that it says. An asset
// with mistakes goes there too, without what was wrong, so that references to
// it are not reported as well.
func Assets(add func(inventory.Asset)) strict.Value {
	return strict.Map(func(id strict.Named) strict.Value {
		a := &inventory.Asset{ID: id.Value, Pos: id.Pos}
		obj := strict.Object("an asset", nil, func() []strict.Key { return assetKeys(&builder{a: a}) })
		return strict.Value{Schema: obj.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			if err := CheckID(id.Value); err != nil {
				d.Report(id, err)
			}
			obj.Read(d, n)
			inventory.SortFacts(a.Facts)
			add(*a)
		}}
	})
}

func assetKeys(b *builder) []strict.Key {
	kinds := strict.Schema{"enum": kindNames()}
	return []strict.Key{
		{Name: "kind", Required: true, Doc: "What sort of thing it is.", Value: strict.Text(kinds, b.kind)},
		{
			Name: "addresses", Doc: "IPv4 and IPv6 addresses or prefixes that it holds.",
			Value: strict.List(nil, func() strict.Value { return strict.Text(nil, b.address) }),
		},
		{
			Name: "macs", Doc: "MAC addresses of its interfaces.",
			Value: strict.List(nil, func() strict.Value { return strict.Text(nil, b.mac) }),
		},
		{Name: "labels", Doc: "What the site says of it; groups and policies compare labels.", Value: fields("a label", b.label)},
		{Name: "attributes", Doc: "What it is: os, vendor, model, hostname, instance_id and others.", Value: fields("an attribute", b.attribute)},
		{
			Name: "attachments", Doc: "Where it is plugged in.",
			Value: strict.List(nil, func() strict.Value { return attachment(b) }),
		},
	}
}

func kindNames() []any {
	var out []any
	for _, k := range inventory.Kinds() {
		out = append(out, string(k))
	}
	return out
}

// fields is a map from names to text. Numbers and truth values are taken as
// they are written: a cell 3 is the text "3".
func fields(what string, set func(name string, v strict.Named)) strict.Value {
	return strict.Map(func(key strict.Named) strict.Value {
		v := strict.Loose(func(v strict.Named) error { set(key.Value, v); return nil })
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			if err := checkFieldName(what, key.Value); err != nil {
				d.Report(key, err)
				return
			}
			v.Read(d, n)
		}}
	})
}

func attachment(b *builder) strict.Value {
	t := &inventory.Attachment{}
	obj := strict.Object("an attachment", nil, func() []strict.Key {
		return []strict.Key{
			{Name: "switch", Doc: "The switch that it is plugged into.", Value: strict.String(&t.Switch)},
			{Name: "port", Doc: "The port of that switch.", Value: strict.String(&t.Port)},
			{Name: "eni", Doc: "The network interface's ID in the cloud.", Value: strict.String(&t.ENI)},
			{Name: "interface", Doc: "The interface's name on the machine.", Value: strict.String(&t.Interface)},
		}
	})
	return strict.Value{Schema: obj.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
		obj.Read(d, n)
		if *t == (inventory.Attachment{}) {
			if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
				d.Errorf(n, "this attachment says nothing")
			}
			return
		}
		b.a.Attachments = append(b.a.Attachments, *t)
		b.fact(inventory.FieldAttachments, t.String(), d.Pos(n))
	}}
}
